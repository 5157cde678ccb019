"""Typing along the text that is shown: what is left of it is offered again, and the engine is not asked."""

from __future__ import annotations

import attrs

from dgemma_lsp.text.document import Document
from dgemma_lsp.text.lines import NEWLINE
from dgemma_lsp.text.overlap import Offer


@attrs.frozen
class Offered:
    """An offer that was made: the text its document has when it is accepted, and where in it the insert stands.

    It depends on no version. As long as the document is on its way to that text, there is something left to offer.
    """

    uri: str
    accepted: str = attrs.field(repr=False)
    start: int
    end: int

    @classmethod
    def of(cls, document: Document, offer: Offer) -> Offered:
        """The offer as it was made for a document."""
        return cls(document.uri, offer.applied(document.text), offer.start, offer.start + len(offer.insert))


def along(offered: Offered, document: Document, cursor: int) -> Offer | None:
    """What is left to offer at an offset of a document, or None when something other than the insert was typed.

    Accepting it leaves the very text that accepting the whole offer would have left, after any part of the insert was
    typed or accepted, and after going back within that. What an editor put after the cursor on its line is replaced
    where the rest of the insert has it too; what it put on lines below stays, and is left out of the offer. Any
    other difference, wherever it is in the document, is a reason to ask the engine again.
    """
    text, accepted = document.text, offered.accepted
    before, left, after = accepted[:cursor], accepted[cursor : offered.end], accepted[offered.end :]
    if document.uri != offered.uri or not offered.start <= cursor < offered.end:
        return None
    if len(text) < len(before) + len(after) or not (text.startswith(before) and text.endswith(after)):
        return None

    put = text[cursor : len(text) - len(after)]
    end = cursor
    if _runs_through(put, left) and not NEWLINE.search(put):
        end += len(put)
    elif left.endswith(put):
        left = left[: -len(put)]
    else:
        return None
    start = document.word_start(cursor)
    return Offer(start, end, text[start:cursor] + left) if left.strip() and left != put else None


def _runs_through(part: str, whole: str) -> bool:
    """Whether `whole` has the characters of `part` in their order."""
    remaining = iter(whole)
    return all(character in remaining for character in part)
