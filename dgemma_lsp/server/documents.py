"""The open documents, exact to the character whatever the editor counts in."""

from __future__ import annotations

import itertools
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from lsprotocol import types

from dgemma_lsp.text.document import Change, Document, Encoding, Position


class Documents:
    """What `didOpen`, `didChange` and `didClose` say; a `Document` never changes, so getting one is a snapshot."""

    def __init__(self) -> None:
        self.encoding = Encoding.UTF_16
        """As agreed with the client before the first document is opened."""
        self._open: dict[str, Document] = {}

    def get(self, uri: str) -> Document | None:
        return self._open.get(uri)

    def open(self, item: types.TextDocumentItem) -> Document:
        language = getattr(item.language_id, "value", item.language_id)
        document = Document.opened(item.uri, str(language), item.version, item.text, self.encoding)
        self._open.pop(item.uri, None)
        self._open[item.uri] = document
        return document

    def change(self, params: types.DidChangeTextDocumentParams) -> Document | None:
        """The changed document; None when it was never opened."""
        before = self._open.get(params.text_document.uri)
        if before is None:
            return None
        changes = [_change(change) for change in params.content_changes]
        document = before.apply(changes, params.text_document.version)
        # The newest stands last.
        del self._open[document.uri]
        self._open[document.uri] = document
        return document

    def close(self, uri: str) -> None:
        self._open.pop(uri, None)

    def latest(self, count: int) -> list[Document]:
        """The documents opened or changed last, the newest first."""
        return list(itertools.islice(reversed(self._open.values()), count))


def file_name(uri: str) -> str:
    """The last part of a URI's path, whatever its scheme; an untitled document's own name."""
    path = path_of(uri)
    return PurePosixPath(path).name or path


def path_of(uri: str) -> str:
    """A URI's path with `/` between its parts; what is no URI is taken as a path."""
    try:
        path = urlsplit(uri).path
    except ValueError:
        path = uri
    return unquote(path).replace("\\", "/")


def position(place: types.Position) -> Position:
    return Position(place.line, place.character)


def range_of(document: Document, start: int, stop: int) -> types.Range:
    """Characters `[start, stop)` as the client counts."""
    ends = (document.position_at(offset) for offset in (start, stop))
    return types.Range(*(types.Position(end.line, end.character) for end in ends))


def _change(change: types.TextDocumentContentChangeEvent) -> Change:
    if isinstance(change, types.TextDocumentContentChangePartial):
        return Change(change.text, position(change.range.start), position(change.range.end))
    return Change(change.text)
