"""Requests that end early, with an engine that never answers; and the command that measures the one that does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, Home
from tests.e2e.editor import Editor, LspError, editor, played
from tests.fake_engine import interpreter

INLINE = "textDocument/inlineCompletion"
URI = "file:///w/a.py"


@asynccontextmanager
async def waiting(home: Home, folder: Path) -> AsyncIterator[Editor]:
    """An editor whose engine takes requests and keeps them."""
    python = interpreter(folder, "waits")
    async with editor(home.environment, enginePython=python, debounce=0) as one:
        await one.ready()
        one.open(URI, "python", "x = f()\n")
        yield one


@played
async def test_the_older_request_is_answered_at_once_and_the_newer_can_be_cancelled(
    fresh_home: Home, tmp_path: Path
) -> None:
    async with waiting(fresh_home, tmp_path) as one:
        _, older = one.begin(INLINE, one.inline(URI, 0, 6))
        number, newer = one.begin(INLINE, one.inline(URI, 0, 7))
        assert await older is None
        one.notify("$/cancelRequest", {"id": number})
        with pytest.raises(LspError) as caught:
            await newer
        assert caught.value.code == -32800
        assert (await one.command("dgemma.status"))["outcomes"] == {"superseded": 1, "cancelled": 1}


@played
async def test_a_cancelled_command_edits_nothing(fresh_home: Home, tmp_path: Path) -> None:
    async with waiting(fresh_home, tmp_path) as one:
        where = {"uri": URI, "position": {"line": 0, "character": 6}}
        number, answer = one.begin("workspace/executeCommand", {"command": "dgemma.fill", "arguments": [where]})
        one.notify("$/cancelRequest", {"id": number})
        with pytest.raises(LspError) as caught:
            await answer
        assert caught.value.code == -32800
        # It is over, and not only answered: its outcome is there.
        assert (await one.command("dgemma.explainLast"))["outcome"] == "cancelled"
        assert one.applied == []


@pytest.mark.parametrize("how", ["close", "shutdown"])
@played
async def test_nothing_is_left_waiting(fresh_home: Home, tmp_path: Path, how: str) -> None:
    async with waiting(fresh_home, tmp_path) as one:
        _, answer = one.begin(INLINE, one.inline(URI, 0, 6))
        if how == "close":
            one.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        else:
            assert await one.stop() == 0
        assert await asyncio.wait_for(answer, 30) is None


def test_the_bench(cli: Cli) -> None:
    file = cli.file("a.py", "total = sum(item.price for item in items)\nprint(total)\n" * 5)
    ran = cli("bench", "latency", "--rounds", "2", "--file", file, "--out", "out", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["answer"]["n"], sum(found["outcomes"].values())) == (2, 2)
    assert (cli.folder / "out" / "latency.svg").read_text().startswith("<svg")
    assert "| start to `initialize` |" in (cli.folder / "out" / "latency.md").read_text()
