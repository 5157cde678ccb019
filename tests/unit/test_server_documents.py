"""URIs, secrets and the documents of a session."""

from __future__ import annotations

import pytest
from lsprotocol import types

from dgemma_lsp.config import SECRET_FILES
from dgemma_lsp.server.documents import Documents, file_name
from dgemma_lsp.server.secrets import is_secret


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///a/b.py", "b.py"),
        ("file:///a/b%20c.py", "b c.py"),
        ("file:///C%3A/a/b.py", "b.py"),
        ("file:///a/b/", "b"),
        ("file:///a/.env?x=1#y", ".env"),
        ("untitled:Untitled-1", "Untitled-1"),
        ("a\\b.py", "b.py"),
        ("http://[::1", "[::1"),
        ("", ""),
    ],
)
def test_the_name_of_a_document(uri: str, name: str) -> None:
    assert file_name(uri) == name


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("file:///w/.env", True),
        ("file:///w/.env.production", True),
        ("file:///w/.ENV", True),
        ("file:///w/prod.env", True),
        ("file:///w/%2Eenv", True),
        ("file:///w/id_ed25519.pub", True),
        ("file:///w/server.PEM", True),
        ("file:///home/me/.ssh/config", True),
        ("file:///home/me/.aws/config", True),
        ("file:///w/env.py", False),
        ("file:///w/.environment/a.py", False),
        ("file:///w/ssh/config", False),
        ("file:///w/key.py", False),
        ("untitled:Untitled-1", False),
    ],
)
def test_files_that_look_like_secrets(uri: str, secret: bool) -> None:
    assert is_secret(uri, SECRET_FILES) is secret


def test_the_latest_documents_come_first() -> None:
    documents = Documents()
    for name in "abc":
        documents.open(types.TextDocumentItem(name, "python", 1, "x"))
    change = types.TextDocumentContentChangeWholeDocument("y")
    documents.change(types.DidChangeTextDocumentParams(types.VersionedTextDocumentIdentifier(2, "a"), [change]))
    documents.open(types.TextDocumentItem("b", "python", 1, "z"))
    assert [document.uri for document in documents.latest(5)] == ["b", "a", "c"]
    assert [document.text for document in documents.latest(2)] == ["z", "y"]
    documents.close("b")
    documents.close("never opened")
    assert documents.get("b") is None
    assert (
        documents.change(types.DidChangeTextDocumentParams(types.VersionedTextDocumentIdentifier(2, "b"), [])) is None
    )
