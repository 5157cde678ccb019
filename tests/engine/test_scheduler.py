"""Who runs next: priorities, patience, fairness, shared passes, the newest of a document, and how it all ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dgemma_engine import prefix_cache, task_queue, tasks, wire
from dgemma_engine.engine import Engine

from .gate import Clock, Gate
from .office import Asked, Office

A, B, C = (1, "a"), (1, "b"), (1, "c")
Ask = Callable[[Office], Asked]


def fill(document: str = "a", **options: Any) -> Ask:
    return lambda office: office.fill(document, **options)


def rewrite(document: str = "a", **options: Any) -> Ask:
    return fill(document, priority="rewrite", **options)


def warm(document: str = "a", **options: Any) -> Ask:
    return lambda office: office.warm(document, "1 2 3 4 5 6 7 8 9 " * 2, **options)


def score(document: str = "a", **options: Any) -> Ask:
    return lambda office: office.ask(wire.Score, "x = ", ("1", "2"), document=document, **options)


# The newest of a document wins.


@pytest.mark.parametrize(
    ("older", "newer", "is_replaced"),
    [
        (fill(), fill(), True),
        (fill(), rewrite(), False),
        (fill(), warm(), False),
        (fill(), score(), False),
        (fill(), fill("b"), False),
        (fill(), fill(client=2), False),
        (rewrite(), fill(), False),
        (rewrite(), rewrite(), False),
        (score(), fill(), False),
        (score(), score(), False),
        (warm(), fill(), True),
        (warm(), rewrite(), True),
        (warm(), warm(), True),
        (warm(), score(), False),
        (warm(), warm("b"), False),
        (warm(), fill(client=2), False),
    ],
)
@pytest.mark.parametrize("runs", [False, True], ids=["waiting", "running"])
def test_the_newest_of_a_document_wins(
    office: Office,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    older: Ask,
    newer: Ask,
    is_replaced: bool,
    runs: bool,
) -> None:
    monkeypatch.setattr(prefix_cache, "CHUNK_ROWS", 16)
    if runs:
        old = older(office)
        gate.wait()
    else:
        office.block()
        old = older(office)
    new = newer(office)
    gate.open()
    assert not isinstance(new.answer(), wire.Failed)
    answer = old.answer()
    assert (isinstance(answer, wire.Failed) and answer.code == "superseded") == is_replaced
    assert isinstance(answer, wire.Failed) == is_replaced


def test_without_a_document_nothing_is_superseded(office: Office, gate: Gate) -> None:
    both = [office.fill(None), office.fill(None)]
    gate.open()
    for asked in both:
        asked.filled()


def test_of_many_only_the_newest_is_run(office: Office, gate: Gate) -> None:
    first = office.fill()
    gate.wait()
    *middle, last = (office.fill() for _ in range(8))
    gate.step()
    for asked in (first, *middle):
        assert asked.code() == "superseded"
    gate.open()
    last.filled()
    passes = [forward for forward in gate.of(A) if forward.kind == "canvas"]
    assert len(passes) == 1 + last.request.passes


# The more urgent one goes first, also between two passes.


def test_the_more_urgent_goes_first(office: Office, gate: Gate) -> None:
    office.block()
    for ask in (warm("warm"), rewrite("rewrite"), fill("fill"), score("score", priority="rewrite"), warm("last")):
        ask(office)
    office.finish()
    assert [document for _, document in gate.order()] == ["first", "fill", "rewrite", "score", "warm", "last"]


def test_the_less_urgent_is_put_off_between_two_passes(office: Office, gate: Gate) -> None:
    rewriting = office.fill("rewrite", priority="rewrite", passes=5)
    gate.until(rewriting.owner, "canvas", 2)
    office.warm("warm", client=3)
    filling = office.fill("fill", client=2)
    gate.step()
    assert gate.wait().owner == filling.owner
    assert office.scheduler.queue() == wire.QueueReport(waiting=1, running=2, ended={}, passes=2, chunks=0)
    office.finish()
    assert [document for _, document in gate.order()] == ["rewrite", "fill", "rewrite", "warm"]


@pytest.mark.parametrize("candidates", [1, 3])
def test_what_was_put_off_comes_out_as_if_it_had_run_alone(
    office: Office, gate: Gate, steady_checkpoint: Any, candidates: int
) -> None:
    options = {"passes": 6, "seed": 7, "candidates": candidates, "length": "auto"}
    before = "values = [" + "12, 45, " * 12
    rewriting = office.fill("a", before, priority="rewrite", **options)
    gate.until(rewriting.owner, "canvas")
    for number in range(4):
        # The same document and client, even: its prefix is in use and has to be left alone.
        office.fill("a", f"{before}{number}", client=1 + number % 2)
        filling = gate.step()
        assert filling.owner == A
        gate.until(A, "canvas")
    gate.open()
    alone = Engine.load(str(steady_checkpoint)).fill(rewriting.request.text, **options)
    assert rewriting.filled().candidates == alone.candidates


def test_what_has_begun_gets_a_step_in_time_whatever_comes(
    office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, task_queue, tasks)
    rewriting = office.fill("rewrite", client=1, priority="rewrite", passes=6, received=clock.now)
    gate.until(rewriting.owner, "canvas")
    owners = []
    for number in range(20):
        office.fill(str(number), client=2, passes=1, received=clock.now)
        gate.step()
        owners.append(gate.wait().owner)
        clock.now += 0.45
    office.finish()
    turns = [at for at, owner in enumerate(owners) if owner == rewriting.owner]
    waits = [later - earlier for earlier, later in zip([-1, *turns], turns, strict=False)]
    assert waits, "the rewrite never got its turn"
    # Each forward takes 0.45 s here, so that patience is over after five of them.
    assert set(waits) <= {5, 6}, owners


# Fair between clients.


def test_clients_take_turns_and_a_request_runs_to_its_end(office: Office, gate: Gate) -> None:
    office.block()
    for client, document in [(1, "a"), (1, "b"), (1, "c"), (2, "a"), (3, "a"), (2, "b")]:
        office.fill(document, client=client)
    office.finish()
    assert gate.order()[1:] == [(1, "a"), (2, "a"), (3, "a"), (1, "b"), (2, "b"), (1, "c")]


def test_a_client_that_asks_all_the_time_does_not_starve_another(office: Office, gate: Gate) -> None:
    office.block()
    greedy = [office.fill(str(number), client=1) for number in range(20)]
    modest = office.fill(client=2)
    gate.open()
    modest.filled()
    office.stop()
    assert gate.order().index(modest.owner) <= 2
    assert all(asked.filled() for asked in greedy)


# The queue is bounded.


def test_a_client_may_have_so_many_requests_open_and_all_so_many(
    office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_queue, "CLIENT_TASKS", 3)
    monkeypatch.setattr(task_queue, "ALL_TASKS", 5)
    office.block()
    taken = [office.fill(str(number), client=1) for number in range(3)]
    refused = [office.fill(str(number), client=1) for number in range(10)]
    taken.append(office.fill(client=2))
    refused += [office.fill(str(client), client=client) for client in range(3, 7)]
    assert {asked.code() for asked in refused} == {"busy"}
    assert "ask later" in refused[0].answer().message
    gate.open()
    for asked in taken:
        asked.filled()
    assert office.fill("again").filled()


def test_a_refused_request_replaces_none(office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_queue, "CLIENT_TASKS", 1)
    office.block()
    old, refused = office.fill(), office.fill()
    assert refused.code() == "busy"
    gate.open()
    old.filled()
