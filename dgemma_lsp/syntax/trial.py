"""The texts of one judgement: one beginning and one end around different middles, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from dgemma_lsp.syntax.faults import Check, Fault, Frame, Placed, fresh, parser_faults
from dgemma_lsp.syntax.languages import Grammar
from dgemma_lsp.syntax.misfit import Misfit, first_misfit
from dgemma_lsp.syntax.source import Source
from dgemma_lsp.syntax.trees import Parsed, Trees


@attrs.frozen
class Variant:
    """One middle: its tree, its faults, and the frame that makes them comparable with another's."""

    parsed: Parsed
    frame: Frame
    faults: list[Fault]

    @property
    def placed(self) -> list[Placed]:
        return [self.frame.placed(fault) for fault in self.faults]

    def worse_than(self, known: list[Placed]) -> list[Fault]:
        """The faults that are not among known ones of another middle."""
        return fresh(self.faults, self.frame, known)

    def shapes(self) -> set[str]:
        """The shapes of the faults that lie apart from the middle."""
        start, stop = self.frame.start, self.frame.stop
        return {fault.shape for fault in self.faults if fault.shape and (fault.stop < start or fault.start > stop)}


@attrs.frozen
class Trial:
    """`before` and `after` stand still; `read` makes the parser's text of a whole one, of the same length.

    Its methods raise ParseTimeoutError past `deadline`, a `time.monotonic` instant.
    """

    trees: Trees
    grammar: Grammar
    checks: tuple[Check, ...]
    read: Callable[[str], str]
    before: str
    after: str
    deadline: float

    def baseline(self, middle: str) -> Variant | None:
        """The document as it stands, whose tree is remembered; None without the grammar."""
        source = self._source(middle)
        parsed = self.trees.parse(self.grammar, source, self.deadline)
        return None if parsed is None else self._variant(parsed, middle)

    def variant(self, near: Variant, middle: str) -> Variant:
        return self._variant(self.trees.variant(near.parsed, self._source(middle), self.deadline), middle)

    def prefix(self, near: Variant, middle: str) -> Parsed:
        """The tree of a text that ends where the middle ends."""
        return self.trees.variant(near.parsed, Source.of(self.read(self.before + middle)), self.deadline)

    def misfit(self, near: Variant, variant: Variant) -> Misfit | None:
        """The first token in a variant's middle, or just after it, that cannot follow what stands before it."""
        source, frame = variant.parsed.source, variant.frame
        return first_misfit(self.trees, near.parsed, source, frame.start, frame.stop, self.deadline)

    def _source(self, middle: str) -> Source:
        return Source.of(self.read(self.before + middle + self.after))

    def _variant(self, parsed: Parsed, middle: str) -> Variant:
        source = parsed.source
        start = source.to_byte(len(self.before))
        stop = source.to_byte(len(self.before) + len(middle))
        faults = parser_faults(parsed)
        for check in self.checks:
            faults.extend(check(parsed, start, stop))
        return Variant(parsed, Frame(start, stop, len(source.data)), faults)
