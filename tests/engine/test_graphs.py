"""Replayed passes: what is captured, what falls back, and fills that come out the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from dgemma_engine import compare, fill, graphs, scheduler, wire
from dgemma_engine.draws import SeededDraws
from dgemma_engine.engine import Engine
from dgemma_engine.errors import EngineError
from dgemma_engine.graphs import GRAPHS, PATIENCE, Runner
from dgemma_engine.model import DiffusionGemma, KVCache, Rows, load_model
from dgemma_engine.model.arena import Extent, arena_bytes
from dgemma_engine.wire import Hole, MaskedText

from .gate import Gate
from .office import OpenOffice
from .tape import WAITING, Tape

BEFORE = "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n\n\n"
TEXTS = [
    (MaskedText((f"{BEFORE * 3}x = ", Hole(6), "\n")), {"candidates": 3}),
    (MaskedText(("values = [", Hole(4), "]\n", BEFORE, "y = ", Hole(8), ")")), {"length": "exact"}),
    (MaskedText((BEFORE, Hole(30), "\nreturn x")), {"length": "exact", "candidates": 2}),
    (MaskedText((BEFORE[:40], Hole(60))), {"length": "exact"}),
]


@pytest.fixture(scope="module")
def engine(steady_checkpoint: Path) -> Engine:
    return Engine.load(str(steady_checkpoint))


def canvas(cache: KVCache, width: int = 16, batch: int = 1) -> Rows:
    return Rows(cache, torch.full((batch, width), 9))


class Captures:
    """Tapes, in the order in which they were made."""

    def __init__(self) -> None:
        self.made: list[Tape] = []

    def __call__(self, step: Callable[[], None]) -> Tape:
        self.made.append(Tape(step))
        return self.made[-1]


@pytest.mark.parametrize(("text", "options"), TEXTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_fill_comes_out_the_same(engine: Engine, text: MaskedText, options: dict[str, Any], seed: int) -> None:
    captures = Captures()
    replayed = evolve(engine, runner=Runner(engine.model, captures))
    wanted = engine.fill(text, seed=seed, passes=6, **options)
    for _ in range(2):
        found = replayed.fill(text, seed=seed, passes=6, **options)
        assert [one.texts for one in found.candidates] == [one.texts for one in wanted.candidates]
        assert [one.score for one in found.candidates] == pytest.approx(
            [one.score for one in wanted.candidates], abs=1e-3
        )
    assert sum(tape.played for tape in captures.made) >= 5


def test_typing_along_with_a_prefix_cache(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "SeededDraws", lambda vocab, device, seed: SeededDraws(vocab, device, 5))
    plain, captures = evolve(engine, prefixes=type(engine.prefixes)(engine.model)), Captures()
    replayed = evolve(engine, prefixes=type(engine.prefixes)(engine.model), runner=Runner(engine.model, captures))
    typed = BEFORE * 4 + "total = sum(values)\nprint(total)\n"
    for count in (len(typed) - 12, len(typed) - 9, len(typed) - 20, len(typed) - 1, len(typed)):
        text = MaskedText((typed[:count], Hole(5), "\n"))
        found, wanted = (one.fill(text, passes=4) for one in (replayed, plain))
        assert [one.texts for one in found.candidates] == [one.texts for one in wanted.candidates]
    assert replayed.prefixes.counts() == plain.prefixes.counts()
    assert replayed.prefixes.hits == 4
    assert any(tape.played for tape in captures.made)


def test_fills_that_share_passes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "SeededDraws", lambda vocab, device, seed: SeededDraws(vocab, device, 5))
    requests = [
        wire.Fill(0, MaskedText((BEFORE * count, "x = ", Hole(4), "\n")), "m", passes=8 + count, length="exact")
        for count in range(4)
    ]
    with torch.inference_mode():
        fresh = [evolve(engine, prefixes=type(engine.prefixes)(engine.model)) for _ in requests]
        runner = Runner(engine.model, Captures())
        found = together(runner, [one.filling(request) for one, request in zip(fresh, requests, strict=True)])
    for request, filled in zip(requests, found, strict=True):
        alone = evolve(engine, prefixes=type(engine.prefixes)(engine.model))
        assert isinstance(request.text, MaskedText)
        wanted = alone.fill(request.text, passes=request.passes, length=request.length)
        assert [one.texts for one in filled.candidates] == [one.texts for one in wanted.candidates]
    assert runner.static > 4


def together(runner: Runner, fills: list[Any]) -> list[wire.Filled]:
    """Every fill a step further in each forward, until all have ended."""
    parts: dict[int, list[Rows]] = {number: next(steps) for number, steps in enumerate(fills)}
    ended: dict[int, wire.Filled] = {}
    while parts:
        hidden: Iterator[Tensor] = iter(runner.forward([rows for mine in parts.values() for rows in mine]))
        for number, mine in list(parts.items()):
            try:
                parts[number] = fills[number].send([next(hidden) for _ in mine])
            except StopIteration as end:
                ended[number] = end.value
                del parts[number]
    return [ended[number] for number in range(len(fills))]


@torch.inference_mode()
def test_a_shape_is_captured_when_it_comes_again(tiny_checkpoint: Path) -> None:
    model, captures = load_model(tiny_checkpoint), Captures()
    runner, cache = Runner(model, captures), model.new_cache()
    for width, made in ((16, 0), (32, 0), (16, 1), (9, 1), (16, 1), (20, 2)):
        runner.forward([canvas(cache, width)])
        assert len(captures.made) == made
    assert [tape.played for tape in captures.made] == [3, 1]


@torch.inference_mode()
def test_the_host_never_waits_for_a_pass(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    runner, caches = Runner(model, Captures()), [model.new_cache() for _ in range(3)]
    asked, real = torch.tensor([2, 3]), torch.ones(1, 16, dtype=torch.bool)

    def parts() -> list[Rows]:
        kept = [Rows(cache, torch.full((1, 5), 9), encoder=True, kept=True, asked=asked) for cache in caches]
        return kept + [evolve(canvas(cache), asked=asked, real=real) for cache in caches]

    everything = Tape(lambda: [runner.forward(parts()) for _ in range(4)])
    assert runner.static == 4
    assert not {name for name in everything.names if name.startswith(WAITING)}


@torch.inference_mode()
def test_what_came_out_stays_what_it_is(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    runner, cache = Runner(model), model.new_cache()
    (first,) = runner.forward([canvas(cache)])
    before = first.clone()
    model.encode(torch.full((1, 3), 8), cache)
    (second,) = runner.forward([canvas(cache)])
    assert torch.equal(first, before)
    assert not torch.equal(first, second)


@torch.inference_mode()
def test_shapes_that_came_long_ago_are_dropped(tiny_checkpoint: Path) -> None:
    model, captures = load_model(tiny_checkpoint), Captures()
    runner = Runner(model, captures)
    caches = [model.new_cache() for _ in range(4)]
    shapes = [(width, batch, lanes) for width in (16, 32) for batch in (1, 2, 4, 8) for lanes in (1, 2, 4)]
    for width, batch, lanes in (shape for shape in shapes for _ in range(2)):
        runner.forward([canvas(cache, width, batch) for cache in caches[:lanes]])
    assert len(runner.buckets) == GRAPHS < len(shapes)
    assert runner.buckets[-1].lanes == 4
    made = len(captures.made)
    runner.forward([canvas(caches[0])])
    runner.forward([canvas(caches[0])])
    assert len(captures.made) == made + 1


@torch.inference_mode()
def test_where_capture_fails_passes_run_without(tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(step: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    model = load_model(tiny_checkpoint)
    runner, cache = Runner(model, refuse), model.new_cache()
    wanted = model.forward([canvas(cache)])[0]
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            assert (runner.forward([canvas(cache)])[0] - wanted).abs().max() < 1e-4
    (record,) = caplog.records
    assert "not permitted" in record.getMessage()
    assert (runner.static, runner.size) == (1, 0)


@torch.inference_mode()
def test_copies_stay_within_the_room_there_is(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    room = arena_bytes(model.config, Extent(2, 256, 2048), 4)
    runner = Runner(model, Captures(), lambda: room)
    # What the copies take already is theirs.
    runner = Runner(model, Captures(), lambda: room - runner.size)
    few, many = ([canvas(model.new_cache()) for _ in range(count)] for count in (2, 3))
    for parts, static in ((few, 1), (many, 1), (few, 2), (many, 2)):
        runner.forward(parts)
        assert runner.static == static
        assert runner.size == room
    # One that is long fits only in place of the two: when it has come often enough.
    long = model.new_cache(4000)
    model.encode(torch.full((1, 4000), 9), long)
    for _ in range(PATIENCE + 1):
        runner.forward([canvas(long)])
    assert runner.static > 2
    assert runner.size <= room


def broken(errors: list[Exception]) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """A capture whose replays fail with each of `errors` once."""

    def capture(step: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            step()
            if errors:
                raise errors.pop(0)

        return replay

    return capture


def test_out_of_memory_in_a_fill_fails_that_fill(engine: Engine) -> None:
    text, options = TEXTS[1]
    runner = Runner(engine.model, broken([torch.OutOfMemoryError("CUDA out of memory")]))
    replayed = evolve(engine, runner=runner)
    with pytest.raises(EngineError, match="memory ran out: close") as caught:
        replayed.fill(text, seed=1, passes=6, **options)
    assert (caught.value.code, runner.size, runner.buckets) == ("memory", 0, [])
    found, wanted = (one.fill(text, seed=1, passes=6, **options).candidates for one in (replayed, engine))
    assert [one.texts for one in found] == [one.texts for one in wanted]
    assert runner.static > 6


@torch.inference_mode()
def test_what_a_failed_pass_wrote_counts_for_nothing(engine: Engine) -> None:
    model = engine.model
    failing: list[Exception] = []
    runner = Runner(model, broken(failing))
    cache = model.new_cache()
    ids = torch.arange(400)[None, 8:308]
    model.encode(ids[:, :270], cache)
    delta = Rows(cache, torch.full((1, 64), 11), encoder=True, kept=True)
    other = model.new_cache()
    runner.forward([canvas(other), Rows(other, delta.ids, encoder=True, kept=True)])
    runner.forward([canvas(cache)])
    model.encode(ids[:, 270:], cache)
    runner.forward([canvas(cache)])
    failing.append(RuntimeError("boom"))
    with pytest.raises(RuntimeError, match="boom"):
        runner.forward([canvas(cache), delta])
    assert cache.length == 300
    # Where the delta was written stood what a shorter prefix has in its window.
    cache.truncate(280)
    (found,) = runner.forward([canvas(cache)])
    assert (found - model.forward([canvas(cache)])[0]).abs().max() < 1e-4


def test_a_scheduler_lives_on_after_out_of_memory(
    open_office: OpenOffice, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [torch.OutOfMemoryError("CUDA out of memory")]
    runners: list[Runner] = []

    def replayed(model: DiffusionGemma) -> Runner:
        runners.append(Runner(model, broken(errors)))
        return runners[-1]

    monkeypatch.setattr(graphs, "runner", replayed)
    gate.open()
    office = open_office()
    assert office.fill("a", passes=5).code() == "memory"
    assert not errors
    assert [office.fill("a", passes=5).filled().candidates[0].passes for _ in range(2)] == [5, 5]
    assert len(runners) == 1
    assert runners[0].static > 5


def test_out_of_memory_beside_a_pass_gives_the_copies_back(
    open_office: OpenOffice, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampler that reads out wide logits may be what asks too much."""
    runners: list[Runner] = []

    def replayed(model: DiffusionGemma) -> Runner:
        runners.append(Runner(model))
        return runners[-1]

    monkeypatch.setattr(graphs, "runner", replayed)
    gate.open()
    office = open_office()
    office.fill("a").filled()
    assert runners[0].size > 0
    logits = DiffusionGemma.logits

    def full(model: DiffusionGemma, hidden: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DiffusionGemma, "logits", full)
    assert office.fill("b").code() == "memory"
    assert runners[0].size == 0
    monkeypatch.setattr(DiffusionGemma, "logits", logits)
    office.fill("b").filled()


def test_a_lost_gpu_ends_the_scheduler_with_a_reason(
    open_office: OpenOffice, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing runs in this process any more: another one serves the next request."""
    error = EngineError("device", "the GPU failed: the engine ends, ask again and it starts anew")
    monkeypatch.setattr(scheduler, "lost", lambda device, cause: error if "launch" in str(cause) else None)
    office = open_office()
    first = office.block()
    waiting = office.fill("a", client=2)
    gate.broken[first.owner] = RuntimeError("CUDA error: unspecified launch failure")
    gate.open()
    assert (first.code(), waiting.code()) == ("device", "device")
    assert office.ended.wait(20)
    assert office.fill("a").code() == "closing"


def test_a_device_that_still_works_is_not_lost() -> None:
    from dgemma_engine.lost import lost

    assert lost(torch.device("cpu"), RuntimeError("CUDA error: device-side assert triggered")) is None


def test_both_ways_of_decoding_are_replayed(steady_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the one with more passes would lose by its launches, not by its passes."""
    runners: list[Runner] = []

    def replayed(model: DiffusionGemma) -> Runner:
        runners.append(Runner(model, Captures()))
        return runners[-1]

    monkeypatch.setattr(graphs, "runner", replayed)
    monkeypatch.setattr(compare, "ROUNDS", 1)
    for event in compare.compare(str(steady_checkpoint), None):
        if event["event"] == "arm":
            (runner,) = runners
            batch = event["batch"]
            assert batch in [bucket.slots for bucket in runner.buckets]
            assert batch in [bucket.lanes for bucket in runner.buckets if not bucket.slots]


def test_without_a_gpu_the_network_itself_runs(engine: Engine) -> None:
    assert engine.runner is engine.model
