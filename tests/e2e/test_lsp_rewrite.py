"""Rewriting a selection through the server, against an engine that plays a script by the real protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sysconfig
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dgemma_lsp.text.document import Document, Encoding, Position
from tests.chat import write_chat_checkpoint
from tests.e2e.conftest import Home, private_home
from tests.e2e.editor import Editor, LspError, editor, played
from tests.fake_engine import interpreter

URI = "file:///w/a.py"
TEXT = "def f(a):\n    return a\n\n\nx = f(1)\ny = f(2)\n"
STDLIB = Path(sysconfig.get_path("stdlib"))


@asynccontextmanager
async def scripted(
    folder: Path,
    *candidates: Sequence[str],
    on_the_way: Sequence[str] = ("noise",),
    delay: float = 0.0,
    capabilities: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Editor]:
    """An editor and its server, whose engine answers with these candidates."""
    script = folder / "script.json"
    script.write_text(json.dumps({"candidates": candidates, "drafts": on_the_way, "delay": delay}), encoding="utf-8")
    with contextlib.contextmanager(private_home)() as home:
        environment = {**home.environment, "DGEMMA_SCRIPT": str(script)}
        options = {"enginePython": interpreter(folder, "scripted"), "model": "instructed", "asks": True, **options}
        async with editor(environment, capabilities, **options) as one:
            await one.ready()
            one.open(URI, "python", TEXT)
            yield one


def asked(first: tuple[int, int], last: tuple[int, int], instruction: str = "do", **more: Any) -> dict[str, Any]:
    start, end = ({"line": line, "character": character} for line, character in (first, last))
    return {"textDocument": {"uri": URI}, "range": {"start": start, "end": end}, "instruction": instruction, **more}


def edited(text: str, edits: Sequence[dict[str, Any]]) -> str:
    document = Document.opened(URI, "python", 1, text, Encoding.UTF_16)
    for edit in sorted(edits, key=lambda edit: (edit["range"]["start"]["line"], edit["range"]["start"]["character"]))[
        ::-1
    ]:
        start, end = (document.offset_at(Position(**edit["range"][end])) for end in ("start", "end"))
        text = text[:start] + edit["newText"] + text[end:]
    return text


@played
async def test_a_rewrite_is_applied_in_one_versioned_edit(tmp_path: Path) -> None:
    async with scripted(tmp_path, ["def f(a: int) -> int:\n    return a\n"]) as one:
        answer = await one.command("dgemma.rewrite", asked((0, 0), (2, 0), "add types"))
        assert (answer["outcome"], answer["applied"], answer["passes"]) == ("applied", True, 2)
        [edit] = one.applied
        [change] = edit["documentChanges"]
        assert change["textDocument"] == {"uri": URI, "version": 1}
        assert edited(TEXT, change["edits"]) == TEXT.replace("f(a):", "f(a: int) -> int:")
        # Word by word, and nothing of what stays.
        assert all(len(one["newText"]) < 20 for one in change["edits"])
        assert [hunk["range"]["start"]["line"] for hunk in answer["hunks"]] == [0]


@played
async def test_hunks_of_a_preview_are_applied_by_number(tmp_path: Path) -> None:
    async with scripted(tmp_path, ["x = g(1)\ny = f(2)\n"], ["x = g(1)\n\ny = g(2)\n"]) as one:
        answer = await one.command("dgemma.rewrite", asked((4, 0), (6, 0), apply=False))
        assert (answer["outcome"], answer["applied"], len(answer["hunks"])) == ("previewed", False, 1)
        assert one.applied == []
        preview = (await one.command("dgemma.rewrite", asked((4, 0), (6, 0), apply=False)))["preview"]
        one.change(
            URI, 2, {"range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}, "text": "#\n"}
        )
        answer = await one.command("dgemma.rewrite", {"preview": preview, "hunks": [0]})
        assert answer["applied"] is True
        [change] = one.applied[0]["documentChanges"]
        assert change["textDocument"]["version"] == 2
        assert edited("#\n" + TEXT, change["edits"]) in (
            "#\n" + TEXT.replace("x = f(1)\n", "x = g(1)\n\n"),
            "#\n" + TEXT.replace("x = f(1)\ny = f(2)\n", "x = g(1)\n\ny = g(2)\n"),
        )
        with pytest.raises(LspError):
            await one.command("dgemma.rewrite", {"preview": preview, "hunks": [7]})
        assert (await one.command("dgemma.rewrite", {"preview": 99}))["outcome"] == "stale"


@played
async def test_drafts_stream_to_who_asks_for_them(tmp_path: Path) -> None:
    told = ["░░░░", "x = ░", "x = g"]
    for wanted, heard in ((False, []), (True, told), ("rewrite", told), ("other", [])):
        async with scripted(tmp_path, ["x = g(1)\n"], on_the_way=told, drafts=wanted) as one:
            await one.command("dgemma.rewrite", asked((4, 0), (5, 0)))
            sent = [params for name, params in one.notifications if name == "dgemma/draft"]
            assert [draft["text"] for draft in sent] == heard
            assert [draft["pass"] for draft in sent] == [*range(1, len(heard) + 1)]
            assert len({draft["id"] for draft in sent}) == bool(heard)
            # Of ghost text they are for whoever wants all of them.
            one.notifications.clear()
            await one.request("textDocument/inlineCompletion", one.inline(URI, 0, 8))
            drafted = [params["text"] for name, params in one.notifications if name == "dgemma/draft"]
            assert drafted == (told if wanted is True else [])


@played
async def test_a_document_that_moves_and_one_that_is_touched(tmp_path: Path) -> None:
    async with scripted(tmp_path, ["x = g(1)\n"], delay=0.3) as one:
        begun = one.begin(
            "workspace/executeCommand", {"command": "dgemma.rewrite", "arguments": [asked((4, 0), (5, 0))]}
        )
        await one.barrier()
        start = {"line": 0, "character": 0}
        one.change(URI, 2, {"range": {"start": start, "end": start}, "text": "# above\n"})
        assert (await begun[1])["outcome"] == "applied"
        [change] = one.applied[0]["documentChanges"]
        assert change["textDocument"]["version"] == 2
        assert edited("# above\n" + TEXT, change["edits"]) == "# above\n" + TEXT.replace("x = f(1)", "x = g(1)")
        begun = one.begin(
            "workspace/executeCommand", {"command": "dgemma.rewrite", "arguments": [asked((5, 0), (6, 0))]}
        )
        await one.barrier()
        inside = {"line": 5, "character": 1}
        one.change(URI, 3, {"range": {"start": inside, "end": inside}, "text": "z"})
        assert (await begun[1])["outcome"] == "stale"
        assert len(one.applied) == 1


@played
async def test_an_editor_that_refuses_the_edit(tmp_path: Path) -> None:
    async with scripted(tmp_path, ["x = g(1)\n"]) as one:
        one.apply = lambda _: False
        answer = await one.command("dgemma.rewrite", asked((4, 0), (5, 0)))
        assert (answer["outcome"], answer["applied"]) == ("stale", False)


@played
async def test_progress_comes_late_and_cancels(tmp_path: Path) -> None:
    async with scripted(tmp_path, ["x = g(1)\n"], on_the_way=["░"] * 50, delay=0.2) as one:
        _, answer = one.begin(
            "workspace/executeCommand", {"command": "dgemma.rewrite", "arguments": [asked((4, 0), (5, 0))]}
        )
        begin = await one.notification("$/progress", lambda params: params["value"]["kind"] == "begin")
        assert begin["value"]["cancellable"] is True
        one.notify("window/workDoneProgress/cancel", {"token": begin["token"]})
        assert (await asyncio.wait_for(answer, 10))["outcome"] == "cancelled"
        await one.notification("$/progress", lambda params: params["value"]["kind"] == "end")
        id_, cancelled = one.begin(
            "workspace/executeCommand", {"command": "dgemma.rewrite", "arguments": [asked((4, 0), (5, 0))]}
        )
        await one.barrier()
        one.notify("$/cancelRequest", {"id": id_})
        with pytest.raises(LspError):
            await cancelled
        assert (await one.command("dgemma.explainLast"))["outcome"] == "cancelled"


BAD = [
    None,
    [],
    {},
    {"textDocument": {"uri": URI}},
    {**asked((0, 0), (1, 0)), "range": {"start": 1}},
    {**asked((0, 0), (1, 0)), "instruction": 3},
    {**asked((0, 0), (1, 0)), "apply": "yes"},
    {**asked((0, 0), (1, 0)), "problems": [1]},
    {**asked((0, 0), (1, 0)), "textDocument": {"uri": "file:///w/other.py"}},
    {"preview": "1"},
    {"preview": 1, "hunks": "all"},
]


@played
async def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    async with scripted(tmp_path, ["x = g(1)\n"]) as one:
        for argument in BAD:
            with pytest.raises(LspError) as error:
                await one.command("dgemma.rewrite", argument)
            assert error.value.code == -32602
        for first, last, outcome in [
            ((0, 3), (0, 3), "nothing-selected"),
            ((99, 0), (120, 4), "nothing-selected"),
            ((5, 0), (4, 0), "applied"),
            ((4, 0), (99, 0), "applied"),
        ]:
            assert (await one.command("dgemma.rewrite", asked(first, last)))["outcome"] == outcome
        assert (await one.command("dgemma.rewrite", asked((4, 0), (5, 0), " ")))["outcome"] == "no-instruction"
        stale = {**asked((4, 0), (5, 0)), "textDocument": {"uri": URI, "version": 7}}
        assert (await one.command("dgemma.rewrite", stale))["outcome"] == "stale"


@played
async def test_nothing_outside_of_random_selections_changes(tmp_path: Path) -> None:
    text = (STDLIB / "textwrap.py").read_text(encoding="utf-8").replace("indent", "inde🙂nt").replace("\n", "\r\n")
    lines = text.split("\r\n")
    draws = random.Random(11)
    async with scripted(tmp_path, ["def g():\n    pass\n"]) as one:
        uri = "untitled:notes"
        one.open(uri, "plaintext", text)
        document = Document.opened(uri, "plaintext", 1, text, Encoding.UTF_16)
        for _ in range(25):
            first, last = sorted(draws.randrange(len(lines)) for _ in range(2))
            last = min(last, first + 30)
            places = [(first, draws.randrange(len(lines[first]) + 2)), (last, draws.randrange(len(lines[last]) + 2))]
            from_, to = sorted(places)
            argument = {**asked(from_, to), "textDocument": {"uri": uri, "version": 1}}
            start, end = (document.offset_at(Position(*place)) for place in (from_, to))
            answer = await one.command("dgemma.rewrite", argument)
            if not answer["applied"]:
                continue
            [change] = one.applied[-1]["documentChanges"]
            for edit in change["edits"]:
                spots = [document.offset_at(Position(**edit["range"][name])) for name in ("start", "end")]
                assert start <= spots[0] <= spots[1] <= end


@played
async def test_code_actions(tmp_path: Path) -> None:
    async with scripted(tmp_path, ["x = g(1)\n"]) as one:
        selection = asked((4, 0), (5, 0))["range"]
        problem = {"range": selection, "message": "f is\nunknown", "source": "lint"}
        params = {"textDocument": {"uri": URI}, "range": selection, "context": {"diagnostics": [problem]}}
        actions = await one.request("textDocument/codeAction", params)
        titles = [action["title"] for action in actions]
        assert titles == [
            "DGemma: Rewrite selection…",
            "DGemma: Simplify",
            "DGemma: Add types",
            "DGemma: Add docstring",
            "DGemma: Handle errors",
            "DGemma: Translate comments",
            "DGemma: Fix the diagnostics here",
        ]
        assert actions[0]["command"]["command"] == "dgemma.rewriteSelection"
        [argument] = actions[-1]["command"]["arguments"]
        assert argument["problems"] == ["line 5: lint: f is unknown"]
        assert (await one.command(actions[-1]["command"]["command"], argument))["applied"] is True
        only = {**params, "context": {"diagnostics": [], "only": ["refactor.rewrite.dgemma.simplify"]}}
        assert [action["title"] for action in await one.request("textDocument/codeAction", only)] == [
            "DGemma: Simplify"
        ]
    async with scripted(tmp_path, ["x = g(1)\n"], model="nano") as one:
        [action] = await one.request("textDocument/codeAction", params)
        assert "nano follows no instructions" in action["disabled"]["reason"]


@played
async def test_a_chat_checkpoint_rewrites(tmp_path: Path) -> None:
    write_chat_checkpoint(tmp_path)
    with contextlib.contextmanager(private_home)() as home:
        async with editor(home.environment, model=str(tmp_path), passes=3, drafts=True) as one:
            status = await one.ready()
            assert status["instructed"] is True
            one.open(URI, "plaintext", TEXT)
            answer = await one.command("dgemma.rewrite", asked((4, 0), (5, 0), "say it in other words"))
            # It was never trained: what it writes is noise, and noise that changes something is applied.
            assert answer["outcome"] in ("applied", "unchanged", "empty")
            assert answer["applied"] is (len(one.applied) == 1)
            assert [name for name, _ in one.notifications if name == "dgemma/draft"]
            for edit in one.applied:
                [change] = edit["documentChanges"]
                result = edited(TEXT, change["edits"])
                assert result.startswith(TEXT[: TEXT.index("x = f(1)")])
                assert result.endswith("y = f(2)\n")


@played
async def test_nano_says_what_it_takes(home: Home) -> None:
    async with editor(home.environment) as one:
        await one.ready()
        one.open(URI, "python", TEXT)
        answer = await one.command("dgemma.rewrite", asked((4, 0), (5, 0), "simplify"))
        assert (answer["outcome"], answer["applied"], answer["hunks"]) == ("no-instructions", False, [])
        assert "google/diffusiongemma-26B-A4B-it" in answer["message"]
