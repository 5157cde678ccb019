"""Where a text stops being the start of any valid text: the first token that cannot follow what stands before it.

Error nodes say how the parser got over an error, and that may be far from it. The parser's log says where it met the
error: an LR parser meets it at the first token that no continuation allows.
"""

from __future__ import annotations

import re
import time

import attrs

from dgemma_lsp.syntax.source import Source
from dgemma_lsp.syntax.trees import Parsed, Trees

_PLACE = re.compile(r"process version:\d+, version_count:\d+, state:\d+, row:(\d+), col:(\d+)")
_DETECTED = "detect_error lookahead:"
_RESUMED = "resume version"


@attrs.frozen
class Misfit:
    """The parser stood at the byte `at`, the end of the last token that fits, and the next one does not."""

    at: int
    token: str


def first_misfit(trees: Trees, near: Parsed, source: Source, start: int, stop: int, deadline: float) -> Misfit | None:
    """The first error that the parser meets at a token that begins after the byte `start`, having passed no token that
    ends after `stop`; None without one.

    `near` is the tree of a text much like it. A parse that has not got there by `deadline` has met none.
    """
    # The parser stands where the last token ended, before the white space.
    start = len(source.data[:start].rstrip())
    ear = _Ear(source.point(start), source.point(stop), deadline)
    trees.listen(near, source, ear.heard, ear.done)
    if ear.found is None:
        return None
    (row, column), token = ear.found
    line = source.data.rfind(b"\n", 0, start) + 1
    for _ in range(row - ear.start[0]):
        line = source.data.index(b"\n", line) + 1
    return Misfit(line + column, token)


@attrs.define
class _Ear:
    """Follows the log. Places are rows and columns in bytes.

    Several versions of the parse may be alive; one that meets an error waits, and only when all of them wait is one
    resumed in order to recover. The error is then where the one that came furthest waits.
    """

    start: tuple[int, int]
    stop: tuple[int, int]
    deadline: float
    found: tuple[tuple[int, int], str] | None = None
    _place: tuple[int, int] = (0, 0)
    _waiting: tuple[tuple[int, int], str] | None = None
    _past: bool = False

    def heard(self, message: str) -> None:
        if self.found is not None:
            return
        if place := _PLACE.match(message):
            self._place = (int(place[1]), int(place[2]))
            self._past = self._place > self.stop
        elif message.startswith(_DETECTED):
            waiting = (self._place, message[len(_DETECTED) :])
            self._waiting = waiting if self._waiting is None else max(self._waiting, waiting, key=lambda met: met[0])
        elif message.startswith(_RESUMED):
            if self._waiting is not None and self.start <= self._waiting[0] <= self.stop:
                self.found = self._waiting
            self._waiting = None

    def done(self) -> bool:
        return self._past or self.found is not None or time.monotonic() > self.deadline
