"""How it all ends: a scheduler that is stopped, a bug, and clients that do whatever comes to their minds."""

from __future__ import annotations

import random
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dgemma_engine import tasks, wire
from dgemma_engine.residents import needed_memory
from dgemma_engine.task_queue import TaskQueue

from .gate import WAIT_S, Gate, LoadingGate
from .office import Asked, Office, OpenOffice, waits_for

# The end.


def test_finishing_ends_what_there_is_and_takes_nothing_more(office: Office, gate: Gate) -> None:
    running, waiting = office.fill("a"), office.fill("b")
    gate.wait()
    office.stop()
    assert office.fill("c").code() == "closing"
    assert not office.ended.is_set()
    gate.open()
    running.filled()
    waiting.filled()
    assert office.ended.wait(WAIT_S)
    assert office.scheduler.empty
    assert office.fill("d").code() == "closing"


def test_stopping_ends_all_of_it_with_the_next_step(office: Office, gate: Gate) -> None:
    running, waiting = office.fill("a"), office.fill("b")
    gate.wait()
    office.stop(finish=False)
    gate.step()
    assert office.ended.wait(WAIT_S)
    assert (running.code(), waiting.code()) == ("closing", "closing")
    assert office.scheduler.empty
    assert len(gate.seen) == 1


def test_finishing_can_be_cut_short(office: Office, gate: Gate) -> None:
    running = office.fill("a", passes=6)
    gate.wait()
    office.stop()
    gate.step()
    gate.wait()
    office.stop(finish=False)
    gate.step()
    assert office.ended.wait(WAIT_S)
    assert running.code() == "closing"


def test_stopping_does_not_wait_for_a_model(office: Office, loading: LoadingGate) -> None:
    waiting = office.fill("a")
    loading.wait()
    office.stop(finish=False)
    assert office.ended.wait(WAIT_S)
    assert waiting.code() == "closing"


def test_an_idle_scheduler_stops(office: Office) -> None:
    office.finish()
    assert office.fill().code() == "closing"


# Bugs.


def test_a_bug_in_one_request_is_told_to_its_client_alone(office: Office, gate: Gate) -> None:
    good, bad = office.fill("good", client=1, passes=4), office.fill("bad", client=2)
    gate.broken[bad.owner] = ZeroDivisionError("what no\none expected")
    gate.open()
    summary, *trace = bad.answer().message.splitlines()
    assert bad.code() == "internal"
    assert summary == "ZeroDivisionError: what no one expected"
    assert trace[0].startswith("Traceback")
    good.filled()
    assert office.fill("bad", client=3).filled()


def test_a_client_whose_drafts_cannot_be_sent_fails_alone(office: Office, gate: Gate) -> None:
    def fussy(message: wire.Message) -> None:
        if isinstance(message, wire.Draft):
            raise ValueError("no drafts here")

    asked = office.fill("a", drafts=True)
    asked.on_message = fussy
    other = office.fill("b", client=2)
    gate.open()
    assert asked.code() == "internal"
    other.filled()


def test_a_bug_in_the_scheduler_fails_what_is_open_and_is_told(office: Office, gate: Gate) -> None:
    running, waiting = office.fill("a"), office.fill("b")
    gate.wait()

    def bug() -> None:
        raise LookupError("a bug in the scheduler's own thread")

    office.scheduler.unload("no such model", bug)
    gate.step()
    assert office.ended.wait(WAIT_S), "nobody heard of the crash"
    for asked in (running, waiting):
        assert asked.code() == "internal"
        assert "LookupError" in asked.answer().message
    assert office.fill("c").code() == "closing"


def test_not_even_a_second_bug_leaves_a_request_without_an_answer(office: Office, gate: Gate) -> None:
    running, waiting = office.fill("a"), office.fill("b")
    gate.wait()

    def bug(*_: Any) -> None:
        raise LookupError("a bug in the scheduler's own thread")

    running.on_message = bug
    office.scheduler.unload("no such model", bug)
    gate.step()
    assert office.ended.wait(WAIT_S), "nobody heard of the crash"
    assert waiting.code() == "internal"
    running.messages.append(wire.Failed(1, "internal", "what it could not be told"))


def test_a_request_that_is_doomed_as_soon_as_it_is_in_has_one_answer(
    office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = TaskQueue.add

    def followed(queue: TaskQueue, job: tasks.Job) -> Any:
        added = add(queue, job)
        office.scheduler.cancel(job.client, job.request.id)
        return added

    office.block()
    monkeypatch.setattr(TaskQueue, "add", followed)
    asked = office.fill()
    gate.open()
    assert asked.code() == "cancelled"
    assert office.fill("b", client=2).code() == "cancelled"
    assert len(asked.of(wire.Failed)) == 1


def test_unloading_is_answered_when_nothing_is_loaded(office: Office) -> None:
    waits_for(partial(office.scheduler.unload, None), "unload")
    waits_for(partial(office.scheduler.unload, "no such model"), "unload")


ORDERLY = {"cancelled", "superseded", "busy", "fill-unknown", "memory", "request"}
"""What may be said of a request that had no bug."""


class Mischief:
    """A client that asks, cancels, refines, leaves and unloads as the dice fall."""

    def __init__(self, office: Office, number: int, models: list[str]) -> None:
        self._office = office
        self._client = number
        self._models = models
        self._random = random.Random(number)
        self._mine: list[Asked] = []

    def run(self) -> None:
        for _ in range(40):
            action = self._random.choice([*[self.fill] * 4, self.ask, self.refine, self.cancel, self.cancel, self.rare])
            action()

    def fill(self) -> None:
        options: dict[str, Any] = {
            "model": self._random.choice(self._models),
            "priority": self._random.choice(wire.PRIORITIES),
            "seed": self._random.choice([None, None, 1]),
            "candidates": self._random.choice([1, 2]),
        }
        before = "12, " * self._random.randrange(40)
        self._keep(self._office.fill(self._document(), before, client=self._client, **options))

    def ask(self) -> None:
        options: Any = {"client": self._client, "model": self._random.choice(self._models)}
        if self._random.random() < 0.5:
            self._keep(self._office.warm(self._document(), "12, " * 20, **options))
        else:
            self._keep(self._office.ask(wire.Score, "12, ", ("1", "2"), document=self._document(), **options))

    def refine(self) -> None:
        if self._mine:
            self._keep(self._office.refine(self._random.choice(self._mine), (0, 0, self._random.randrange(3))))

    def cancel(self) -> None:
        if self._mine:
            self._office.cancel(self._random.choice(self._mine))

    def rare(self) -> None:
        what = self._random.randrange(6)
        if what == 0:
            self._office.unload(self._random.choice([*self._models, None]))
        elif what == 1:
            self._office.scheduler.drop(self._client)
        elif what == 2:
            self._office.ask(
                wire.Lease, client=self._client, model=self._models[0], idle_s=self._random.choice([60, 0.0])
            )
        elif self._mine:
            self._mine[-1].answer()

    def _document(self) -> str | None:
        return self._random.choice(["a", "b", None])

    def _keep(self, asked: Asked) -> None:
        self._mine = [*self._mine[-5:], asked]


@pytest.mark.parametrize("batch", [False, True])
def test_whatever_clients_do_every_request_has_one_answer(
    open_office: OpenOffice, gate: Gate, steady_checkpoint: Path, tmp_path: Path, batch: bool
) -> None:
    models = [str(shutil.copytree(steady_checkpoint, tmp_path / name)) for name in ("one", "two")]
    office = open_office(batch=batch, memory=int(1.6 * needed_memory(models[0])))
    gate.open()
    clients = [threading.Thread(target=Mischief(office, number, models).run) for number in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(WAIT_S)
        assert not client.is_alive(), "a client waits for ever"
    for asked in list(office.asked):
        asked.answer()
    assert {asked.code() for asked in office.asked if asked.of(wire.Failed)} <= ORDERLY
    for resident in office.scheduler._residents.all():
        assert not resident.loaded_engine.prefixes._used, "a prefix was not given back"
    report = office.scheduler.queue()
    assert (report.waiting, report.running) == (0, 0)
    assert sum(report.ended.values()) == len(office.asked)
