"""What a document consists of: lines, and the blocks that lines make up. Offsets are in characters."""

from __future__ import annotations

import re

import attrs

from dgemma_lsp.syntax.repair.markdown.clock import check_time

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")


@attrs.frozen
class Line:
    """One line: [start, end) without its line end, which is before `next`."""

    start: int
    end: int
    next: int


@attrs.define
class Block:
    """A leaf: lines [first, stop), and what of each line belongs to it.

    `kind`: paragraph, heading, table, code, fence, html, comment, front. A fence, comment or front matter that is not
    `closed` ends with its container or the document. `prefix` is what stands before a fence's opener on its line.
    """

    kind: str
    first: int
    stop: int
    rows: list[tuple[int, int]]
    closed: bool = True
    marker: str = ""
    info: str = ""
    prefix: str = ""
    depth: int = 0


@attrs.frozen
class Outline:
    text: str
    lines: list[Line]
    blocks: list[Block]
    labels: frozenset[str]


def split_lines(text: str, deadline: float) -> list[Line]:
    """All lines; the text after the last line end is one unless it is empty. Raises OutOfTime."""
    found: list[Line] = []
    for match in _LINE.finditer(text):
        if len(found) % 2048 == 0:
            check_time(deadline)
        found.append(Line(match.start(), match.end(1), match.end()))
    if found and found[-1].start == len(text):
        found.pop()
    return found
