"""How requests ended: one named outcome each, the last of them kept."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from typing import Any

import attrs

OUTCOMES = {
    "offered": "a suggestion was offered",
    "empty": "the model had nothing to add here",
    "superseded": "a newer request of the same document took its place",
    "cancelled": "the editor cancelled the request",
    "stale": "the document changed while the model worked",
    "syntax-refused": "every suggestion would have broken the syntax",
    "scope-off": "the settings switch suggestions off at this place",
    "trigger-off": "the settings switch automatic suggestions off for this language",
    "secret-file": "the file looks like it holds secrets, so it is not read",
    "not-open": "the document is not open in this server",
    "engine-loading": "the engine is loading its model",
    "engine-down": "the engine is not running",
    "busy": "the engine had too much to do",
    "deadline": "the engine did not answer in time",
    "error": "something went wrong; see the log",
}
"""Names and what they mean to a person."""

KEPT = 64


@attrs.define
class Outcome:
    """The end of one request; `line` and `column` from 1, columns in characters, `ms` from its receipt."""

    request: str
    file: str
    line: int
    column: int
    trigger: str
    outcome: str = ""
    detail: str = ""
    cached: bool = False
    passes: int = 0
    ms: float = 0.0
    engine_ms: float = 0.0
    started: float = attrs.field(factory=time.monotonic)

    def end(self, outcome: str, detail: str = "") -> None:
        """Say how it ended; only the first word counts."""
        assert outcome in OUTCOMES
        if not self.outcome:
            self.outcome, self.detail = outcome, detail
            self.ms = 1000 * (time.monotonic() - self.started)

    def explained(self) -> dict[str, Any]:
        """For people and programs."""
        plain = attrs.asdict(self, filter=lambda field, _: field.name != "started")
        meaning = OUTCOMES[self.outcome]
        return {**plain, "message": f"{meaning}: {self.detail}" if self.detail else meaning}


class Outcomes:
    """The last outcomes, the newest first."""

    def __init__(self) -> None:
        self._ring: collections.deque[Outcome] = collections.deque(maxlen=KEPT)
        self.counts: collections.Counter[str] = collections.Counter()

    def add(self, outcome: Outcome) -> None:
        self._ring.appendleft(outcome)
        self.counts[outcome.outcome] += 1

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._ring)

    @property
    def last(self) -> Outcome | None:
        return self._ring[0] if self._ring else None
