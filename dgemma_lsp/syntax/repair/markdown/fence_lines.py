"""The fence lines of a document and what is between them, for readings that differ by one fence line."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from dgemma_lsp.syntax.repair.markdown.block import Outline
from dgemma_lsp.syntax.repair.markdown.clock import check_time
from dgemma_lsp.syntax.repair.markdown.code_line import code_score
from dgemma_lsp.syntax.repair.markdown.fence_info import language

_FENCE_LINE = re.compile(r"([ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(`{3,}|~{3,})([^`\r\n]*)")
_NAME = re.compile(r"[{.]?[A-Za-z0-9]")
NESTING = ("md", "markdown", "mdx", "mdc", "text", "txt", "plaintext", "astro", "djot", "rst")
"""Languages whose code may well hold the opening line of a fence."""
LAST = 10.0
"""What a fence costs that is never closed, in nats, and one inside of another."""


@attrs.frozen
class FenceLine:
    """A line that opens or closes a fence, if it stands in the right place."""

    number: int
    prefix: str
    marker: str
    info: str

    @property
    def bare(self) -> bool:
        return not self.info

    def closes(self, opener: FenceLine) -> bool:
        return self.bare and self.marker[0] == opener.marker[0] and len(self.marker) >= len(opener.marker)

    def nests_in(self, opener: FenceLine) -> bool:
        """Whether this, as code of `opener`, is rather the opening line of a fence of its own."""
        if self.marker[0] != opener.marker[0] or len(self.marker) < len(opener.marker) or self.bare:
            return False
        return _NAME.match(self.info) is not None and (language(opener.info) not in NESTING or self.info == opener.info)


class FenceLines:
    """`lines` from the top; `score[n]` is the sum of the code scores of the lines before number n."""

    def __init__(self, outline: Outline, deadline: float):
        text = outline.text
        self.outline = outline
        self.count = len(outline.lines)
        hidden = [(block.first, block.stop) for block in outline.blocks if block.kind in ("front", "comment")]
        self.start = hidden[0][1] if hidden and hidden[0][0] == 0 else 0
        self.lines: list[FenceLine] = []
        for number, line in enumerate(outline.lines):
            found = _FENCE_LINE.fullmatch(text, line.start, line.end)
            if found and not any(first <= number < stop for first, stop in hidden):
                self.lines.append(FenceLine(number, found[1], found[2], found[3].strip()))
        self.score = [0.0]
        for chunk in self._chunks(deadline):
            for score in chunk:
                self.score.append(self.score[-1] + score / max(1, len(chunk)) ** 0.5)
        self._rest = self._costs_from()

    def _chunks(self, deadline: float) -> Iterator[list[float]]:
        """The scores of lines up to a blank one or a fence line; lines of a chunk do not speak independently."""
        fences = {line.number for line in self.lines}
        chunk: list[float] = []
        for number in range(self.count):
            if number % 64 == 0:
                check_time(deadline)
            if number < self.start or number in fences or self.blank(number):
                yield chunk
                yield [0.0]
                chunk = []
            else:
                chunk.append(min(max(code_score(self.body(number)), -6.0), 6.0))
        yield chunk

    def _costs_from(self) -> list[float]:
        """What it costs to read on outside of a fence from before the n-th fence line."""
        rest = [0.0] * (len(self.lines) + 1)
        for index in range(len(self.lines) - 1, -1, -1):
            stop, cost = self.inside(index)
            rest[index] = cost + rest[stop]
        return rest

    def inside(self, index: int) -> tuple[int, float]:
        """A fence that the line of that index opens: the index after its closing line, and its cost."""
        opener = self.lines[index]
        cost = 0.0
        for other in range(index + 1, min(len(self.lines), index + 40)):
            line = self.lines[other]
            if line.closes(opener):
                return other + 1, cost - self.between(opener.number + 1, line.number)
            if line.nests_in(opener):
                cost += LAST
        return len(self.lines), cost + LAST - self.between(opener.number + 1, self.count)

    def between(self, first: int, stop: int) -> float:
        """The code score of the lines [first, stop)."""
        return self.score[stop] - self.score[first]

    def rest(self, index: int) -> float:
        return self._rest[index]

    def body(self, number: int) -> str:
        line = self.outline.lines[number]
        return self.outline.text[line.start : line.end]

    def blank(self, number: int) -> bool:
        return not self.body(number).strip(" \t>")
