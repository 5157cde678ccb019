"""What the daemon already has of a document, so that a keystroke does not send all of it again."""

from __future__ import annotations

import collections

import attrs

from dgemma_engine import wire
from dgemma_lsp.text.ends import common_end, common_start

MOST_DOCUMENTS = 64
"""Documents remembered per connection; a daemon that keeps fewer says so, and is sent the whole text."""

DELTA_COST = 48
"""Bytes of a delta around what it inserts."""


class SentTexts:
    """The pinned text of each document as it was last sent on one connection, and the request it went with."""

    def __init__(self) -> None:
        self._last: collections.OrderedDict[str | None, tuple[int, str]] = collections.OrderedDict()

    def shortened(self, request: wire.Request) -> wire.Request:
        """The request with its text as the change of what was sent before, where that is shorter."""
        if not isinstance(request, wire.Fill | wire.Warm) or not isinstance(request.text, wire.MaskedText):
            return request
        base, before = self._last.get(request.document, (None, ""))
        after = _pinned(request.text)
        if base is None or len(after) <= DELTA_COST:
            return request
        start = common_start(before, after)
        tail = common_end(before, after, min(len(before), len(after)) - start)
        insert = after[start : len(after) - tail]
        if len(insert) + DELTA_COST >= len(after):
            return request
        return attrs.evolve(
            request, text=wire.TextDelta(base, start, len(before) - tail, insert, _places(request.text))
        )

    def sent(self, request: wire.Request) -> None:
        """Remembers the text of a request: the daemon takes it at receipt, whatever becomes of the request."""
        if not isinstance(request, wire.Fill | wire.Warm) or not isinstance(request.text, wire.MaskedText):
            return
        if request.document is not None:
            self._last[request.document] = request.id, _pinned(request.text)
            self._last.move_to_end(request.document)
            if len(self._last) > MOST_DOCUMENTS:
                self._last.popitem(last=False)

    def forget(self, request: wire.Request) -> None:
        """The daemon does not have the text that this request referred to."""
        self._last.pop(getattr(request, "document", None), None)


def _pinned(text: wire.MaskedText) -> str:
    return "".join(part for part in text.parts if isinstance(part, str))


def _places(text: wire.MaskedText) -> tuple[wire.Place, ...]:
    places, at = [], 0
    for part in text.parts:
        if isinstance(part, str):
            at += len(part)
        else:
            places.append(wire.Place(at, part))
    return tuple(places)
