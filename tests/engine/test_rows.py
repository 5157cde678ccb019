"""One forward over rows of several kinds, requests and prefixes: each comes out as if it had been alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as once
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dgemma_engine.checkpoints import find_checkpoint
from dgemma_engine.model import DiffusionGemma, KVCache, Rows, load_model
from dgemma_engine.model.grain import EXACT, Grain

VOCAB = 300
GRAINS = [EXACT, Grain(rows=8, keys=64), Grain(rows=3, keys=5)]
WINDOW = 32
TOLERANCE = 1e-4
KINDS = ("kept", "read", "canvas")

Numbers = list[int]


@once
def network(folder: Path, grain: Grain = EXACT) -> DiffusionGemma:
    model = load_model(folder)
    model.grain = grain
    return model


@frozen
class Part:
    """Rows of a request: `texts` of one length, the last `padding` rows of every second one being padding."""

    cache: int
    kind: str
    texts: tuple[tuple[int, ...], ...]
    padding: int = 0
    has_signal: bool = False

    def rows(self, cache: KVCache) -> Rows:
        ids = torch.tensor(self.texts)
        if self.kind != "canvas":
            return Rows(cache, ids, encoder=True, kept=self.kind == "kept")
        generator = torch.Generator().manual_seed(sum(self.texts[0]))
        signal = torch.randn(*ids.shape, 64, generator=generator) if self.has_signal else None
        return Rows(cache, ids, signal, self.real)

    @property
    def real(self) -> Tensor | None:
        """`[B, T]`, False on padding."""
        if not self.padding:
            return None
        real = torch.ones(len(self.texts), len(self.texts[0]), dtype=torch.bool)
        real[::2, -self.padding :] = False
        return real


@frozen
class Mix:
    """Prefixes, of which each cache holds one in a room of its own size, and the parts of one forward."""

    prefixes: tuple[Numbers, ...]
    rooms: tuple[int, ...]
    parts: tuple[Part, ...] = field(converter=tuple)

    def caches(self, model: DiffusionGemma) -> list[KVCache]:
        caches = [model.new_cache(room) for room in self.rooms]
        for cache, ids in zip(caches, self.prefixes, strict=True):
            if ids:
                model.encode(torch.tensor([ids]), cache)
        return caches


IDS = st.integers(8, VOCAB - 1)


@st.composite
def parts(draw: st.DrawFn, cache: int) -> Part:
    kind = draw(st.sampled_from(KINDS))
    batch = 1 if kind == "kept" else draw(st.integers(1, 3))
    width = draw(st.integers(1, 40 if kind == "kept" else 20))
    texts = draw(st.lists(st.tuples(*[IDS] * width), min_size=batch, max_size=batch))
    if kind != "canvas":
        return Part(cache, kind, tuple(texts))
    return Part(cache, kind, tuple(texts), draw(st.integers(0, width - 1)), draw(st.booleans()))


@st.composite
def mixes(draw: st.DrawFn) -> Mix:
    count = draw(st.integers(1, 3))
    prefixes = draw(st.lists(st.lists(IDS, max_size=50), min_size=count, max_size=count))
    rooms = draw(st.lists(st.integers(1, 120), min_size=count, max_size=count))
    chosen = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=6))
    return Mix(tuple(prefixes), tuple(rooms), [draw(parts(cache)) for cache in chosen])


def alone(model: DiffusionGemma, mix: Mix) -> list[Tensor]:
    """Part by part: what is kept first, then what looks at it."""
    caches = evolve(mix, rooms=tuple(200 for _ in mix.rooms)).caches(model)
    order = sorted(range(len(mix.parts)), key=lambda index: mix.parts[index].kind != "kept")
    hidden: dict[int, Tensor] = {}
    for index in order:
        (hidden[index],) = model.forward([mix.parts[index].rows(caches[mix.parts[index].cache])])
    return [hidden[index] for index in range(len(mix.parts))]


def assert_close(found: Sequence[Tensor], wanted: Sequence[Tensor], mix: Mix) -> None:
    for part, one, other in zip(mix.parts, found, wanted, strict=True):
        assert one.shape == other.shape
        real = torch.ones(one.shape[:2], dtype=torch.bool) if part.real is None else part.real
        assert (one - other)[real].abs().max() < TOLERANCE, part.kind


@pytest.mark.parametrize("grain", GRAINS)
@given(mix=mixes())
@settings(max_examples=60)
def test_any_mix_of_parts_comes_out_as_each_alone(tiny_checkpoint: Path, grain: Grain, mix: Mix) -> None:
    model = network(tiny_checkpoint, grain)
    with torch.inference_mode():
        wanted = alone(network(tiny_checkpoint), mix)
        caches = mix.caches(model)
        found = model.forward([part.rows(caches[part.cache]) for part in mix.parts])
    assert_close(found, wanted, mix)
    for number, (cache, ids) in enumerate(zip(caches, mix.prefixes, strict=True)):
        kept = [part for part in mix.parts if part.cache == number and part.kind == "kept"]
        assert cache.length == len(ids) + sum(len(part.texts[0]) for part in kept)


@pytest.mark.parametrize("grain", GRAINS)
@given(mix=mixes(), later=st.lists(IDS, min_size=1, max_size=20))
@settings(max_examples=30)
def test_the_prefix_holds_afterwards_what_was_kept(
    tiny_checkpoint: Path, grain: Grain, mix: Mix, later: Numbers
) -> None:
    model = network(tiny_checkpoint, grain)
    with torch.inference_mode():
        caches = mix.caches(model)
        model.forward([part.rows(caches[part.cache]) for part in mix.parts])
        for number, (cache, ids) in enumerate(zip(caches, mix.prefixes, strict=True)):
            kept = [part.texts[0] for part in mix.parts if part.cache == number and part.kind == "kept"]
            fresh = model.new_cache()
            whole = [*ids, *(id_ for text in kept for id_ in text)]
            if whole:
                network(tiny_checkpoint).encode(torch.tensor([whole]), fresh)
            found, wanted = (model.read(torch.tensor([later]), one) for one in (cache, fresh))
            assert (found - wanted).abs().max() < TOLERANCE


@given(mix=mixes(), cut=st.integers(0, 60), ids=st.lists(IDS, min_size=1, max_size=20))
@settings(max_examples=30)
def test_a_fork_is_a_prefix_of_its_own(tiny_checkpoint: Path, mix: Mix, cut: int, ids: Numbers) -> None:
    model = network(tiny_checkpoint)
    with torch.inference_mode():
        (source, *_), (prefix, *_) = mix.caches(model), mix.prefixes
        cut = min(cut, len(prefix))
        fork = source.fork(cut)
        before = model.read(torch.tensor([ids]), source)
        model.encode(torch.tensor([ids]), fork)
        assert (model.read(torch.tensor([ids]), source) - before).abs().max() < TOLERANCE
        fresh = model.new_cache()
        model.encode(torch.tensor([[*prefix[:cut], *ids]]), fresh)
        found, wanted = (model.read(torch.tensor([ids]), one) for one in (fork, fresh))
        assert (found - wanted).abs().max() < TOLERANCE


def test_only_one_continuation_of_a_prefix_can_be_kept(tiny_checkpoint: Path) -> None:
    model = network(tiny_checkpoint)
    cache = model.new_cache()
    two, one = torch.ones(2, 3).long(), torch.ones(1, 3).long()
    for wrong in (Rows(cache, two, encoder=True, kept=True), Rows(cache, one, kept=True)):
        with pytest.raises(ValueError, match="kept"):
            model.forward([wrong])
    assert cache.length == 0


@pytest.mark.parametrize("length", [0, WINDOW - 2, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_at_the_edges_of_the_window_a_riding_delta_is_seen(tiny_checkpoint: Path, length: int) -> None:
    prefix = [8 + number % 200 for number in range(length)]
    texts: Any = ([9, 10, 11], [[12, 13], [14, 15]])
    delta, canvas = Part(0, "kept", (tuple(texts[0]),)), Part(0, "canvas", tuple(map(tuple, texts[1])))
    mix = Mix((prefix,), (1,), [canvas, delta])
    model = network(tiny_checkpoint)
    with torch.inference_mode():
        caches = mix.caches(model)
        found = model.forward([part.rows(caches[0]) for part in mix.parts])
        assert_close(found, alone(model, mix), mix)


class Products(TorchDispatchMode):
    """Notes the shapes of all products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[torch.Size, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.linear, torch.ops.aten.matmul):
            self.shapes.add((args[0].shape, args[1].shape))
        return func(*args, **(kwargs or {}))


def typed(model: DiffusionGemma, lengths: range) -> set[tuple[torch.Size, ...]]:
    """The shapes that occur when a prefix grows, each time with a canvas and a hole of its own width behind it."""
    cache, generator = model.new_cache(), torch.Generator().manual_seed(0)
    products = Products()
    with torch.inference_mode(), products:
        for length in lengths:
            added = torch.randint(8, VOCAB, (1, length - cache.length), generator=generator)
            hole = torch.arange(length % 7 + 1)
            kept = Rows(cache, added, encoder=True, kept=True, asked=torch.tensor([0]))
            canvas = Rows(cache, torch.randint(8, VOCAB, (1, 30 + length % 9), generator=generator), asked=hole)
            _, hidden = model.forward([kept, canvas])
            model.expected_embedding(model.logits(hidden).softmax(-1))
    return products.shapes


def test_on_a_cpu_typing_brings_few_shapes() -> None:
    model = load_model(find_checkpoint("nano").folder)
    assert model.dtype == torch.bfloat16
    few = typed(model, range(70, 120))
    model.grain = EXACT
    assert 0 < len(few) <= 50
    assert len(typed(model, range(70, 120))) > 5 * len(few)
