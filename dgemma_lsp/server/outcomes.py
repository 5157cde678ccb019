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
    "stale": "the document changed meanwhile",
    "syntax-refused": "every suggestion would have broken the syntax",
    "scope-off": "the settings switch suggestions off at this place",
    "trigger-off": "the settings switch automatic suggestions off for this language",
    "secret-file": "the file looks like it holds secrets, so it is not read",
    "not-open": "the document is not open in this server",
    "engine-loading": "the engine is loading its model",
    "engine-down": "the engine is not running",
    "busy": "the engine had too much to do",
    "deadline": "there was no answer in time",
    "repaired": "what was unclosed or broken was repaired",
    "clean": "nothing is unclosed or broken",
    "unsure": "something is unclosed or broken, and how to repair it is not clear, so nothing was changed",
    "unchecked": "the document could not be checked",
    "fix-off": "the settings switch repairs on save off for this language",
    "applied": "the selection was rewritten",
    "previewed": "the rewritten selection waits to be applied",
    "unchanged": "the model leaves the selection as it is",
    "nothing-selected": "there is nothing in the selection to rewrite",
    "no-instruction": "nothing was said about what to do with the selection",
    "no-instructions": "this takes a model that follows instructions",
    "too-long": "that is too long",
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
