"""A document with one hole, and the bounded window of it that the model reads."""

from __future__ import annotations

import math

import attrs

from dgemma_engine.wire import Hole, MaskedText
from dgemma_lsp.text.lines import NEWLINE, newline_style, with_newlines

BEFORE = 24_000
"""Characters of a window before the hole, at most."""

AFTER = 6_000
"""Characters of a window after the hole, at most."""

BLOCK = 4_096
"""A window's start moves in steps of this many characters: the text before the cursor stays the same, and so
does the prefix cache, until that much has been typed."""

CHARS_PER_TOKEN = 2.5
"""A low estimate for source text: the hole must not be shorter than what it replaces."""


@attrs.frozen
class Infill:
    """A hole at the character offsets [start, end) of a document, ready to be filled."""

    text: MaskedText
    start: int
    end: int
    newline: str

    def replacement(self, filled: str) -> str:
        """What the model wrote, with the document's line ends."""
        return with_newlines(filled, self.newline)


def infill(document: str, start: int, end: int, max_tokens: int, noise: float | None = None) -> Infill:
    """The window around [start, end), with a hole in its place: that text is forgotten, or with `noise` its draft.

    The model reads line ends as `\\n`, as it was trained; `Infill.replacement` gives the document's back.
    """
    window_start, window_end = window(document, start, end)
    prefix = with_newlines(document[window_start:start], "\n")
    suffix = with_newlines(document[end:window_end], "\n")
    hole = Hole(max_tokens)
    if noise is not None:
        hole = Hole(max_tokens, with_newlines(document[start:end], "\n"), noise)
    parts = (prefix, hole, suffix)
    return Infill(
        text=MaskedText(tuple(part for part in parts if part != "")),
        start=start,
        end=end,
        newline=newline_style(document),
    )


def hole_tokens(replaced: str) -> int:
    """How large a hole gives room for another version of `replaced`; 1 at the least."""
    return max(1, math.ceil(len(replaced) / CHARS_PER_TOKEN))


def window(
    document: str, start: int, end: int, before: int = BEFORE, after: int = AFTER, block: int = BLOCK
) -> tuple[int, int]:
    """Offsets of what is read around [start, end): at most `before` and `after` characters on either side.

    The start depends only on the text before it and on which multiple of `block` the hole has passed, given
    that `before` is at least two blocks. Both ends lie at the start of a line where one is near, and never
    inside a `\\r\\n`.
    """
    return _window_start(document, start, before, block), _window_end(document, end, after)


def _window_start(document: str, start: int, before: int, block: int) -> int:
    if start <= before:
        return 0
    edge = -(-(start - before) // block) * block
    limit = min(start, edge + block)
    # The search starts early for a newline that ends at the edge and ends late so as not to split one.
    for newline in NEWLINE.finditer(document, max(0, edge - 2), limit + 1):
        if edge <= newline.end() <= limit:
            return newline.end()
    return edge


def _window_end(document: str, end: int, after: int) -> int:
    edge = end + after
    if edge >= len(document):
        return len(document)
    if document[edge - 1 : edge + 1] == "\r\n":
        edge -= 1
    line_start = max(document.rfind("\n", end, edge), document.rfind("\r", end, edge)) + 1
    return line_start or edge
