"""The open requests of all clients: who is taken in, whom a newer one replaces, and who is the most urgent."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs

from . import wire
from .errors import EngineError
from .tasks import Finished, Job, Task

CLIENT_TASKS = 32
ALL_TASKS = 256
"""Open requests of one client, and of all; more are refused."""
PATIENCE_S = 2.0
"""A task that has begun is put off this long at most, then it gets a step in between."""
KEPT_S = 10.0
"""A finished fill can be refined this long."""


@attrs.define(eq=False)
class TaskQueue:
    """Shared by threads: `changed` guards everything and is notified of everything that the scheduler waits for."""

    changed: threading.Condition = attrs.field(factory=threading.Condition)
    tasks: list[Task] = attrs.field(factory=list)
    closing: bool = False
    changes: int = 0
    """Goes up with everything that the scheduler waits for, so that it misses nothing while it looks elsewhere."""
    _finished: dict[tuple[int, int], Finished] = attrs.field(factory=dict)
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)
    _served: dict[int, int] = attrs.field(factory=dict)
    """When each client was last served, by count."""

    def notify(self) -> None:
        """Wake the scheduler: something has changed."""
        with self.changed:
            self.changes += 1
            self.changed.notify_all()

    def add(self, job: Job) -> Task | None:
        """Take a job in; what it replaces is doomed. One that is refused is returned, with its own doom."""
        with self.changed:
            task = Task(job, next(self._numbers))
            task.doom = self._refusal(task)
            if task.doom is not None:
                return task
            self._supersede(task)
            self.tasks.append(task)
            self.notify()
        return None

    def doom(self, concerned: Callable[[Task], bool], error: EngineError) -> None:
        """Those concerned end in `error` at the next step."""
        with self.changed:
            for task in self.tasks:
                if task.doom is None and concerned(task):
                    task.doom = error
            self.notify()

    def drop(self, client: int) -> None:
        """Forget a client that has gone."""
        self.doom(lambda task: task.job.client == client, EngineError("cancelled", "the client has gone"))
        with self.changed:
            self._served.pop(client, None)
            self._finished = {key: value for key, value in self._finished.items() if key[0] != client}

    def of(self, model: str) -> list[Task]:
        """The tasks for a model that are not doomed."""
        with self.changed:
            return [task for task in self.tasks if task.doom is None and task.model == model]

    def doomed(self) -> list[Task]:
        with self.changed:
            return [task for task in self.tasks if task.doom is not None]

    def models(self) -> list[str]:
        """The models that are waited for or in use, those of the most urgent tasks first."""
        with self.changed:
            alive = [task for task in self.tasks if task.doom is None]
        return list(dict.fromkeys(task.model for task in sorted(alive, key=self._order)))

    def urgent(self, is_ready: Callable[[Task], bool]) -> list[Task]:
        """The ready tasks that may share the next step: same model, same priority, the most urgent first."""
        with self.changed:
            ready = [task for task in self.tasks if task.doom is None and is_ready(task)]
        if not ready:
            return []
        late = time.monotonic() - PATIENCE_S
        starved = [task for task in ready if task.begun is not None and task.touched < late]
        first = min(starved, key=lambda task: task.touched) if starved else min(ready, key=self._order)
        if not first.shares:
            return [first]
        kind = (first.model, first.priority, True)
        alike = [task for task in ready if (task.model, task.priority, task.shares) == kind]
        return sorted(alike, key=lambda task: (task is not first, self._order(task)))

    def begin(self, task: Task) -> None:
        """The task is served now: its client comes after the others next time."""
        with self.changed:
            self._served[task.job.client] = next(self._numbers)

    def end(self, task: Task, answer: wire.Answer) -> None:
        """The task is answered; a fill is remembered, so that it can be refined, and a refined one as well."""
        with self.changed:
            self.tasks.remove(task)
            # One that was doomed in its last step is answered, and over: its client or its document has gone on.
            if isinstance(answer, wire.Filled) and task.doom is None:
                request = task.origin.request if task.origin else task.job.request
                assert isinstance(request, wire.Fill)
                self._forget()
                self._finished[task.job.client, answer.id] = Finished(request, answer, time.monotonic())

    def _refusal(self, task: Task) -> EngineError | None:
        """Why the task cannot be taken in; finds the fill that a refine goes back to."""
        if self.closing:
            return EngineError("closing", "the engine is leaving; the next request starts another one")
        mine = sum(other.job.client == task.job.client for other in self.tasks)
        if mine >= CLIENT_TASKS or len(self.tasks) >= ALL_TASKS:
            return EngineError("busy", f"{mine} requests of this client are open, {len(self.tasks)} of all; ask later")
        if isinstance(task.job.request, wire.Refine):
            self._forget()
            task.origin = self._finished.get((task.job.client, task.job.request.fill))
            if task.origin is None:
                return EngineError("fill-unknown", f"that fill is over; one can be refined for {KEPT_S:.0f} s")
        return None

    def _supersede(self, task: Task) -> None:
        """The newest request of a document wins: what its older interactive ones and warm-ups are for has changed."""
        if task.document is None or task.kind == "score":
            return
        for older in self.tasks:
            replaceable = older.kind == "warm" or (older.kind != "score" and older.priority == task.priority == 0)
            if older.owner == task.owner and replaceable and older.doom is None:
                older.doom = EngineError("superseded", "a newer request of this document came")
        if task.kind != "refine":
            self._finished = {key: one for key, one in self._finished.items() if not self._about(key, one, task)}

    def _about(self, key: tuple[int, int], finished: Finished, task: Task) -> bool:
        return (key[0], finished.request.document) == task.owner

    def _forget(self) -> None:
        late = time.monotonic() - KEPT_S
        self._finished = {key: one for key, one in self._finished.items() if one.at > late}

    def _order(self, task: Task) -> tuple[Any, ...]:
        return (task.priority, task.begun is None, self._served.get(task.job.client, -1), task.number)
