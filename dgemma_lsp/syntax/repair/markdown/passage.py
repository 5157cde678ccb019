"""The pieces of a document that hold inline markup, each a paragraph, a heading or a cell of its own."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

import attrs

from dgemma_lsp.syntax.repair.markdown.block import Block, Outline
from dgemma_lsp.syntax.repair.markdown.clock import check_time
from dgemma_lsp.syntax.repair.markdown.inline import Inline, scan
from dgemma_lsp.syntax.repair.markdown.table import cells

LONGEST = 20_000
"""Characters; a longer passage is left alone."""
LONGEST_LEAD = 60
_ITEM = re.compile(r"[ \t>]*(?:[-*+]|\d+[.)])[ \t]+\Z")


@attrs.frozen
class Passage:
    """`text` is the rows without what their containers put before them, joined with newlines.

    `lead` is what stands before it on its first line.
    """

    kind: str
    lead: str
    text: str
    starts: tuple[int, ...]
    origins: tuple[int, ...]
    inline: Inline
    block: Block

    @property
    def home(self) -> str:
        """What a reader sees it as: item, heading, cell or paragraph."""
        if self.kind == "paragraph":
            return "item" if _ITEM.match(self.lead) else "paragraph"
        return "cell" if self.kind == "table" else "heading"

    def offset(self, at: int) -> int:
        """The place in the document of one in `text`."""
        row = bisect.bisect_right(self.starts, at) - 1
        return self.origins[row] + at - self.starts[row]


def passages(outline: Outline, deadline: float) -> Iterator[Passage]:
    """Raises OutOfTime."""
    text = outline.text
    for block in outline.blocks:
        check_time(deadline)
        if block.kind in ("paragraph", "heading"):
            yield _passage(outline, block, block.rows)
        elif block.kind == "table":
            for number, (begin, end) in enumerate(block.rows):
                if number != 1:
                    for first, last in cells(text[begin:end]):
                        check_time(deadline)
                        yield _passage(outline, block, [(begin + first, begin + last)])


def _passage(outline: Outline, block: Block, rows: list[tuple[int, int]]) -> Passage:
    text = "\n".join([outline.text[begin:end] for begin, end in rows])
    starts, at = [], 0
    for begin, end in rows:
        starts.append(at)
        at += end - begin + 1
    inline = scan(text, outline.labels) if len(text) <= LONGEST else Inline()
    first = rows[0][0]
    lead = outline.text[max(_line_start(outline.text, first), first - LONGEST_LEAD) : first]
    return Passage(block.kind, lead, text, tuple(starts), tuple(begin for begin, _ in rows), inline, block)


def _line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", max(0, at - LONGEST_LEAD), at), text.rfind("\r", max(0, at - LONGEST_LEAD), at)) + 1
