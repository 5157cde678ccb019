"""Passes over static memory: whatever comes, in whatever order, comes out as from the network itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache as once
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine.graphs import Runner
from dgemma_engine.groups import bucket_of, grouped
from dgemma_engine.model import DiffusionGemma, KVCache, Rows, load_model
from dgemma_engine.model.arena import ring_size
from dgemma_engine.model.config import parse_config
from dgemma_engine.model.layers import Layer
from dgemma_engine.model.sided import SidedLinear
from dgemma_engine.model.static import Bucket

from .random_weights import randomise
from .reference import Shape
from .tape import WAITING, Tape

WINDOW, RING = 32, 96
TOLERANCE = 1e-4
HIDDEN = 64


@once
def network(folder: Path) -> DiffusionGemma:
    return load_model(folder)


def text(seed: int, *shape: int) -> Tensor:
    return torch.randint(8, 290, shape, generator=torch.Generator().manual_seed(seed))


@frozen
class Canvas:
    """`batch` canvases of `width`, the last `padding` rows of the first one not real; every `asks`-th row is asked."""

    batch: int
    width: int
    padding: int = 0
    has_signal: bool = False
    asks: int = 0

    def rows(self, cache: KVCache, seed: int) -> Rows:
        ids = text(seed, self.batch, self.width)
        signal = torch.randn(*ids.shape, HIDDEN, generator=torch.Generator().manual_seed(seed))
        asked = torch.arange(ids.numel())[:: self.asks] if self.asks else None
        return Rows(cache, ids, signal if self.has_signal else None, self.real, asked=asked)

    @property
    def real(self) -> Tensor | None:
        if not self.padding:
            return None
        real = torch.ones(self.batch, self.width, dtype=torch.bool)
        real[0, -self.padding :] = False
        return real

    @property
    def is_real(self) -> Tensor:
        """Of the rows that come back."""
        real = torch.ones(self.batch, self.width, dtype=torch.bool) if self.real is None else self.real
        return real.flatten()[:: self.asks] if self.asks else real


@frozen
class Act:
    """What happens to one prefix in one pass: it is cut to a share of it, encoded on, and looked at."""

    prefix: int
    cut: float = 1.0
    chunk: int = 0
    delta: int = 0
    canvases: tuple[Canvas, ...] = (Canvas(1, 16),)
    is_forked: bool = False


@frozen
class Life:
    """Passes, each over several prefixes."""

    lengths: tuple[int, ...]
    passes: tuple[tuple[Act, ...], ...] = field(converter=tuple)

    def run(self, model: DiffusionGemma, forward: Callable[[Sequence[Rows]], list[Tensor]]) -> list[Tensor]:
        """All that comes out, and at the end what a text behind each prefix looks like."""
        caches = [model.new_cache(16) for _ in self.lengths]
        for seed, (cache, length) in enumerate(zip(caches, self.lengths, strict=True)):
            if length:
                model.encode(text(seed, 1, length), cache)
        found: list[Tensor] = []
        for number, acts in enumerate(self.passes):
            parts: list[Rows] = []
            for act in acts:
                if act.is_forked:
                    caches[act.prefix] = caches[act.prefix].fork(caches[act.prefix].length)
                cache, seed = caches[act.prefix], 100 * number + act.prefix
                cache.truncate(int(act.cut * cache.length))
                if act.chunk:
                    model.encode(text(seed + 7, 1, act.chunk), cache)
                if act.delta:
                    asked = torch.tensor([act.delta - 1])
                    parts.append(Rows(cache, text(seed + 9, 1, act.delta), encoder=True, kept=True, asked=asked))
                parts += [canvas.rows(cache, seed + place) for place, canvas in enumerate(act.canvases)]
            looks = iter([canvas for act in acts for canvas in act.canvases])
            for rows, states in zip(parts, forward(parts), strict=True):
                assert states.shape[:-1] == (rows.ids.shape if rows.asked is None else rows.asked.shape)
                found.append(states if rows.kept else states[next(looks).is_real])
        return found + [model.read(text(1000, 1, 5), cache) for cache in caches]


canvases = st.builds(
    Canvas,
    batch=st.integers(1, 3),
    width=st.sampled_from((1, 5, 15, 16, 17, 32, 33)),
    has_signal=st.booleans(),
    asks=st.integers(0, 3),
)


@st.composite
def acts(draw: st.DrawFn, prefix: int) -> Act:
    looks = draw(st.lists(canvases, min_size=1, max_size=2))
    looks = [evolve(one, padding=draw(st.integers(0, one.width - 1))) for one in looks]
    cut = draw(st.sampled_from((1.0, 1.0, 0.99, 0.9, 0.5, 0.0)))
    delta = draw(st.sampled_from((0, 0, 1, 15, 16, 17, 64)))
    return Act(prefix, cut, draw(st.sampled_from((0, 0, 0, 3, 70))), delta, tuple(looks), draw(st.integers(0, 9)) == 0)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    edges = (0, 1, WINDOW - 1, WINDOW, RING - 64, RING - 1, RING, RING + 1, 150, 440)
    lengths = draw(st.lists(st.sampled_from(edges), min_size=1, max_size=3))
    passes = []
    for _ in range(draw(st.integers(1, 4))):
        chosen = draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=len(lengths), unique=True))
        if draw(st.integers(0, 3)):
            passes.append(tuple(draw(acts(prefix)) for prefix in chosen))
        else:
            # Written token by token.
            passes.append(tuple(Act(prefix, delta=1, canvases=()) for prefix in chosen))
    return Life(tuple(lengths), passes)


def assert_alike(model: DiffusionGemma, life: Life, runner: Runner) -> None:
    with torch.inference_mode():
        wanted, found = life.run(model, model.forward), life.run(model, runner.forward)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert not one.numel() or (one - other).abs().max() < TOLERANCE


def test_the_ring_is_where_these_tests_believe_it(tiny_checkpoint: Path) -> None:
    assert ring_size(network(tiny_checkpoint).config) == RING


@given(life=lives())
@settings(max_examples=60)
def test_any_life_of_any_prefixes_comes_out_as_from_the_network(tiny_checkpoint: Path, life: Life) -> None:
    model = network(tiny_checkpoint)
    runner = Runner(model)
    assert_alike(model, life, runner)
    assert runner.static == len(life.passes)


@given(life=lives(), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_one_runner_serves_one_life_after_another(tiny_checkpoint: Path, life: Life, seed: int) -> None:
    model = network(tiny_checkpoint)
    assert_alike(model, life, used_runner(model))


@once
def used_runner(model: DiffusionGemma) -> Runner:
    return Runner(model, Tape)


@given(life=lives())
@settings(max_examples=15)
def test_a_pass_is_the_same_kernels_on_the_same_memory(tiny_checkpoint: Path, life: Life) -> None:
    """All that a CUDA graph asks for: what was recorded of one pass and played again does for every other."""
    model = network(tiny_checkpoint)
    twice = Life(life.lengths, [one for one in life.passes for _ in range(3)])
    tapes: list[Tape] = []
    runner = Runner(model, lambda step: tapes.append(Tape(step)) or tapes[-1])
    assert_alike(model, twice, runner)
    assert sum(tape.played for tape in tapes) >= len(life.passes)
    assert not {name for tape in tapes for name in tape.names if name.startswith(WAITING)}


@pytest.mark.parametrize(
    ("name", "layers", "experts", "kv_heads"),
    [("many experts", "ssf", 16, 2), ("a group of four", "sf", 4, 1), ("full first", "fs", 4, 4)],
)
def test_other_shapes(name: str, layers: str, experts: int, kv_heads: int) -> None:
    shape = Shape(name, layers, WINDOW, experts=experts, kv_heads=kv_heads)
    model = DiffusionGemma(parse_config(shape.config())).eval().requires_grad_(False)
    randomise(model.state_dict().items(), seed=1)
    one = Act(0, delta=7, canvases=(Canvas(2, 20, 3, True), Canvas(1, 16)))
    assert_alike(model, Life((40, 130), [(one, Act(1, 0.9)), (one,), (one,), (Act(1), one)]), Runner(model, Tape))


def test_encoder_and_decoder_with_changes_of_their_own(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    generator = torch.Generator().manual_seed(3)
    for layer in model.layers:
        assert isinstance(layer, Layer)
        linear = layer.mlp.down_proj
        shapes = (4, linear.in_features), (linear.out_features, 4)
        down, up = (torch.randn(shape, generator=generator) / 4 for shape in shapes)
        layer.mlp.down_proj = SidedLinear(linear, None, (down, up), model.sides)  # pyright: ignore
    one = Act(0, delta=7, canvases=(Canvas(2, 20, 3, True),))
    assert_alike(model, Life((40, 130), [(one, Act(1)), (Act(1),), (one,), (Act(1), one)]), Runner(model, Tape))


@given(
    steps=st.lists(st.tuples(st.sampled_from(("write", "write", "cut", "fork")), st.integers(0, 12)), max_size=12),
)
@settings(max_examples=200)
def test_a_cache_knows_which_rows_still_hold(steps: list[tuple[str, int]]) -> None:
    cache = DiffusionGemma(parse_config(Shape("bare", "s", WINDOW).config())).new_cache(1)
    written: list[int] = []
    looks = [(cache.version, list(written))]
    for number, (step, count) in enumerate(steps):
        if step == "write":
            cache.commit(count)
            written += [number] * count
        elif step == "cut":
            cache.truncate(min(count, cache.length))
            del written[count:]
        else:
            cache.fork(count).truncate(0)
        looks.append((cache.version, list(written)))
        for version, then in looks:
            held = next((row for row, pair in enumerate(zip(then, written, strict=False)) if pair[0] != pair[1]), None)
            same = min(len(then), len(written)) if held is None else held
            assert min(len(then), cache.unchanged_since(version)) == same
            if version == cache.version:
                assert cache.unchanged_since(version) == cache.length


four = tuple(Act(number) for number in range(4))


@pytest.mark.parametrize(
    "passes",
    [
        # A lane that has no part in a pass keeps what it holds.
        (four, tuple(Act(number, delta=5) for number in range(3)), four),
        # What pads a delta does not wear the ring.
        (four[:1], (Act(0, delta=1),), (Act(0, cut=0.55),)),
        # What rides wears it: of the rows before a window's length and 64 nothing is there any more.
        ((Act(0, delta=64),), (Act(0, delta=64),), (Act(0, cut=0.76),)),
        # The last rows of the largest prefix that an arena of this size has room for, beside a full lane.
        ((Act(4, delta=1), Act(0)), (Act(4), Act(0))),
    ],
)
def test_padding_is_written_where_nobody_reads(tiny_checkpoint: Path, passes: Any) -> None:
    assert_alike(network(tiny_checkpoint), Life((150, 30, 40, 50, 2047), passes), Runner(network(tiny_checkpoint)))


KEPT, CANVAS, LOOK = "kept", "canvas", "read"


@pytest.mark.parametrize(
    ("length", "parts", "bucket"),
    [
        (0, [(CANVAS, 1, 1)], Bucket(1, 1, 16, 0, 512)),
        (512, [(CANVAS, 1, 16)], Bucket(1, 1, 16, 0, 512)),
        (513, [(CANVAS, 1, 17)], Bucket(1, 1, 32, 0, 1024)),
        (511, [(KEPT, 1, 1), (CANVAS, 3, 32)], Bucket(1, 4, 32, 16, 512)),
        (511, [(CANVAS, 2, 64), (KEPT, 1, 17), (CANVAS, 1, 3)], Bucket(1, 4, 64, 64, 1024)),
        (8192, [(CANVAS, 4, 256)], Bucket(1, 4, 256, 0, 8192)),
        (8193, [(CANVAS, 1, 8)], None),
        (8192, [(KEPT, 1, 1), (CANVAS, 1, 8)], None),
        (9, [(CANVAS, 1, 257)], None),
        (9, [(CANVAS, 8, 256)], None),
        (9, [(CANVAS, 17, 8)], None),
        (9, [(KEPT, 1, 65), (CANVAS, 1, 8)], None),
        (9, [(KEPT, 1, 8)], None),
        (9, [(LOOK, 1, 8), (CANVAS, 1, 8)], None),
        (9, [(KEPT, 1, 8), (KEPT, 1, 8), (CANVAS, 1, 8)], None),
    ],
)
def test_the_bucket_that_parts_fit_into(length: int, parts: list[tuple[str, int, int]], bucket: Bucket | None) -> None:
    cache = DiffusionGemma(parse_config(Shape("bare", "s", WINDOW).config())).new_cache(1)
    cache.length = length
    rows = [
        Rows(cache, torch.zeros(batch, width), encoder=kind != CANVAS, kept=kind == KEPT)
        for kind, batch, width in parts
    ]
    groups = grouped(rows)
    assert (None if groups is None else bucket_of(groups, rows)) == bucket


@pytest.mark.parametrize("prefixes", range(1, 10))
def test_lanes_are_a_power_of_two_and_nine_are_too_many(tiny_checkpoint: Path, prefixes: int) -> None:
    model = network(tiny_checkpoint)
    runner = Runner(model)
    assert_alike(model, Life((20,) * prefixes, [tuple(Act(number) for number in range(prefixes))]), runner)
    assert runner.static == (prefixes < 9)


@torch.inference_mode()
def test_a_prefix_is_copied_once_and_then_what_was_written_behind_it(tiny_checkpoint: Path) -> None:
    model = network(tiny_checkpoint)
    runner, cache, other = Runner(model), model.new_cache(), model.new_cache()
    model.encode(text(1, 1, 200), cache)
    model.encode(text(2, 1, 50), other)

    def copied(source: KVCache = cache, *kept: Rows) -> int:
        before = runner.copied
        runner.forward([*kept, Canvas(1, 16).rows(source, 3)])
        return runner.copied - before

    delta = Rows(cache, text(4, 1, 9), encoder=True, kept=True)
    assert [copied(), copied(), copied(cache, delta), copied()] == [200, 0, 0, 0]
    assert cache.length == 209
    cache.truncate(205)
    model.encode(text(5, 1, 3), cache)
    assert [copied(), copied()] == [3, 0]
    # Another prefix takes the only lane.
    assert [copied(other), copied(other), copied(), copied()] == [50, 0, 208, 0]
    # Further back than the window the ring has not been filled.
    cache.truncate(150)
    assert [copied(), copied()] == [WINDOW - 1, 0]
    # A fork is a prefix of its own, and so is one that began anew.
    assert [copied(cache.fork(100)), copied(model.new_cache())] == [100, 0]
