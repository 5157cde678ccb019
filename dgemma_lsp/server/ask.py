"""A place at which something is asked for, the masked text that is made of it, and the way back to an offer."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs

from dgemma_engine import wire
from dgemma_lsp.config import Settings
from dgemma_lsp.syntax.gate import Verdict
from dgemma_lsp.text.document import Document
from dgemma_lsp.text.masked import Infill, infill
from dgemma_lsp.text.overlap import Offer, offer


@attrs.frozen
class Selected:
    """The item selected in the editor's completion menu: it would replace `[start, end)` with `text`."""

    start: int
    end: int
    text: str


@attrs.frozen
class Ask:
    """What is asked for: a suggestion at `offset` of a snapshot, by the user himself or by his typing."""

    document: Document
    offset: int
    invoked: bool
    selected: Selected | None = None
    on_draft: Callable[[wire.Draft], None] | None = None


@attrs.frozen
class Task:
    """The masked text of an ask, and the way back from a fill to an offer."""

    ask: Ask
    infill: Infill

    @classmethod
    def of(cls, ask: Ask, settings: Settings) -> Task:
        text, start, stop = ask.document.text, ask.offset, ask.offset
        selected = ask.selected
        if selected is not None:
            text = text[: selected.start] + selected.text + text[selected.end :]
            start = stop = selected.start + len(selected.text)
        return cls(ask, infill(text, start, stop, settings.max_tokens))

    def offer(self, filled: str) -> Offer | None:
        written = self.infill.replacement(filled)
        document, selected = self.ask.document, self.ask.selected
        if selected is not None:
            return _extending(document.text, selected, written)
        return offer(document.text, self.ask.offset, document.word_start(self.ask.offset), written)

    def spans(self, filled: str, one: Offer, verdict: Verdict) -> list[wire.Span]:
        """The verdict's spans, which are in the offer's text, in the fill's own text.

        The offer begins with the word that was typed already and may be cut at either end, and the fill has `\\n`
        where the document has its own line ends: what stands in both texts alike is found from the end of the word.
        """
        written = self.infill.replacement(filled)
        typed = self.ask.offset - one.start
        shift = written.find(one.insert[typed:]) - typed
        if shift < -typed:
            return []
        ends = [0, *itertools.accumulate(0 if char == "\r" else 1 for char in written)] if written != filled else None
        spans = []
        for start, stop in verdict.spans:
            start, stop = (min(max(0, at + shift), len(written)) for at in (start, stop))
            if ends is not None:
                start, stop = ends[start], ends[stop]
            if start < stop:
                spans.append(wire.Span(0, start, stop))
        return spans


def _extending(text: str, selected: Selected, written: str) -> Offer | None:
    """The offer that begins with the selected item's text and, as the protocol wants it, has its range."""
    chosen = text[: selected.start] + selected.text + text[selected.end :]
    cursor = selected.start + len(selected.text)
    one = offer(chosen, cursor, selected.start, written)
    if one is None:
        return None
    # Closers after the cursor cannot be replaced here: they stay, and the insert goes without them.
    grown = chosen[cursor : one.end]
    insert = one.insert.removesuffix(grown)
    if (grown and insert == one.insert) or insert == selected.text:
        return None
    return Offer(selected.start, selected.end, insert)
