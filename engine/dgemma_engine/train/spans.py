"""Which pieces of a file become holes: the things a user asks an editor to fill, weighted by the product's jobs."""

from __future__ import annotations

import re
from random import Random

Span = tuple[int, int]

CLOSER = re.compile(r"[)\]}]")
QUOTE = re.compile(r"\"\"\"|'''|`{3,}|[\"'`]")
MARK = re.compile(r"[,:;]")
RUN = re.compile(r"[)\]}\"'`*_|]{2,4}[,;:]?")
EMPHASIS = re.compile(r"\*\*|__|`{1,3}|\||\]\(|[)\]>]|(?<=\w)[*_](?!\w)")
WORD = re.compile(r"[^\W\d]\w{2,}")
ARGUMENTS = re.compile(r"\(([^()\n]{2,80})\)")
VALUE = re.compile(r":[ ]*([^\s,{\[][^,\n]{0,60})")
TARGET = re.compile(r"\]\(([^)\n]{3,80})\)")
LINE = re.compile(r"[^\s][^\r\n]*")
LINES = re.compile(r"(?:[^\r\n]*\S[^\r\n]*\r?\n){1,3}[^\r\n]*\S")

# Weights by kind of file; "rest", "chars" and "after" are cut by position, the others by pattern.
SHAPES: dict[str, dict[str, float]] = {
    "json": {
        "closer": 30, "quote": 15, "mark": 12, "run": 10, "word": 5, "rest": 8, "value": 8, "line": 4,
        "lines": 3, "after": 2, "chars": 3,
    },
    "markdown": {
        "emphasis": 34, "closer": 5, "quote": 5, "target": 4, "word": 12, "rest": 14, "line": 8, "lines": 4,
        "after": 4, "chars": 10,
    },
    "code": {
        "closer": 22, "quote": 9, "mark": 4, "run": 7, "word": 14, "rest": 14, "arguments": 9, "line": 8,
        "lines": 4, "after": 3, "chars": 6,
    },
}  # fmt: skip
SMALL: dict[str, dict[str, float]] = {
    "json": {"closer": 40, "quote": 25, "mark": 15, "run": 8, "word": 4, "value": 8},
    "markdown": {"emphasis": 60, "closer": 8, "quote": 8, "word": 14, "chars": 10},
    "code": {"closer": 42, "quote": 18, "mark": 7, "run": 8, "word": 17, "chars": 8},
}
PATTERNS = {
    "closer": CLOSER,
    "quote": QUOTE,
    "mark": MARK,
    "run": RUN,
    "emphasis": EMPHASIS,
    "word": WORD,
    "arguments": ARGUMENTS,
    "value": VALUE,
    "target": TARGET,
    "line": LINE,
    "lines": LINES,
}


def family(kind: str) -> str:
    """The weight table a kind of file uses."""
    return kind if kind in SHAPES else "code"


class SpanFinder:
    """Draws holes from one stretch of text; finding is lazy, a pattern is scanned once."""

    def __init__(self, text: str, kind: str) -> None:
        self.text = text
        self.family = family(kind)
        self._found: dict[str, list[Span]] = {}

    def draw(self, rng: Random, start: int, stop: int, small: bool = False) -> tuple[str, Span] | None:
        """A shape and a hole that begins in `[start, stop)`, or None when the drawn shape has none there.

        `small` draws from the shapes that share a canvas with others.
        """
        table = (SMALL if small else SHAPES)[self.family]
        shape = rng.choices(list(table), list(table.values()))[0]
        if shape in ("rest", "chars", "after"):
            at = rng.randrange(start, stop) if start < stop else start
            end = self._positional(rng, shape, at)
            return (shape, (at, end)) if end > at else None
        spans = [span for span in self.spans(shape) if start <= span[0] < stop]
        return (shape, rng.choice(spans)) if spans else None

    def spans(self, shape: str) -> list[Span]:
        """All holes of a pattern shape, by position."""
        if shape not in self._found:
            pattern = PATTERNS[shape]
            self._found[shape] = [match.span(pattern.groups) for match in pattern.finditer(self.text)]
        return self._found[shape]

    def _positional(self, rng: Random, shape: str, at: int) -> int:
        if shape == "after":
            return min(len(self.text), at + rng.randrange(20, 120))
        if shape == "chars":
            return min(len(self.text), at + rng.randrange(1, 30))
        end = at
        while end < len(self.text) and self.text[end] not in "\r\n":
            end += 1
        return end
