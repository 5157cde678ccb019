"""Repairs in an editor: on save, as code actions, and what is shown of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dgemma_lsp.text.document import Change, Document, Encoding, Position
from tests.e2e.conftest import Home
from tests.e2e.editor import FULL, Editor, editor, played

NO_ENGINE: dict[str, Any] = {"enginePython": "/nowhere/python"}
URI = "file:///w/a.json"
CLEAN = '{\n  "name": "\U0001f40d",\n  "private": true\n}\n'
BROKEN = CLEAN.replace('",\n', '"\n')
HOPELESS = '{"a": 1 2 3 ] } "x" : {{{ , ]\n'
PAGE = "# Demo\n\n```sh\nmake demo\n\nThen look at the result. It is a page of its own.\n\n## More\n\nText.\n"


def can(**synchronization: Any) -> dict[str, Any]:
    """What VS Code can do."""
    said = {"willSaveWaitUntil": True, **synchronization}
    return {**FULL, "textDocument": {**FULL["textDocument"], "synchronization": said}}


async def save(one: Editor, uri: str = URI) -> list[dict[str, Any]]:
    """The edits that the editor would make before it writes the file."""
    return await one.request("textDocument/willSaveWaitUntil", {"textDocument": {"uri": uri}, "reason": 1})


async def last(one: Editor) -> dict[str, Any]:
    return await one.command("dgemma.explainLast")


def edited(text: str, edits: list[dict[str, Any]], encoding: Encoding = Encoding.UTF_16) -> str:
    """A text after edits as the client counts."""
    document = Document.opened(URI, "json", 1, text, encoding)
    changes = []
    for edit in sorted(edits, key=lambda edit: (edit["range"]["start"]["line"], edit["range"]["start"]["character"])):
        ends = (Position(**edit["range"][end]) for end in ("start", "end"))
        changes.insert(0, Change(edit["newText"], *ends))
    return document.apply(changes, 2).text


def actions_at(line: int, character: int, uri: str = URI, **context: Any) -> dict[str, Any]:
    place = {"line": line, "character": character}
    return {
        "textDocument": {"uri": uri},
        "range": {"start": place, "end": place},
        "context": {"diagnostics": [], **context},
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@played
async def test_a_file_is_repaired_on_save(home: Home, encoding: str) -> None:
    capabilities = {**can(), "general": {"positionEncodings": [encoding]}}
    async with editor(home.environment, capabilities, **NO_ENGINE) as one:
        assert one.capabilities["textDocumentSync"]["willSaveWaitUntil"] is True
        one.open(URI, "json", BROKEN)
        edits = await save(one)
        assert edited(BROKEN, edits, Encoding(encoding)) == CLEAN
        # Only what has to change does.
        assert [edit["newText"] for edit in edits] == [","]
        assert (await last(one))["outcome"] == "repaired"
        one.change(URI, 2, {"text": CLEAN})
        assert await save(one) == []
        assert (await last(one))["outcome"] == "clean"


CASES = [
    ("file:///w/hopeless.json", "json", HOPELESS, {}, "unsure"),
    ("file:///w/secrets.json", "json", BROKEN, {}, "secret-file"),
    ("file:///w/off.json", "json", BROKEN, {"fixOnSave": {"json": False}}, "fix-off"),
    ("file:///w/empty.json", "json", "", {}, "clean"),
    ("file:///w/tsconfig.json", "json", '{\n  // why\n  "a": 1\n}\n', {}, "clean"),
    ("file:///w/clean.md", "markdown", "# Title\n\nText.\n", {}, "clean"),
]


@pytest.mark.parametrize(("uri", "language", "text", "settings", "outcome"), CASES, ids=[case[4] for case in CASES])
@played
async def test_a_save_without_edits_says_why(
    home: Home, uri: str, language: str, text: str, settings: dict[str, Any], outcome: str
) -> None:
    async with editor(home.environment, can(), **NO_ENGINE, **settings) as one:
        one.open(uri, language, text)
        assert await save(one, uri) == []
        explained = await last(one)
        assert (explained["request"], explained["file"], explained["outcome"]) == (
            "willSave",
            uri.rsplit("/", 1)[1],
            outcome,
        )


@played
async def test_saves_of_what_is_not_repaired_are_no_attempts(home: Home) -> None:
    async with editor(home.environment, can(), **NO_ENGINE) as one:
        one.open("file:///w/a.py", "python", "x = (\n")
        for uri in ("file:///w/a.py", "file:///w/never-opened.json", "no uri at all"):
            assert await save(one, uri) == []
        assert (await last(one))["outcome"] is None


BUGGY = """
import dgemma_lsp.server.repairing as repairing, dgemma_lsp.server.serve as serve
def diagnose(*_): raise RuntimeError("swordfish")
repairing.diagnose = diagnose
raise SystemExit(serve.serve())
"""
SLOW = """
import threading, dgemma_lsp.server.repairing as repairing, dgemma_lsp.server.serve as serve
def diagnose(*_, event=threading.Event()): event.wait(5)
repairing.diagnose = diagnose
raise SystemExit(serve.serve())
"""


@pytest.mark.parametrize(("code", "outcome"), [(BUGGY, "error"), (SLOW, "deadline")])
@played
async def test_a_save_is_answered_whatever_happens(home: Home, code: str, outcome: str) -> None:
    one = Editor(home.environment)
    await one.spawn("-c", code)
    initialize = {"processId": None, "rootUri": None, "capabilities": can(), "initializationOptions": NO_ENGINE}
    await one.request("initialize", initialize)
    one.notify("initialized", {})
    one.open(URI, "json", BROKEN)
    assert await save(one) == []
    assert (await last(one))["outcome"] == outcome
    assert await one.request("textDocument/codeAction", actions_at(0, 0, only=["quickfix"])) == []
    assert await one.request("textDocument/codeAction", actions_at(0, 0, only=["source.fixAll"])) == []
    # It goes on answering everything else.
    assert len(await one.request("textDocument/codeAction", actions_at(0, 0, only=["refactor"]))) == 1
    one.kill()
    await one.ended()
    assert "swordfish" not in one.errors


@played
async def test_a_cancelled_save_has_its_outcome(home: Home) -> None:
    one = Editor(home.environment)
    await one.spawn("-c", SLOW)
    await one.request("initialize", {"processId": None, "rootUri": None, "capabilities": can()})
    one.open(URI, "json", BROKEN)
    number, answer = one.begin("textDocument/willSaveWaitUntil", {"textDocument": {"uri": URI}, "reason": 1})
    one.notify("$/cancelRequest", {"id": number})
    with pytest.raises(Exception, match=r"(?i)cancel"):
        await asyncio.wait_for(answer, 10)
    assert (await last(one))["outcome"] == "cancelled"
    one.kill()
    await one.ended()


@played
async def test_a_document_that_changes_meanwhile_gets_no_edit(home: Home) -> None:
    async with editor(home.environment, can(), **NO_ENGINE) as one:
        for round_ in range(5):
            one.open(URI, "json", BROKEN)
            _, answer = one.begin("textDocument/willSaveWaitUntil", {"textDocument": {"uri": URI}, "reason": 1})
            one.change(URI, 2, {"text": f'{{"round": {round_} "x": 1}}'})
            edits = await answer
            # The request came before the change: its edits are for the text of then, or there are none.
            assert edited(BROKEN, edits) in (BROKEN, CLEAN)
            assert (await last(one))["outcome"] in ("stale", "repaired")
            one.notify("textDocument/didClose", {"textDocument": {"uri": URI}})


@played
async def test_faults_are_diagnostics_with_quick_fixes(home: Home) -> None:
    async with editor(home.environment, can(), **NO_ENGINE) as one:
        one.open(URI, "json", BROKEN, version=4)
        shown = await one.notification("textDocument/publishDiagnostics")
        [fault] = shown["diagnostics"]
        assert (shown["uri"], shown["version"], fault["source"], fault["severity"]) == (URI, 4, "dgemma", 1)
        line = fault["range"]["start"]["line"]
        first, *others = await one.request("textDocument/codeAction", actions_at(line, 0, only=["quickfix"]))
        assert (first["kind"], first["isPreferred"], first["diagnostics"]) == ("quickfix.dgemma", True, [fault])
        assert first["title"].startswith("DGemma: insert `,` on line ")
        assert all(not other.get("isPreferred") for other in others)
        [change] = first["edit"]["documentChanges"]
        assert change["textDocument"] == {"uri": URI, "version": 4}
        assert edited(BROKEN, change["edits"]) == CLEAN
        far = await one.request("textDocument/codeAction", actions_at(3, 0, only=["quickfix.dgemma"]))
        assert far == []
        one.change(URI, 5, {"text": CLEAN})
        await one.notification("textDocument/publishDiagnostics", lambda params: params["diagnostics"] == [])
        one.change(URI, 6, {"text": BROKEN})
        await one.notification("textDocument/publishDiagnostics", lambda params: params["version"] == 6)
        one.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        await one.notification("textDocument/publishDiagnostics", lambda params: "version" not in params)


@played
async def test_everything_is_fixed_only_when_asked_for(home: Home) -> None:
    for capabilities, changed in ((can(), "documentChanges"), ({}, "changes")):
        async with editor(home.environment, capabilities, fixOnSave=False, **NO_ENGINE) as one:
            page = "file:///w/a.md"
            one.open(page, "markdown", PAGE)
            for only in (["source"], ["source.fixAll"], ["source.fixAll.dgemma"]):
                [action] = await one.request("textDocument/codeAction", actions_at(0, 0, page, only=only))
                assert action["kind"] == "source.fixAll.dgemma"
                assert changed in action["edit"]
            assert (await last(one))["outcome"] == "repaired"
            for only in (["source.organizeImports"], ["refactor.extract"], []):
                assert await one.request("textDocument/codeAction", actions_at(0, 0, page, only=only)) == []
            kinds = {action["kind"] for action in await one.request("textDocument/codeAction", actions_at(0, 0, page))}
            assert kinds == {"refactor.rewrite.dgemma.fill"}


@played
async def test_diagnostics_are_switched_with_their_setting(home: Home) -> None:
    async with editor(home.environment, {}, diagnostics={"json": False}, **NO_ENGINE) as one:
        one.open(URI, "json", BROKEN)
        one.open("file:///w/a.md", "markdown", PAGE)
        assert (await one.notification("textDocument/publishDiagnostics"))["uri"] == "file:///w/a.md"
        one.notify("workspace/didChangeConfiguration", {"settings": {"dgemma": {"diagnostics": True}}})
        await one.notification("textDocument/publishDiagnostics", lambda params: params["uri"] == URI)
        one.notify("workspace/didChangeConfiguration", {"settings": {"dgemma": {"diagnostics": False}}})
        for uri in (URI, "file:///w/a.md"):
            await one.notification(
                "textDocument/publishDiagnostics",
                lambda params, uri=uri: (params["uri"], params["diagnostics"]) == (uri, []),
            )
