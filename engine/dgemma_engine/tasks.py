"""A client's request on its way through the engine: from a job to steps to the one answer."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Hashable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from . import wire
from .errors import EngineError

if TYPE_CHECKING:
    from .engine import Engine
    from .model import Rows

EngineRequest: TypeAlias = wire.Fill | wire.Refine | wire.Score | wire.Warm | wire.Lease


@attrs.define(eq=False)
class Job:
    """A request as it came from connection `client`, `received` on the monotonic clock in seconds.

    Its text is a `MaskedText`. `send` takes events and, exactly once, the answer, from any thread.
    """

    client: int
    request: EngineRequest
    received: float
    send: Callable[[wire.Message], None]


@attrs.define(eq=False)
class Finished:
    """A fill that can be refined: what was asked, and what was answered."""

    request: wire.Fill
    filled: wire.Filled
    at: float


@attrs.define(eq=False)
class Task:
    """A job in the queue; `number` is its place in the order of arrival.

    `origin` is the fill that a refine goes back to. `doom` is set once it is to end without a result. `touched` is when
    it last got on, in monotonic seconds.
    """

    job: Job
    number: int
    origin: Finished | None = None
    doom: EngineError | None = None
    touched: float = attrs.field(factory=time.monotonic)
    ready: float | None = None
    """When it and its model were there."""
    begun: float | None = None
    parts: list[Rows] | None = None
    """What it wants to run next; None before it has begun."""
    passes: int = 0
    _steps: Generator[list[Rows], Any, Any] | None = None

    @property
    def model(self) -> str:
        request = self.job.request
        return self.origin.request.model if self.origin and isinstance(request, wire.Refine) else request.model  # type: ignore[union-attr]

    @property
    def kind(self) -> str:
        return type(self.job.request).__name__.lower()

    @property
    def document(self) -> str | None:
        """Whose prefix it uses, and which newer request makes it pointless."""
        return self.origin.request.document if self.origin else getattr(self.job.request, "document", None)

    @property
    def shares(self) -> bool:
        """Whether it may share a pass: what has a seed would come out different in company, in the last bits."""
        return getattr(self.job.request, "seed", None) is None

    @property
    def owner(self) -> Hashable:
        return (self.job.client, self.document)

    @property
    def priority(self) -> int:
        """0 is the most urgent."""
        if isinstance(self.job.request, wire.Warm):
            return len(wire.PRIORITIES) - 1
        return wire.PRIORITIES.index(getattr(self.job.request, "priority", wire.PRIORITIES[0]))

    def begin(self, engine: Engine) -> wire.Answer | None:
        """Make its first step wanted, or answer at once what needs none."""
        self.begun = time.monotonic()
        request = self.job.request
        if isinstance(request, wire.Lease):
            return wire.Leased(request.id, request.model, engine.template is not None)
        self._steps = self._made(engine)
        return self.advance(None)

    def advance(self, hidden: list[Any] | None) -> wire.Answer | None:
        """Go on with what became of `parts`; returns the answer at the end."""
        assert self._steps is not None
        self.touched = time.monotonic()
        try:
            self.parts = self._steps.send(hidden)
        except StopIteration as end:
            return end.value
        return None

    def close(self) -> None:
        """Give back what it borrowed."""
        if self._steps is not None:
            self._steps.close()
        self._steps = self.parts = None

    def _made(self, engine: Engine) -> Generator[list[Rows], Any, wire.Answer]:
        request, id_ = self.job.request, self.job.request.id
        if isinstance(request, wire.Score):
            log_probs = yield from engine.scoring(request, self.owner)
            return wire.Scored(id_, tuple(log_probs))
        if isinstance(request, wire.Warm):
            assert isinstance(request.text, wire.MaskedText)
            return wire.Warmed(id_, (yield from engine.warming(request.text, self.owner, request.document)))

        def send_draft(draft: wire.Draft) -> None:
            self.job.send(attrs.evolve(draft, id=id_))

        # Waiting for the model is not counted to the deadline.
        start = self.job.received if self.ready is None else self.ready
        options = {"received": start, "owner": self.owner, "on_draft": send_draft if self._wants_drafts else None}
        if isinstance(request, wire.Refine):
            assert self.origin is not None
            filled = yield from engine.refining(request, self.origin.request, self.origin.filled, **options)
        else:
            assert isinstance(request, wire.Fill)
            filled = yield from engine.filling(request, **options)
        assert self.begun is not None
        waited = {"load": start - self.job.received, "queue": self.begun - start, "total": _since(self.job.received)}
        return attrs.evolve(filled, ms={**filled.ms, **{stage: 1000 * s for stage, s in waited.items()}})

    @property
    def _wants_drafts(self) -> bool:
        request = self.job.request
        return getattr(request, "drafts", False) or getattr(request, "trace", False)


def failure(task: Task, error: BaseException) -> wire.Failed:
    """The answer to a request that ended in `error`: one line, and for a bug the traceback below it."""
    id_ = task.job.request.id
    if isinstance(error, EngineError):
        return wire.Failed(id_, error.code, str(error))
    if is_memory(error):
        advice = "close what else takes memory, or name a smaller precision, like MODEL@int4"
        return wire.Failed(id_, "memory", f"not enough memory for this model or this text: {advice}")
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    return wire.Failed(id_, "internal", f"{summary}\n{''.join(traceback.format_exception(error))}")


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says so on a CPU by a RuntimeError of its allocator."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def _since(start: float) -> float:
    return time.monotonic() - start
