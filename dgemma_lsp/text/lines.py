"""Lines and positions as editors and people count them.

Only `\\n`, `\\r\\n` and `\\r` end a line; `str.splitlines` would also break at form feeds, U+2028 and others,
which are ordinary characters in source files.
"""

from __future__ import annotations

import re

import attrs

from dgemma_lsp.errors import UserError

NEWLINE = re.compile(r"\r\n|\n|\r")

_POSITION = re.compile(r"([1-9][0-9]{0,8}):([1-9][0-9]{0,8})", re.ASCII)


class PositionError(UserError):
    """A position that is malformed or lies outside of the text."""


@attrs.frozen
class Position:
    """A place between characters: `line` and `column` from 1, columns in characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


def parse_position(spec: str) -> Position:
    """The position in `LINE:COL`, such as `12:5`."""
    match = _POSITION.fullmatch(spec.strip())
    if match is None:
        raise PositionError(f"{spec!r:.40} is no position; write LINE:COL, both counted from 1, such as 12:5")
    return Position(int(match[1]), int(match[2]))


def offset_at(text: str, position: Position) -> int:
    """The character offset of a position; the end of a line is a position, and so is a last, empty line."""
    start = 0
    for line in range(1, position.line):
        newline = NEWLINE.search(text, start)
        if newline is None:
            raise PositionError(f"line {position.line} is past the end; {_choice('line', line)}")
        start = newline.end()
    newline = NEWLINE.search(text, start)
    last = (newline.start() if newline else len(text)) - start + 1
    if position.column > last:
        raise PositionError(
            f"column {position.column} is past the end of line {position.line}; {_choice('column', last)}"
        )
    return start + position.column - 1


def newline_style(text: str) -> str:
    """The line end most lines have; of equally frequent ones the first, and `\\n` for a text without any."""
    if "\r" not in text:
        return "\n"
    counts = dict.fromkeys(NEWLINE.findall(text), 0)
    for style in counts:
        # Every "\r\n" also holds one of each of the others.
        counts[style] = text.count(style) - (text.count("\r\n") if len(style) == 1 else 0)
    return max(counts, key=lambda style: counts[style], default="\n")


def with_newlines(text: str, style: str) -> str:
    """`text` with every line end turned into `style`."""
    return NEWLINE.sub(style, text)


def _choice(noun: str, last: int) -> str:
    return f"the only {noun} is 1" if last == 1 else f"{noun}s are 1 to {last}"
