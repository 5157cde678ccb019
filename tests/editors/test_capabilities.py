"""What real editors say of themselves, and what the server makes of it.

`capabilities/` holds the parameters of their `initialize` requests, as the version in the name sent them, without
process ids, folders of a machine and options of ours; VS Code's are made by its client library.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.protocol import default_converter

from dgemma_lsp.server.capabilities import Client, read_client
from dgemma_lsp.text.document import Encoding
from tests.e2e.conftest import Home
from tests.e2e.editor import Editor

KINDS = ["refactor.rewrite.dgemma.fill", "refactor.rewrite.dgemma", "quickfix.dgemma", "source.fixAll.dgemma"]

FOLDER = Path(__file__).parent / "capabilities"

CLIENTS = {
    "vscode-languageclient-11": Client(
        name="Visual Studio Code",
        encoding=Encoding.UTF_16,
        inline_completion=True,
        configuration=True,
        watches_configuration=True,
        registers_completion=True,
        progress=True,
        document_changes=True,
        disabled_actions=True,
        drafts=False,
        rewrite_drafts=False,
        asks=False,
    ),
    "neovim-0.12": Client(
        name="Neovim",
        encoding=Encoding.UTF_8,
        inline_completion=True,
        configuration=True,
        watches_configuration=False,
        registers_completion=False,
        progress=True,
        document_changes=False,
        disabled_actions=True,
        drafts=False,
        rewrite_drafts=False,
        asks=False,
    ),
    "helix-25.07": Client(
        name="helix",
        encoding=Encoding.UTF_8,
        inline_completion=False,
        configuration=True,
        watches_configuration=False,
        registers_completion=False,
        progress=True,
        document_changes=True,
        disabled_actions=True,
        drafts=False,
        rewrite_drafts=False,
        asks=False,
        block_cursor=True,
    ),
    "emacs-30.1-eglot": Client(
        name="Eglot",
        encoding=Encoding.UTF_32,
        inline_completion=False,
        configuration=True,
        watches_configuration=False,
        registers_completion=False,
        progress=True,
        document_changes=True,
        disabled_actions=False,
        drafts=False,
        rewrite_drafts=False,
        asks=False,
    ),
}

every_client = pytest.mark.parametrize("name", CLIENTS)


def params_of(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_every_capture_is_in_the_table() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(CLIENTS)


@every_client
def test_read(name: str) -> None:
    expected = CLIENTS[name]
    params = default_converter().structure(params_of(name), types.InitializeParams)
    assert read_client(params, expected.encoding.value) == expected


@every_client
def test_a_client_that_wants_drafts(name: str) -> None:
    params = {**params_of(name), "initializationOptions": {"drafts": True}}
    assert read_client(default_converter().structure(params, types.InitializeParams), None).drafts


@every_client
def test_the_answer_to_initialize(name: str, home: Home) -> None:
    capabilities = asyncio.run(_initialized(params_of(name), home))["capabilities"]
    assert capabilities["positionEncoding"] == CLIENTS[name].encoding.value
    assert capabilities["textDocumentSync"]["openClose"] is True
    assert capabilities["textDocumentSync"]["change"] == types.TextDocumentSyncKind.Incremental.value
    assert capabilities["inlineCompletionProvider"] == {}
    assert "completionProvider" not in capabilities
    assert capabilities["codeActionProvider"] == {"codeActionKinds": KINDS}
    assert "dgemma.fill" in capabilities["executeCommandProvider"]["commands"]


async def _initialized(params: dict[str, Any], home: Home) -> dict[str, Any]:
    editor = Editor(dict(home.environment))
    await editor.spawn()
    try:
        answer = await editor.request("initialize", params)
        assert await editor.stop() == 0
        return answer
    finally:
        editor.kill()
