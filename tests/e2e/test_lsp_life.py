"""The server without an engine: how it is greeted, ends, is told settings, and bears what no editor should send."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Home, private_home
from tests.e2e.editor import Editor, LspError, editor, played

NO_ENGINE: dict[str, Any] = {"enginePython": "/nowhere/python"}
URI = "file:///w/a.py"
SECRET_WORD = "swordfish"


async def code_of(one: Editor, method: str, params: object) -> int | None:
    """The error code of a request; None when it succeeds."""
    try:
        await one.request(method, params)
    except LspError as error:
        return error.code
    return None


async def last(one: Editor) -> str:
    return (await one.command("dgemma.explainLast"))["outcome"]


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A home without a daemon, which other suites may have started in theirs."""
    yield from private_home()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@played
async def test_what_is_agreed_on(home: Home, encoding: str) -> None:
    one = Editor(home.environment)
    answer = await one.start({"general": {"positionEncodings": [encoding]}}, **NO_ENGINE)
    capabilities = answer["capabilities"]
    assert answer["serverInfo"]["name"] == "dgemma-lsp"
    assert capabilities["positionEncoding"] == encoding
    assert capabilities["inlineCompletionProvider"] is not None
    assert capabilities["codeActionProvider"]["codeActionKinds"] == ["refactor.rewrite.dgemma.fill"]
    assert {"dgemma.fill", "dgemma.explainLast", "dgemma.status", "dgemma.restartEngine"} <= set(
        capabilities["executeCommandProvider"]["commands"]
    )
    assert await one.stop() == 0
    # Of a client that can do nothing, nothing is asked.
    assert {name for name, _ in one.notifications} <= {"dgemma/status", "window/showMessage"}


@pytest.mark.parametrize(
    ("how", "status"), [("exit", 1), ("end of input", 1), ("shutdown", 0), ("exit before initialize", 1)]
)
@played
async def test_how_it_ends(home: Home, how: str, status: int) -> None:
    one = Editor(home.environment)
    if how == "exit before initialize":
        await one.spawn()
    else:
        await one.start(**NO_ENGINE)
    if how == "shutdown":
        assert await one.stop() == status
        return
    if how == "end of input":
        assert one.process.stdin is not None
        one.process.stdin.close()
    else:
        one.notify("exit", None)
    assert await one.ended() == status


@played
async def test_it_ends_with_its_editor(home: Home) -> None:
    code = "import dgemma_lsp.server.serve as s; s.PARENT_S = 0.05; raise SystemExit(s.serve())"
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    one = Editor(home.environment)
    await one.spawn("-c", code)
    await one.request("initialize", {"processId": parent.pid, "rootUri": None, "capabilities": {}})
    assert one.process.returncode is None
    parent.kill()
    parent.communicate()
    assert await one.ended() == 1


@played
async def test_requests_at_the_wrong_time(home: Home) -> None:
    one = Editor(home.environment)
    await one.spawn()
    one.open(URI, "python", "x")
    assert await code_of(one, "textDocument/inlineCompletion", one.inline(URI, 0, 0)) == -32002
    assert await code_of(one, "shutdown", None) == -32002
    await one.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
    assert await code_of(one, "initialize", {"processId": None, "rootUri": None, "capabilities": {}}) == -32600
    assert await code_of(one, "shutdown", None) is None
    assert await code_of(one, "textDocument/inlineCompletion", one.inline(URI, 0, 0)) == -32600
    one.notify("exit", None)
    assert await one.ended() == 0


GARBAGE = [
    ("textDocument/inlineCompletion", {"bad": SECRET_WORD}, -32602),
    ("textDocument/inlineCompletion", None, -32602),
    ("textDocument/inlineCompletion", [SECRET_WORD], -32602),
    ("textDocument/inlineCompletion", {"textDocument": {"uri": URI}, "position": "0:0", "context": {}}, -32602),
    ("textDocument/codeAction", {"textDocument": 5}, -32602),
    ("workspace/executeCommand", {"command": "dgemma.nothing"}, -32602),
    ("workspace/executeCommand", {"command": 5, "arguments": 7}, -32602),
    ("workspace/executeCommand", {"command": "dgemma.fill", "arguments": []}, -32602),
    ("workspace/executeCommand", {"command": "dgemma.fill", "arguments": [SECRET_WORD]}, -32602),
    ("workspace/executeCommand", {"command": "dgemma.fill", "arguments": [1, 2, 3]}, -32602),
    ("workspace/executeCommand", {"command": "dgemma.explainLast", "arguments": [1]}, -32602),
    ("textDocument/unheardOf", {"text": SECRET_WORD}, -32601),
    ("$/unheardOf", None, -32601),
]


@played
async def test_garbage_is_answered_and_not_logged(home: Home) -> None:
    async with editor(home.environment, **NO_ENGINE) as one:
        one.open(URI, "python", f"{SECRET_WORD} = 1\n")
        for method, params, code in GARBAGE:
            assert await code_of(one, method, params) == code, (method, params)
        one.notify("textDocument/didChange", {"textDocument": SECRET_WORD})
        one.notify("textDocument/didOpen", None)
        one.notify("$/cancelRequest", {"id": 99})
        one.notify("$/unheardOf", {"text": SECRET_WORD})
        one.notify("textDocument/unheardOf", {"text": SECRET_WORD})
        for body in (b"{", b"\xff\xfe", b"[]", b"5", b"null", b'"jsonrpc"', b'{"a": 1}', b'{"jsonrpc": "1.0"}'):
            one.write(body)
        await one.barrier()
        assert one.complaints == [-32700] * 2 + [-32600] * 5
        assert await one.request("textDocument/inlineCompletion", one.inline(URI, 0, 0)) == {"items": []}
    assert SECRET_WORD not in one.errors


DOCUMENTS = [
    ("file:///w/never-opened.py", "not-open"),
    ("file:///w/closed.py", "not-open"),
    ("http://[::1", "not-open"),
    ("", "not-open"),
    ("file:///w/.env", "secret-file"),
    ("file:///w/.ENV.local", "secret-file"),
    ("file:///C%3A/w/id_rsa", "secret-file"),
    ("file:///home/me/.ssh/config", "secret-file"),
    ("untitled:Untitled-1", "engine-down"),
    ("vscode-notebook-cell:/w/n.ipynb#W0s", "engine-down"),
    ("git:/w/a.py?%7B%22ref%22%3A%22%22%7D", "engine-down"),
    ("no uri at all", "engine-down"),
    ("file:///w/env.py", "engine-down"),
]


@played
async def test_documents_by_their_names(home: Home) -> None:
    async with editor(home.environment, **NO_ENGINE) as one:
        for uri, outcome in DOCUMENTS:
            if outcome != "not-open" or "closed" in uri:
                one.open(uri, "python", "x = \n")
            if "closed" in uri:
                one.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
            answer = await one.request("textDocument/inlineCompletion", one.inline(uri, 0, 4))
            assert (answer, await last(one)) == ({"items": []}, outcome), uri
        assert await code_of(one, "workspace/executeCommand", fill_at("file:///w/never-opened.py")) == -32602
        one.change("file:///w/never-opened.py", 2, {"text": "x"})
        one.notify("textDocument/didClose", {"textDocument": {"uri": "file:///w/never-opened.py"}})
        assert await one.request("textDocument/inlineCompletion", one.inline("untitled:Untitled-1", 0, 4)) is not None


def fill_at(uri: str) -> dict[str, object]:
    return {"command": "dgemma.fill", "arguments": [{"uri": uri, "position": {"line": 0, "character": 0}}]}


@played
async def test_impossible_positions(home: Home) -> None:
    async with editor(home.environment, **NO_ENGINE) as one:
        one.open(URI, "python", "x = '\U0001f40d'\n")
        for line, character in ((0, 6), (0, 999), (99, 0), (99, 99), (2**31 - 1, 2**31 - 1)):
            request = one.inline(URI, line, character)
            assert await one.request("textDocument/inlineCompletion", request) == {"items": []}
            assert await last(one) == "engine-down"
        for line, character in ((-1, 0), (2**40, 0)):
            request = one.inline(URI, line, character)
            assert await code_of(one, "textDocument/inlineCompletion", request) in (None, -32602)


@played
async def test_settings_from_everywhere(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "dgemma-lsp"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"trigger": "off", "fileTypo": 1}))
    environment = {**home.environment, "XDG_CONFIG_HOME": str(tmp_path)}

    def messages(one: Editor, word: str) -> int:
        return sum(
            name == "window/showMessage" and params["type"] == 2 and word in params["message"]
            for name, params in one.notifications
        )

    async def outcome(one: Editor) -> str:
        await one.barrier()
        await one.request("textDocument/inlineCompletion", one.inline(URI, 0, 1, invoked=False))
        return await last(one)

    async def until(one: Editor, found: str) -> None:
        """The server asks for its settings again; how soon it has them is its own affair."""
        for _ in range(200):
            if await outcome(one) == found:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(await outcome(one))

    async with editor(environment, **NO_ENGINE) as one:
        one.open(URI, "python", "x\n")
        assert await outcome(one) == "trigger-off"
        assert messages(one, "dgemma.fileTypo") == 1
        for settings, found in (
            ({"trigger": {"python": "manual"}}, "trigger-off"),
            ({"trigger": "auto", "optionTypo": 1}, "engine-down"),
            ({"trigger": "auto", "optionTypo": 1, "debounce": 0}, "engine-down"),
        ):
            one.settings = settings
            one.notify("workspace/didChangeConfiguration", {"settings": None})
            await until(one, found)
        assert (messages(one, "dgemma.optionTypo"), messages(one, "dgemma.fileTypo")) == (1, 1)
    async with editor(environment, {}, trigger="auto", triger=1, **NO_ENGINE) as one:
        one.open(URI, "python", "x\n")
        assert await outcome(one) == "engine-down"
        assert messages(one, "did you mean dgemma.trigger?") == 1
        # An editor that cannot be asked pushes its settings.
        one.notify("workspace/didChangeConfiguration", {"settings": {"dgemma": {"trigger": "off"}}})
        assert await outcome(one) == "trigger-off"
        one.notify("workspace/didChangeConfiguration", {"settings": [1]})
        assert await outcome(one) == "engine-down"


@played
async def test_completion_is_only_advertised_when_it_is_on(home: Home) -> None:
    position = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}}

    def registered(one: Editor) -> list[str]:
        asked = [params for name, params in one.notifications if name == "client/registerCapability"]
        return [item["method"] for params in asked for item in params["registrations"]]

    async def switched_on(one: Editor) -> None:
        one.notify("workspace/didChangeConfiguration", {"settings": {"dgemma": {"completion": True}}})

    async with editor(home.environment, {}, completion=True, **NO_ENGINE) as one:
        assert "completionProvider" in one.capabilities
        await switched_on(one)
        await one.barrier()
        assert registered(one) == []
    dynamic = {"textDocument": {"completion": {"dynamicRegistration": True}}}
    async with editor(home.environment, dynamic, **NO_ENGINE) as one:
        assert "completionProvider" not in one.capabilities
        assert await code_of(one, "textDocument/completion", position) == -32601
        for _ in range(2):
            await switched_on(one)
        await one.notification("client/registerCapability")
        await one.request("textDocument/completion", position)
        assert registered(one) == ["textDocument/completion"]
    async with editor(home.environment, {}, **NO_ENGINE) as one:
        await switched_on(one)
        await one.notification("window/showMessage", lambda params: "initializationOptions" in params["message"])


@played
async def test_the_code_action(home: Home) -> None:
    async with editor(home.environment, **NO_ENGINE) as one:
        one.open(URI, "python", "x = \n", version=7)

        def at(end: int, uri: str = URI, **context: object) -> dict[str, object]:
            start = {"line": 0, "character": 4}
            span = {"start": start, "end": {"line": 0, "character": end}}
            return {"textDocument": {"uri": uri}, "range": span, "context": {"diagnostics": [], **context}}

        [action] = await one.request("textDocument/codeAction", at(4))
        [argument] = action["command"]["arguments"]
        assert argument == {"uri": URI, "position": {"line": 0, "character": 4}, "version": 7}
        for kinds, offered in ((["refactor"], 1), (["refactor.rewrite.dgemma"], 1), (["quickfix"], 0), ([], 0)):
            assert len(await one.request("textDocument/codeAction", at(4, only=kinds))) == offered
        assert await one.request("textDocument/codeAction", at(3)) == []
        assert await one.request("textDocument/codeAction", at(4, "file:///w/other.py")) == []
        assert (await one.command("dgemma.fill", {**argument, "version": 6}))["outcome"] == "stale"
        answer = await one.command("dgemma.fill", argument)
        assert (answer["outcome"], answer["applied"]) == ("engine-down", False)
        assert "/nowhere/python" in answer["message"]


@played
async def test_without_an_engine_it_says_so_and_lives(home: Home) -> None:
    async with editor(home.environment, **NO_ENGINE) as one:
        status = await one.notification("dgemma/status", lambda params: params["state"] == "down")
        assert "/nowhere/python" in status["message"]
        assert (await one.command("dgemma.status"))["state"] == "down"
        assert (await one.command("dgemma.explainLast"))["outcome"] is None
        assert (await one.command("dgemma.restartEngine"))["state"] in ("starting", "down")
