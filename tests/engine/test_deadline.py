"""Where the time of a request goes, and when it is over."""

from __future__ import annotations

import pytest

from dgemma_engine import request, residents, task_queue, tasks

from .gate import Clock, Gate, LoadingGate
from .office import Office


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, residents, task_queue, tasks, request)


def test_the_deadline_counts_from_receipt_waiting_included(office: Office, gate: Gate, clock: Clock) -> None:
    office.block()
    late = office.fill("late", passes=6, deadline_ms=50_000, received=clock.now)
    clock.now += 100
    fresh = office.fill("fresh", passes=6, deadline_ms=50_000, received=clock.now)
    gate.open()
    assert [(one.finish, one.passes) for one in late.filled().candidates] == [("deadline", 1)]
    assert [(one.finish, one.passes) for one in fresh.filled().candidates] == [("passes", 6)]
    assert [late.filled().ms[stage] for stage in ("load", "queue", "total")] == [0, 100_000, 100_000]


def test_a_deadline_that_comes_while_it_runs_ends_it(office: Office, gate: Gate, clock: Clock) -> None:
    asked = office.fill("a", passes=6, deadline_ms=50_000, received=clock.now)
    gate.until(asked.owner, "canvas", 3)
    clock.now += 100
    gate.open()
    assert [(one.finish, one.passes) for one in asked.filled().candidates] == [("deadline", 3)]


def test_waiting_for_the_model_does_not_count(office: Office, gate: Gate, clock: Clock, loading: LoadingGate) -> None:
    asked = office.fill("a", passes=6, deadline_ms=50_000, received=clock.now)
    loading.wait()
    clock.now += 100
    loading.open()
    gate.open()
    assert [(one.finish, one.passes) for one in asked.filled().candidates] == [("passes", 6)]
    assert [asked.filled().ms[stage] for stage in ("load", "queue", "total")] == [100_000, 0, 100_000]


def test_where_the_time_went(office: Office, gate: Gate) -> None:
    gate.open()
    ms = office.fill("a").filled().ms
    assert set(ms) == {"queue", "load", "prefill", "passes", "rank", "total"}
    assert all(part >= 0 for part in ms.values())
    assert ms["load"] > 0
    assert sum(part for stage, part in ms.items() if stage != "total") <= ms["total"]


def test_only_who_waited_for_the_model_has_a_loading_time(office: Office, gate: Gate) -> None:
    gate.open()
    assert office.fill("a").filled().ms["load"] > 0
    again = office.fill("a").filled().ms
    assert again["load"] == 0 <= again["queue"]
