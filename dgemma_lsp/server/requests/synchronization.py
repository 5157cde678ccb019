"""`didOpen`, `didChange`, `didClose`: the documents, and what is known of them ahead of the first request."""

from __future__ import annotations

from lsprotocol import types

from ..app import Server


def did_open(server: Server, params: types.DidOpenTextDocumentParams) -> None:
    server.suggester.forget(params.text_document.uri)
    document = server.documents.open(params.text_document)
    server.chore(server.suggester.warm(document, server.settings))


def did_change(server: Server, params: types.DidChangeTextDocumentParams) -> None:
    server.documents.change(params)


def did_close(server: Server, params: types.DidCloseTextDocumentParams) -> None:
    uri = params.text_document.uri
    server.documents.close(uri)
    server.suggester.forget(uri)
