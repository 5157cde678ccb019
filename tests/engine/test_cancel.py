"""Cancelling: whatever a request is at, not one forward more is run for it, and what it has encoded stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dgemma_engine import likelihood, prefix_cache, wire

from .gate import Gate, LoadingGate
from .office import Asked, Office, OpenOffice

LONG = "".join(f"{number} " for number in range(50))
"""Of several chunks, in these tests."""
CHUNK = 32

Ask = Callable[[Office], Asked]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_cache, "CHUNK_ROWS", CHUNK)
    monkeypatch.setattr(likelihood, "BATCH_ROWS", 1)


def fill(**options: Any) -> Ask:
    return lambda office: office.fill("mine", LONG, **{"passes": 6, **options})


def score(office: Office) -> Asked:
    return office.ask(wire.Score, LONG, ("one", "two", "three"), document="mine")


def warm(office: Office) -> Asked:
    return office.warm("mine", LONG)


def refine(office: Office) -> Asked:
    office.gate.open()
    first = office.fill("mine", seed=0)
    size = len(first.filled().candidates[0].texts[0])
    office.gate.close()
    return office.refine(first, (0, 0, size), passes=6)


def long_hole(office: Office) -> Asked:
    return office.fill("mine", parts=(LONG, wire.Hole(80)), passes=3)


@pytest.mark.parametrize(
    ("ask", "kind", "nth"),
    [
        (fill(), "prefix", 1),
        (fill(), "prefix", 2),
        (fill(), "canvas", 1),
        (fill(), "canvas", 3),
        (fill(priority="rewrite"), "canvas", 2),
        (fill(seed=0), "prefix", 2),
        (fill(seed=0), "canvas", 2),
        (fill(length="auto", candidates=3), "canvas", 2),
        (fill(length="auto", candidates=3), "read", 1),
        (fill(length="auto", candidates=3), "read", 2),
        (long_hole, "canvas", 2),
        (long_hole, "prefix", 3),
        (long_hole, "canvas", 5),
        (refine, "canvas", 2),
        (score, "prefix", 2),
        (score, "read", 2),
        (warm, "prefix", 1),
        (warm, "prefix", 3),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_a_cancelled_request_ends_with_the_forward_it_is_in(
    open_office: OpenOffice, gate: Gate, ask: Ask, kind: str, nth: int, batch: bool
) -> None:
    office = open_office(batch=batch)
    asked = ask(office)
    gate.until(asked.owner, kind, nth)
    count = len(gate.of(asked.owner))
    office.cancel(asked)
    assert not asked.of(wire.Failed), "the scheduler is in a forward and cannot have noticed"
    gate.step()
    assert asked.code() == "cancelled"
    next_one = office.fill("other", client=2)
    gate.open()
    next_one.filled()
    assert len(gate.of(asked.owner)) == count


@pytest.mark.parametrize(
    "ask",
    [
        lambda office: office.fill("mine", 100 * LONG, length="probe", candidates=2),
        lambda office: office.warm("mine", 100 * LONG),
        lambda office: office.ask(wire.Score, 100 * LONG, ("1", "2"), 100 * LONG, document="mine"),
        lambda office: office.ask(wire.Score, LONG, (100 * LONG,), document="mine"),
    ],
    ids=["fill", "warm-up", "score of a long text", "score of a long candidate"],
)
def test_no_step_is_long_enough_to_wait_for(office: Office, gate: Gate, ask: Ask) -> None:
    context = 256
    gate.open()
    answer = ask(office).answer()
    assert not isinstance(answer, wire.Failed) or answer.code == "request"
    parts = [part for forward in gate.seen for part in forward.parts]
    assert max((part.shape[1] for part in parts if part.kind == "prefix"), default=0) <= CHUNK
    assert max((part.shape[1] for part in parts), default=0) <= context


def test_what_waits_for_another_is_cancelled_without_a_forward(office: Office, gate: Gate) -> None:
    running, waiting = office.fill("a"), office.fill("b")
    gate.wait()
    office.cancel(waiting)
    gate.step()
    assert waiting.code() == "cancelled"
    assert gate.wait().owner == running.owner
    gate.open()
    running.filled()
    assert not gate.of(waiting.owner)


def test_what_waits_for_its_model_is_cancelled_at_once(office: Office, gate: Gate, loading: LoadingGate) -> None:
    gone, stays = office.fill("a"), office.fill("b")
    loading.wait()
    office.cancel(gone)
    assert gone.code() == "cancelled"
    loading.open()
    gate.open()
    stays.filled()
    assert not gate.of(gone.owner)


def test_a_request_can_be_cancelled_twice_or_too_late_or_by_a_stranger(office: Office, gate: Gate) -> None:
    asked = office.fill()
    gate.wait()
    office.scheduler.cancel(2, asked.request.id)
    office.scheduler.cancel(1, 999)
    gate.step()
    gate.wait()
    office.cancel(asked)
    office.cancel(asked)
    gate.step()
    assert asked.code() == "cancelled"
    office.cancel(asked)
    gate.open()
    office.fill("b").filled()
    assert len(asked.of(wire.Failed)) == 1


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_a_cancelled_fill_keeps_what_it_has_encoded(office: Office, gate: Gate, chunks: int) -> None:
    first = office.fill("mine", LONG)
    gate.until(first.owner, "prefix", chunks)
    office.cancel(first)
    gate.step()
    assert first.code() == "cancelled"
    assert office.scheduler.cache().tokens == chunks * CHUNK
    gate.open()
    tokens = office.fill("mine", LONG).filled().tokens
    assert tokens["reused"] == chunks * CHUNK < tokens["prefix"]
    assert office.scheduler.cache().tokens_saved == chunks * CHUNK


def test_what_a_client_that_goes_has_asked_for_is_dropped(office: Office, gate: Gate) -> None:
    running, waiting = office.fill("a"), office.fill("b")
    others = office.fill("a", client=2)
    gate.until(running.owner, "canvas")
    office.scheduler.drop(1)
    gate.step()
    assert (running.code(), waiting.code()) == ("cancelled", "cancelled")
    gate.open()
    others.filled()
    assert len(gate.of(running.owner)) == 1
    assert office.scheduler.queue().ended == {"cancelled": 2, "filled": 1}
