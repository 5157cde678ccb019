"""What is read of a client's capabilities."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from lsprotocol import types
from pygls.protocol import default_converter

from dgemma_lsp.server.capabilities import Client, read_client
from dgemma_lsp.text.document import Encoding
from tests.e2e.editor import FULL

NOTHING = Client("", Encoding.UTF_16, *[False] * 10)


def client_of(options: Any = None, encoding: Any = None, **capabilities: Any) -> Client:
    plain = {"processId": None, "rootUri": None, "capabilities": capabilities, "initializationOptions": options}
    return read_client(default_converter().structure(plain, types.InitializeParams), encoding)


@pytest.mark.parametrize(
    ("capabilities", "what"),
    [
        ({}, {}),
        ({"textDocument": {"inlineCompletion": {}}}, {"inline_completion": True}),
        ({"workspace": {"configuration": True}}, {"configuration": True}),
        ({"workspace": {"didChangeConfiguration": {"dynamicRegistration": False}}}, {}),
        ({"workspace": {"didChangeConfiguration": {"dynamicRegistration": True}}}, {"watches_configuration": True}),
        ({"textDocument": {"completion": {}}}, {}),
        ({"textDocument": {"completion": {"dynamicRegistration": True}}}, {"registers_completion": True}),
        ({"workspace": {"workspaceEdit": {"resourceOperations": ["create"]}}}, {}),
        ({"workspace": {"workspaceEdit": {"documentChanges": True}}}, {"document_changes": True}),
        ({"textDocument": {"codeAction": {"disabledSupport": True}}}, {"disabled_actions": True}),
        ({"window": {"workDoneProgress": True}}, {"progress": True}),
    ],
)
def test_each_capability(capabilities: dict[str, Any], what: dict[str, bool]) -> None:
    assert client_of(**capabilities) == attrs.evolve(NOTHING, **what)


def test_a_client_that_can_do_everything() -> None:
    client = client_of({"drafts": True, "asks": True}, types.PositionEncodingKind.Utf8, **FULL)
    assert client == Client("", Encoding.UTF_8, *[True] * 10)


def test_drafts_of_rewrites_alone() -> None:
    assert client_of({"drafts": "rewrite"}) == attrs.evolve(NOTHING, rewrite_drafts=True)


@pytest.mark.parametrize("options", [None, [], "drafts", {"drafts": "yes"}, {"drafts": 1}, {}])
def test_drafts_are_for_those_who_ask_plainly(options: Any) -> None:
    assert client_of(options) == NOTHING
