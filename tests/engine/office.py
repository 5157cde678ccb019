"""A scheduler with clients that keep what they are sent."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from attrs import define, field

from dgemma_engine import wire
from dgemma_engine.scheduler import Scheduler
from dgemma_engine.tasks import Job

from .gate import WAIT_S, Gate


@define(eq=False)
class Asked:
    """A request and what came of it; `owner` is what its forwards go by."""

    client: int
    request: Any
    owner: Any
    messages: list[wire.Message] = field(factory=list)
    on_message: Callable[[wire.Message], Any] = lambda _: None
    """Called in the thread that sends, before the message counts as sent."""
    _changed: threading.Condition = field(factory=threading.Condition)

    def send(self, message: wire.Message) -> None:
        self.on_message(message)
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def of(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]

    def wait(self, kind: type[Any], found: Callable[[Any], bool] = lambda _: True) -> Any:
        """The first message of this kind, once it has come."""
        with self._changed:
            came = self._changed.wait_for(lambda: any(map(found, self.of(kind))), WAIT_S)
            assert came, f"{self.request} got no {kind} but {self.messages}"
            return next(filter(found, self.of(kind)))

    def answer(self) -> Any:
        return self.wait(wire.Answer)  # type: ignore[arg-type] - a union can be asked about

    def filled(self) -> wire.Filled:
        answer = self.answer()
        assert isinstance(answer, wire.Filled), answer
        return answer

    def code(self) -> str:
        answer = self.answer()
        assert isinstance(answer, wire.Failed), answer
        return answer.code


class Office:
    """A scheduler and its clients; `model` is asked for where a request names no other."""

    def __init__(self, gate: Gate, model: str, **options: Any) -> None:
        self.gate = gate
        self.model = model
        self.asked: list[Asked] = []
        self._ids = itertools.count(1)
        self.scheduler = Scheduler(**options)
        self.ended = threading.Event()
        """Set when the scheduler's thread has ended."""
        self.scheduler.start(self.ended.set)

    def block(self) -> Asked:
        """A fill of some other client that stands at the gate in its only pass, while others queue up behind it."""
        asked = self.fill("first", client=9, passes=1)
        self.gate.until(asked.owner, "canvas")
        return asked

    def ask(self, kind: type[Any], *args: Any, client: int = 1, received: float | None = None, **options: Any) -> Asked:
        """A request with a number of its own, `received` now unless another time is named."""
        options.setdefault("model", self.model)
        request = kind(next(self._ids), *args, **options)
        return self.submit(request, (client, getattr(request, "document", None)), received)

    def submit(self, request: Any, owner: tuple[int, str | None], received: float | None = None) -> Asked:
        client = owner[0]
        asked = Asked(client, request, owner)
        self.asked.append(asked)
        received = time.monotonic() if received is None else received
        self.scheduler.submit(Job(client, asked.request, received, asked.send))
        return asked

    def fill(self, document: str | None = "a", before: str = "x = ", **options: Any) -> Asked:
        """Of one exact hole after `before`, in two passes, unless the options say otherwise."""
        parts = options.pop("parts", None) or (before, wire.Hole(4), "\n")
        options = {"document": document, "passes": 2, "length": "exact", **options}
        return self.ask(wire.Fill, wire.MaskedText(parts), **options)

    def warm(self, document: str | None = "a", before: str = "x = ", **options: Any) -> Asked:
        return self.ask(wire.Warm, wire.MaskedText((before, wire.Hole(4), "\n")), document=document, **options)

    def refine(self, asked: Asked, *spans: tuple[int, int, int], **options: Any) -> Asked:
        opened = [wire.Span(*span) for span in spans]
        return self.submit(wire.Refine(next(self._ids), asked.request.id, opened, **options), asked.owner)

    def cancel(self, asked: Asked) -> None:
        self.scheduler.cancel(asked.client, asked.request.id)

    def unload(self, model: str | None = None) -> None:
        """Returns when it is done."""
        waits_for(partial(self.scheduler.unload, model), "unload")

    def lease(self, idle_s: float | None, model: str | None = None) -> None:
        answer = self.ask(wire.Lease, model=model or self.model, idle_s=idle_s).answer()
        assert isinstance(answer, wire.Leased), answer

    def models(self) -> set[str]:
        return {report.name for report in self.scheduler.models()}

    def stop(self, finish: bool = True) -> None:
        """End the scheduler's thread; `ended` tells when it has."""
        self.scheduler.stop(finish, self.ended.set)

    def finish(self) -> None:
        """Returns when all is done and the scheduler's thread has ended."""
        self.gate.open()
        self.stop()
        assert self.ended.wait(WAIT_S), "the scheduler never stopped"

    def leave(self) -> None:
        """End it all; every request must have had exactly one answer."""
        self.stop(finish=False)
        self.finish()
        for asked in self.asked:
            answers = asked.of(wire.Answer)  # type: ignore[arg-type]
            assert len(answers) == 1, f"{asked.request} got {answers}"


def waits_for(begin: Callable[[Callable[[], None]], Any], what: str) -> None:
    """Begin something and return when it calls back."""
    done = threading.Event()
    begin(done.set)
    assert done.wait(WAIT_S), f"{what} never came to its end"


OpenOffice: TypeAlias = Callable[..., Office]
"""Opens one for a model, by default the tiny one, with a scheduler's options."""
