"""The texts a client has sent, so that its next request can say only what changed."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

import attrs

from . import wire
from .errors import EngineError

MAX_DOCUMENTS = 64
MAX_CHARACTERS = 16 * 1024 * 1024
"""Of all documents together; what is unused the longest leaves, and is sent whole when it is wanted again."""

WithText = TypeVar("WithText", bound=wire.Fill | wire.Warm)


@attrs.frozen
class _Window:
    """The pinned text of a document as request `id` had it."""

    id: int
    pinned: str


class Windows:
    """The last pinned text of each document of one connection."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._characters = 0

    def resolve(self, request: WithText) -> WithText:
        """The request with all its text; it is what the document's next delta may refer to.

        Raises `EngineError`: `text-unknown` when a delta's base is not here, `request` when the delta does not fit it.
        """
        text, document = request.text, request.document
        if isinstance(text, wire.MaskedText):
            if document is not None:
                self._keep(document, request.id, "".join(part for part in text.parts if isinstance(part, str)))
            return request
        if document is None:
            raise EngineError("request", "a text delta needs the name of its document")
        base = self._windows.get(document)
        if base is None or base.id != text.base:
            raise EngineError(
                "text-unknown", f"the text of request {text.base} is not here any more; send the whole text"
            )
        pinned = _replaced(base.pinned, text)
        whole = wire.MaskedText(tuple(_parts(pinned, text.places)))
        self._keep(document, request.id, pinned)
        return attrs.evolve(request, text=whole)

    def _keep(self, document: str, id: int, pinned: str) -> None:
        self._forget(document)
        self._windows[document] = _Window(id, pinned)
        self._characters += len(pinned)
        while len(self._windows) > 1 and (len(self._windows) > MAX_DOCUMENTS or self._characters > MAX_CHARACTERS):
            self._forget(next(iter(self._windows)))

    def _forget(self, document: str) -> None:
        window = self._windows.pop(document, None)
        self._characters -= len(window.pinned) if window else 0


def _replaced(pinned: str, delta: wire.TextDelta) -> str:
    if not delta.start <= delta.stop <= len(pinned):
        raise EngineError(
            "request",
            f"a text delta replaces characters [{delta.start}, {delta.stop}) of a text of {len(pinned)}",
        )
    return pinned[: delta.start] + delta.insert + pinned[delta.stop :]


def _parts(pinned: str, places: tuple[wire.Place, ...]) -> list[str | wire.Hole]:
    """`pinned` with the holes at their places; no empty strings, so that it equals what would be sent whole."""
    parts: list[str | wire.Hole] = []
    done = 0
    for place in places:
        if not done <= place.at <= len(pinned):
            raise EngineError(
                "request",
                f"a hole at {place.at} after one at {done} in a text of {len(pinned)} characters; "
                "places are ascending and within the text",
            )
        if done < place.at:
            parts.append(pinned[done : place.at])
        parts.append(place.hole)
        done = place.at
    if done < len(pinned):
        parts.append(pinned[done:])
    return parts
