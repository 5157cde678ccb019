"""Edits as the protocol has them."""

from __future__ import annotations

from collections.abc import Iterable

from lsprotocol import types

from dgemma_lsp.text.document import Document
from dgemma_lsp.text.edits import Edit

from ..app import Server
from ..documents import range_of


def text_edits(document: Document, edits: Iterable[Edit]) -> list[types.TextEdit]:
    """Edits of a snapshot, as the client counts."""
    return [types.TextEdit(range_of(document, edit.start, edit.end), edit.text) for edit in edits]


def workspace_edit(server: Server, document: Document, edits: Iterable[Edit]) -> types.WorkspaceEdit:
    """Edits of a snapshot, with its version where the client can take one."""
    made = text_edits(document, edits)
    if not server.client.document_changes:
        return types.WorkspaceEdit(changes={document.uri: made})
    named = types.OptionalVersionedTextDocumentIdentifier(document.uri, document.version)
    return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(named, [*made])])
