"""Who runs next. One thread runs everything that touches a model, step by step.

A step is a denoising pass or a piece of a prefix. Between two steps the most urgent task goes on: interactive before
rewrite before warm-up, then the one that has begun, then the client that was served longest ago, then the older one.
On a CPU tasks run one at a time, a more urgent one putting off the others; on a GPU, where a pass costs hardly more for
several, equally urgent ones share it. Cancelling, superseding and unloading take effect at the next step.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from . import heap, wire
from .errors import EngineError
from .lost import lost
from .residents import Resident, Residents
from .task_queue import TaskQueue
from .tasks import Job, Task, failure, is_memory

if TYPE_CHECKING:
    from .engine import Engine
    from .model import Rows

log = logging.getLogger(__name__)

BATCH_TASKS = 8
"""Tasks that share a pass on a GPU."""
TELL_S = 0.1
"""Between two reports of how far a model is loaded."""


class Scheduler:
    """Takes jobs from any thread; answers come through `Job.send`."""

    def __init__(self, idle_s: float = 900.0, memory: int | None = None, batch: bool | None = None) -> None:
        """Models are unloaded after `idle_s` seconds, 0 for never, and take `memory` bytes at most, by default what is
        free. `batch` tells whether tasks share passes; by default on a GPU.
        """
        self._queue = TaskQueue()
        self._changed = self._queue.changed
        self._residents = Residents(idle_s, memory, self._queue.notify)
        self._batch = batch
        self._ended: collections.Counter[str] = collections.Counter()
        self._passes = self._chunks = 0
        self._unloads: list[tuple[str | None, Callable[[], None]]] = []
        self._stopped: Callable[[], None] | None = None

    def start(self, crashed: Callable[[], None] | None = None) -> None:
        """Begin to work; `crashed` hears of a bug that ended the thread, after every task has failed."""
        heap.share()
        threading.Thread(target=self._run, args=(crashed,), name="scheduler", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job; a refusal is an answer too."""
        refused = self._queue.add(job)
        if refused is not None and refused.doom is not None:
            self._answer(refused, failure(refused, refused.doom))

    def cancel(self, client: int, request_id: int) -> None:
        """The request ends at the next step; unknown ones have ended already."""
        self._queue.doom(
            lambda task: (task.job.client, task.job.request.id) == (client, request_id),
            EngineError("cancelled", "the request was cancelled"),
        )

    def drop(self, client: int) -> None:
        """Nobody waits for the jobs of this client any more."""
        self._queue.drop(client)

    def unload(self, model: str | None, done: Callable[[], None]) -> None:
        """Free the memory of a model, or of all, and call `done` from the scheduler's thread."""
        wished = EngineError("cancelled", "the model was unloaded at a client's wish")
        with self._changed:
            self._unloads.append((model, done))
            self._queue.doom(lambda task: model in (None, task.model), wished)

    def stop(self, finish: bool, done: Callable[[], None]) -> None:
        """Take no more jobs, end those there are, at once unless they are to `finish`, and call `done` after that."""
        with self._changed:
            self._queue.closing = True
            self._stopped = done
            self._queue.notify()
        if not finish:
            self._queue.doom(lambda _: True, EngineError("closing", "the engine is leaving"))

    @property
    def empty(self) -> bool:
        """No job, and no model in memory."""
        with self._changed:
            return not self._queue.tasks and not len(self._residents)

    def models(self) -> tuple[wire.ModelReport, ...]:
        return tuple(one.report() for one in self._residents.all())

    def queue(self) -> wire.QueueReport:
        with self._changed:
            running = sum(task.begun is not None for task in self._queue.tasks)
            waiting = len(self._queue.tasks) - running
            return wire.QueueReport(waiting, running, dict(self._ended), self._passes, self._chunks)

    def cache(self) -> wire.CacheReport:
        engines = [one.engine for one in self._residents.all()]
        caches = [engine.prefixes for engine in engines if engine is not None]
        total = collections.Counter(self._residents.past)
        for one in caches:
            total.update(one.counts())
        asked = total["hits"] + total["misses"]
        return wire.CacheReport(
            entries=sum(len(one.held) for one in caches),
            tokens=sum(len(prefix.ids) for one in caches for prefix in one.held),
            size=sum(one.size for one in caches),
            hits=total["hits"],
            misses=total["misses"],
            hit_rate=total["hits"] / asked if asked else 0.0,
            tokens_saved=total["tokens_saved"],
            tokens_encoded=total["tokens_encoded"],
        )

    # What follows runs in the scheduler's thread, but for `_tell` and `_answer`.

    def _run(self, crashed: Callable[[], None] | None) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:
            log.critical("the scheduler failed: %s", error, exc_info=not isinstance(error, EngineError))
            with self._changed:
                self._queue.closing = True
                tasks = list(self._queue.tasks)
            for task in tasks:
                # The bug may be in any of this; the others are answered nevertheless.
                with contextlib.suppress(Exception):
                    self._end(task, failure(task, error))
            if crashed is None:
                raise
            crashed()

    def _turn(self) -> bool:
        """One step, or a wait for something to do; False at the end."""
        with self._changed:
            # Together: what runs on a model has ended before the model goes.
            seen, doomed = self._queue.changes, self._queue.doomed()
            unloads, self._unloads = self._unloads, []
        for task in doomed:
            assert task.doom is not None
            self._end(task, failure(task, task.doom))
        for model, done in unloads:
            self._unload(one.name for one in self._residents.all() if model in (None, one.name))
            done()
        self._settle_models()
        ready = self._queue.urgent(self._is_ready)
        if ready:
            self._step(ready[: BATCH_TASKS if self._batches(ready[0]) else 1])
            return True
        with self._changed:
            if self._queue.changes != seen:
                return True
            if self._stopped is None or self._queue.tasks:
                self._changed.wait(self._residents.next_end())
                return True
        self._unload(one.name for one in self._residents.all())
        self._stopped()
        return False

    def _settle_models(self) -> None:
        """Load what is asked for, unload what is idle, and fail what cannot be loaded."""
        for resident in self._residents.failed():
            assert resident.error is not None
            self._fail(resident.name, resident.error)
        wanted = self._queue.models()
        with self._changed:
            busy = {task.model for task in self._queue.tasks if task.begun is not None}
        self._unload(one.name for one in self._residents.idle(set(wanted)))
        # What was loaded for somebody serves him before it makes room for others, else two would only take turns.
        busy.update(one.name for one in self._residents.all() if one.is_new and one.name in wanted)
        for place, model in enumerate(wanted):
            if self._residents.get(model) is None:
                try:
                    self._residents.load(model, busy.union(wanted[:place]), partial(self._tell, model))
                except Exception as error:
                    self._fail(model, error)

    def _unload(self, names: Iterable[str]) -> None:
        for name in list(names):
            self._residents.unload(name)

    def _tell(self, model: str, share: float) -> None:
        """From the thread that loads `model`, mostly."""
        now = time.monotonic()
        for task in self._queue.of(model):
            if share in (0.0, 1.0) or now - task.touched > TELL_S:
                task.touched = now
                task.job.send(wire.Progress(task.job.request.id, "loading", share))

    def _fail(self, model: str, error: BaseException) -> None:
        for task in self._queue.of(model):
            self._end(task, failure(task, error))

    def _is_ready(self, task: Task) -> bool:
        resident = self._residents.get(task.model)
        return resident is not None and resident.engine is not None

    def _batches(self, task: Task) -> bool:
        if self._batch is not None:
            return self._batch
        return self._resident(task).loaded_engine.model.device.type == "cuda"

    def _resident(self, task: Task) -> Resident:
        resident = self._residents.get(task.model)
        assert resident is not None
        return resident

    def _step(self, tasks: list[Task]) -> None:
        """Bring each of the tasks, all of one model, a step further."""
        import torch

        resident = self._resident(tasks[0])
        resident.used = time.monotonic()
        with torch.inference_mode():
            for task in tasks:
                if task.begun is None:
                    self._begin(task, resident)
            going = [task for task in tasks if task.parts is not None]
            if going:
                self._forward(going, resident.loaded_engine)

    def _begin(self, task: Task, resident: Resident) -> None:
        self._queue.begin(task)
        task.ready = max(task.job.received, resident.loaded)
        if isinstance(task.job.request, wire.Lease) and task.job.request.idle_s is not None:
            resident.unload_s = task.job.request.idle_s
        self._advance(task, lambda: task.begin(resident.loaded_engine))

    def _forward(self, tasks: list[Task], engine: Engine) -> None:
        wanted: list[list[Rows]] = [task.parts or [] for task in tasks]
        try:
            hidden = engine.runner.forward([rows for parts in wanted for rows in parts])
        except Exception as error:
            self._look_after(engine, error)
            if len(tasks) == 1:
                self._end(tasks[0], failure(tasks[0], error))
                return
            # One of them asks too much; alone it is known which.
            for task in tasks:
                self._forward([task], engine)
            return
        is_pass = any(not rows.encoder for parts in wanted for rows in parts)
        self._passes += is_pass
        self._chunks += any(rows.kept for parts in wanted for rows in parts) and not is_pass
        shares = iter(hidden)
        for task, parts in zip(tasks, wanted, strict=True):
            mine = [next(shares) for _ in parts]
            task.passes += any(not rows.encoder for rows in parts)
            self._advance(task, lambda task=task, mine=mine: task.advance(mine))

    def _look_after(self, engine: Engine, error: Exception) -> None:
        """After a failure, so that the next request does better.

        Raises `EngineError("device")` where no request can, which ends the process: see `_run`.
        """
        if is_memory(error):
            engine.relieve()
        elif not isinstance(error, EngineError) and (end := lost(engine.model.device, error)) is not None:
            raise end from error

    def _advance(self, task: Task, step: Callable[[], wire.Answer | None]) -> None:
        try:
            answer = step()
        except Exception as error:
            self._look_after(self._resident(task).loaded_engine, error)
            answer = failure(task, error)
        if answer is not None:
            self._end(task, answer)

    def _end(self, task: Task, answer: wire.Answer) -> None:
        """Close a task and send its one answer."""
        task.close()
        self._queue.end(task, answer)
        resident = self._residents.get(task.model) if task.begun is not None else None
        if resident is not None:
            resident.used = time.monotonic()
        self._answer(task, answer)

    def _answer(self, task: Task, answer: wire.Answer) -> None:
        outcome = answer.code if isinstance(answer, wire.Failed) else type(answer).__name__.lower()
        with self._changed:
            self._ended[outcome] += 1
        ms = 1000 * (time.monotonic() - task.job.received)
        id_ = task.job.request.id
        log.info("client %d: %s %d %s, %.0f ms, %d passes", task.job.client, task.kind, id_, outcome, ms, task.passes)
        task.job.send(answer)
