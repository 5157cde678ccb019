"""Where a part of a document is after the document has changed."""

from __future__ import annotations

import bisect

from dgemma_lsp.text.alignment import common
from dgemma_lsp.text.lines import NEWLINE


def moved(before: str, after: str, start: int, end: int) -> int | None:
    """Where the characters [start, end) of a text begin in a later one; None when one of their lines has changed.

    A part that is there more than once is the one that the lines around it say it is.
    """
    if before == after:
        return start
    old, new = _starts(before), _starts(after)
    first, last = (bisect.bisect_right(old, place) - 1 for place in (start, end))
    # A selection of whole lines ends where the next one begins; that line may change.
    last -= last > first and old[last] == end
    pairs = dict(common(_lines(before, old), _lines(after, new)))
    line = pairs.get(first)
    if line is None or any(pairs.get(first + step) != line + step for step in range(1, last - first + 1)):
        return None
    return new[line] + start - old[first]


def _starts(text: str) -> list[int]:
    return [0, *(found.end() for found in NEWLINE.finditer(text))]


def _lines(text: str, starts: list[int]) -> list[str]:
    return [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]
