"""Our model against transformers' on the same weights, however the prefix came to be."""

from __future__ import annotations

from functools import cache as once
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import dgemma_engine
from dgemma_engine.model import DiffusionGemma, KVCache, Rows, load_model

from .reference import Oracle, Shape

TOLERANCE = 1e-4

NANO = Path(dgemma_engine.__file__).parent / "nano"

SHAPES = [
    Shape("dense-experts", layers="ssf", window=32),
    Shape("one-kv-head", layers="fsf", window=16, kv_heads=1, full_kv_heads=4, head_dim=8, full_head_dim=16),
    Shape(
        "many-experts",
        layers="sfsf",
        window=24,
        heads=8,
        full_kv_heads=2,
        experts=16,
        spelling="global_head_dim",
    ),
    Shape("five-to-one", layers="sssssf", window=20, hidden=96, kv_heads=4, head_dim=32, full_head_dim=64),
]
CHECKPOINTS = [*(shape.name for shape in SHAPES), "tiny", "nano"]


@frozen
class Pair:
    """Both models on one checkpoint."""

    folder: Path
    ours: DiffusionGemma
    oracle: Oracle

    @property
    def window(self) -> int:
        return self.ours.config.sliding_window

    @property
    def long(self) -> int:
        """A context of more than three windows."""
        return 3 * self.window + 5

    def ids(self, count: int, seed: int = 0, batch: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.ours.config.vocab_size, (batch, count), generator=generator)

    def noise_logits(self, rows: int) -> Tensor:
        """Tempered logits of a previous pass, peaked like real ones, `[1, rows, V]`."""
        generator = torch.Generator().manual_seed(rows)
        return 4 * torch.randn(1, rows, self.ours.config.vocab_size, generator=generator)

    def encoded(self, ids: Tensor) -> KVCache:
        cache = self.ours.new_cache(capacity=16)
        self.ours.encode(ids, cache)
        return cache

    def check(self, hidden: Tensor, expected: Tensor) -> None:
        """Hidden states and the logits of them agree."""
        torch.testing.assert_close(hidden, expected, atol=TOLERANCE, rtol=0)
        logits, wanted = self.ours.logits(hidden), self.oracle.logits(expected)
        torch.testing.assert_close(logits, wanted, atol=TOLERANCE, rtol=0)


@pytest.fixture(scope="module", params=CHECKPOINTS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Pair:
    folders = {"tiny": tiny_checkpoint, "nano": NANO}
    if request.param in folders:
        folder = folders[request.param]
    else:
        shape = next(shape for shape in SHAPES if shape.name == request.param)
        folder = shape.write(tmp_path_factory.mktemp(shape.name))
    return Pair(folder, load_model(folder, torch.float32), Oracle(folder))


@pytest.mark.parametrize("pair", [shape.name for shape in SHAPES], indirect=True)
def test_the_random_checkpoints_are_worth_comparing(pair: Pair) -> None:
    hidden, cache = pair.oracle.prefill(pair.ids(pair.long))
    first = pair.oracle.logits(pair.oracle.decode(pair.ids(32, seed=1), cache))
    again = pair.oracle.logits(pair.oracle.decode(pair.ids(32, seed=1), cache, first / 0.8))
    for logits in (pair.oracle.logits(hidden), first):
        assert logits.softmax(-1).amax(-1).mean() > 0.2
    assert (again - first).abs().mean() > 0.1


@pytest.mark.parametrize(("windows", "more"), [(0, 1), (1, -1), (1, 0), (1, 1), (3, 5)])
def test_encoder(pair: Pair, windows: int, more: int) -> None:
    ids = pair.ids(windows * pair.window + more)
    hidden = pair.ours.encode(ids, pair.ours.new_cache(capacity=1))
    pair.check(hidden, pair.oracle.prefill(ids)[0])


@pytest.mark.parametrize("canvas", [16, 64, 256])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("windows", [1 / 2, 3])
def test_pass(pair: Pair, canvas: int, conditioned: bool, windows: float) -> None:
    prefix = pair.ids(int(windows * pair.window) + 5)
    noise = pair.ids(canvas, seed=1)
    logits = pair.noise_logits(canvas) if conditioned else None
    signal = None if logits is None else pair.ours.soft_embedding(logits)
    hidden = pair.ours.decode(noise, pair.encoded(prefix), signal)
    pair.check(hidden, pair.oracle.decode(noise, pair.oracle.prefill(prefix)[1], logits))


@pytest.mark.parametrize("pieces", [(None,), (0.4,), (1, 2), (0.1, 0.2, 1.5, 2.9)], ids=str)
def test_prefix_in_pieces(pair: Pair, pieces: tuple[float | None, ...]) -> None:
    """`pieces` are the cuts, in windows."""
    prefix, noise = pair.ids(pair.long), pair.ids(16, seed=1)
    cuts = [0, *(int(cut * pair.window) for cut in pieces if cut), pair.long]
    cache = pair.ours.new_cache(capacity=16)
    hidden = [pair.ours.encode(prefix[:, start:stop], cache) for start, stop in pairwise(cuts)]
    expected, oracle_cache = pair.oracle.prefill(prefix)
    pair.check(torch.cat(hidden, dim=1), expected)
    pair.check(pair.ours.decode(noise, cache), pair.oracle.decode(noise, oracle_cache))


@pytest.mark.parametrize("kept", [0.0, 0.3, 2.5], ids=lambda kept: f"{kept}-windows-kept")
def test_prefix_after_truncation(pair: Pair, kept: float) -> None:
    rows = int(kept * pair.window)
    cache = pair.encoded(pair.ids(pair.long, seed=5))
    cache.truncate(0)
    head, tail, noise = pair.ids(pair.long), pair.ids(pair.long - rows, seed=2), pair.ids(16, seed=1)
    pair.ours.encode(head, cache)
    cache.truncate(rows)
    hidden = pair.ours.encode(tail, cache)
    expected, oracle_cache = pair.oracle.prefill(torch.cat([head[:, :rows], tail], dim=1))
    pair.check(hidden, expected[:, rows:])
    pair.check(pair.ours.decode(noise, cache), pair.oracle.decode(noise, oracle_cache))


@pytest.mark.parametrize("delta", [1.0, 8.0, 1.5], ids=["one-token", "a-keystroke", "past-the-window"])
@pytest.mark.parametrize("context", [0, 3], ids=["from-nothing", "three-windows"])
def test_joint_pass(pair: Pair, delta: float, context: int) -> None:
    """New prefix tokens ride with the canvas; the prefix they leave serves the next pass alone."""
    rows = int(delta * pair.window) if delta == 1.5 else int(delta)
    start = context * pair.window + 3 * bool(context)
    prefix, noise, logits = pair.ids(start + rows), pair.ids(32, seed=1), pair.noise_logits(32)
    signal = pair.ours.soft_embedding(logits)
    cache = pair.ours.new_cache(capacity=16)
    if start:
        pair.ours.encode(prefix[:, :start], cache)
    delta_rows = Rows(cache, prefix[:, start:], encoder=True, kept=True)
    encoded, decoded = pair.ours.forward([delta_rows, Rows(cache, noise, signal)])

    expected, oracle_cache = pair.oracle.prefill(prefix)
    pair.check(encoded, expected[:, start:])
    pair.check(decoded, pair.oracle.decode(noise, oracle_cache, logits))
    assert cache.length == start + rows
    pair.check(pair.ours.decode(noise, cache, signal), pair.oracle.decode(noise, oracle_cache, logits))


@pytest.mark.parametrize("conditioned", [False, True])
def test_batched_canvases_share_a_prefix(pair: Pair, conditioned: bool) -> None:
    """Each canvas of a batch is what it would be alone: the oracle decodes them one by one."""
    prefix, canvases = pair.ids(pair.long), pair.ids(24, seed=1, batch=3)
    logits = pair.noise_logits(3 * 24).view(3, 24, -1) if conditioned else None
    signal = None if logits is None else pair.ours.soft_embedding(logits)
    hidden = pair.ours.decode(canvases, pair.encoded(prefix), signal)
    _, oracle_cache = pair.oracle.prefill(prefix)
    for row in range(3):
        one = None if logits is None else logits[row, None]
        pair.check(hidden[row, None], pair.oracle.decode(canvases[row, None], oracle_cache, one))


@pytest.mark.parametrize("conditioned", [False, True])
def test_padded_canvases(pair: Pair, conditioned: bool) -> None:
    """Canvases of different lengths in one batch: padding is seen by nobody."""
    lengths = (24, 7, 16)
    prefix, canvases = pair.ids(pair.long), pair.ids(24, seed=1, batch=3)
    real = torch.arange(24) < torch.tensor(lengths)[:, None]
    logits = pair.noise_logits(3 * 24).view(3, 24, -1) if conditioned else None
    signal = None if logits is None else pair.ours.soft_embedding(logits)
    hidden = pair.ours.decode(canvases, pair.encoded(prefix), signal, real)
    _, oracle_cache = pair.oracle.prefill(prefix)
    for row, length in enumerate(lengths):
        one = None if logits is None else logits[row, None, :length]
        pair.check(hidden[row, None, :length], pair.oracle.decode(canvases[row, None, :length], oracle_cache, one))


def test_canvas_leaves_nothing_behind(pair: Pair) -> None:
    prefix, more = pair.ids(pair.window + 3), pair.ids(9, seed=3)
    cache = pair.encoded(prefix)
    for batch in (1, 2):
        pair.ours.decode(pair.ids(64, seed=1, batch=batch), cache)
    assert cache.length == prefix.shape[1]
    expected, _ = pair.oracle.prefill(torch.cat([prefix, more], dim=1))
    pair.check(pair.ours.encode(more, cache), expected[:, -9:])


def test_canvas_before_any_prefix(pair: Pair) -> None:
    """The reference cannot decode from an empty cache: there is no oracle, only sense."""
    noise, first = pair.ids(16, seed=1), pair.ids(1)
    alone = pair.ours.decode(noise, pair.ours.new_cache())
    assert torch.isfinite(alone).all()
    assert (alone - pair.ours.decode(noise, pair.encoded(first))).abs().max() > TOLERANCE


@once
def smallest(folder: Path) -> DiffusionGemma:
    return load_model(folder, torch.float32)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Edits of a prefix: tokens appended, taken off the end, appended with a canvas; canvases in between."""
    kinds = st.sampled_from(["append", "truncate", "joint", "canvas"])
    return draw(st.lists(st.tuples(kinds, st.integers(1, 60)), min_size=1, max_size=8))


@settings(max_examples=40, deadline=None)
@given(history=histories())
def test_any_history_is_a_fresh_prefill(tiny_checkpoint: Path, history: list[tuple[str, int]]) -> None:
    """Window and canvas of this checkpoint are 32 tokens: histories cross the window and grow the cache."""
    model = smallest(tiny_checkpoint)
    generator = torch.Generator().manual_seed(len(history))
    cache, ids, canvas = (
        model.new_cache(capacity=4),
        torch.empty(1, 0, dtype=torch.long),
        torch.arange(16)[None],
    )
    for kind, count in history:
        new = torch.randint(400, (1, count), generator=generator)
        if kind == "truncate":
            cache.truncate(max(0, cache.length - count))
            ids = ids[:, : cache.length]
        elif kind == "canvas":
            model.decode(new, cache)
        else:
            riding = [Rows(cache, canvas)] if kind == "joint" else []
            model.forward([*riding, Rows(cache, new, encoder=True, kept=True)])
            ids = torch.cat([ids, new], dim=1)
    assert cache.length == ids.shape[1]
    fresh = model.new_cache()
    if ids.shape[1]:
        model.encode(ids, fresh)
    torch.testing.assert_close(model.decode(canvas, cache), model.decode(canvas, fresh), atol=TOLERANCE, rtol=0)


def test_double_precision(pair: Pair) -> None:
    """What differs in fp32 is rounding: in fp64 (norms stay in fp32 in both) they are the same function."""
    ours, oracle = load_model(pair.folder, torch.float64), Oracle(pair.folder, torch.float64)
    prefix, noise, logits = pair.ids(pair.long), pair.ids(64, seed=1), pair.noise_logits(64).double()
    cache = ours.new_cache()
    encoded, (expected, oracle_cache) = ours.encode(prefix, cache), oracle.prefill(prefix)
    decoded = ours.decode(noise, cache, ours.soft_embedding(logits))
    torch.testing.assert_close(encoded, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(decoded, oracle.decode(noise, oracle_cache, logits), atol=1e-6, rtol=0)


@pytest.mark.parametrize("pair", [shape.name for shape in SHAPES], indirect=True)
def test_bfloat16(pair: Pair) -> None:
    """Both round to 8 bits, each in its own order, and routing ties flip: ours stays as near to fp32 as theirs."""
    ours, oracle = load_model(pair.folder, torch.bfloat16), Oracle(pair.folder, torch.bfloat16)
    errors: dict[str, list[Tensor]] = {"ours": [], "theirs": []}
    for seed in range(6):
        prefix, noise, logits = pair.ids(pair.long, seed), pair.ids(64, seed + 10), pair.noise_logits(64)
        pairs = []
        for model in (pair.ours, ours):
            cache = model.new_cache()
            pairs.append((model.encode(prefix, cache), model.decode(noise, cache, model.soft_embedding(logits))))
        exact, mine = pairs
        encoded, cache = oracle.prefill(prefix)
        theirs = encoded, oracle.decode(noise, cache, logits.to(torch.bfloat16))
        for name, found in (("ours", mine), ("theirs", theirs)):
            assert all(hidden.dtype == torch.bfloat16 for hidden in found)
            errors[name] += [
                (hidden.float() - wanted).norm(dim=-1).flatten() / wanted.norm(dim=-1).flatten()
                for hidden, wanted in zip(found, exact, strict=True)
            ]
    mine, theirs = (torch.cat(errors[name]) for name in ("ours", "theirs"))
    assert mine.median() < 1.15 * theirs.median()
    assert mine.quantile(0.9) < 1.4 * theirs.quantile(0.9)
