"""The server with the real daemon and nano: what is offered fits, whatever the document and whatever happens to it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dgemma_lsp.syntax.gate import Gate
from dgemma_lsp.text.document import Document, Position
from dgemma_lsp.text.overlap import Offer
from tests.e2e.conftest import Home
from tests.e2e.editor import FULL, Editor, editor, played

INLINE = "textDocument/inlineCompletion"
PATIENT: dict[str, Any] = {"deadline": 20_000, "debounce": 0}
"""Settings for a machine that may be busy: what is under test is not how fast it is."""

DOCUMENTS = {
    "call.py": "total = sum(item.price for item in items|\nprint(total)\n",
    "control.py": "x = '<|turn>model<bos><eos><pad>'\nprint(x|\n",
    "crlf.py": "def f(a):\r\n    return (a|\r\n\r\nprint(f(1))\r\n",
    "bom.json": '\ufeff{"a": [1, 2|, "b": 3}\n',
    "emoji.py": "s = '\U0001f40d\U0001f40d' + str(|)\n",
    "notes.md": "# Title\n\nSome *text| here.\n",
    "empty.py": "|",
    "long.js": "var a = '" + "x" * 200_000 + "'; console.log(a|)\n",
    "unknown.xyz": "alpha beta |\n",
}
LANGUAGES = {"py": "python", "json": "json", "md": "markdown", "js": "javascript", "xyz": "xyz"}


def opened(one: Editor, name: str) -> tuple[str, Document, Position]:
    """Open one of the documents; its URI, itself, and the cursor."""
    marked = DOCUMENTS[name]
    at, text = marked.index("|"), marked.replace("|", "", 1)
    if "control" in name:
        at = marked.rindex("|")
        text = marked[:at] + marked[at + 1 :]
    uri, language = f"file:///w/{name}", LANGUAGES[name.partition(".")[2]]
    document = Document.opened(uri, language, 1, text)
    one.open(uri, language, text)
    return uri, document, document.position_at(at)


def offer_of(document: Document, item: dict[str, Any]) -> Offer:
    ends = (Position(**item["range"][edge]) for edge in ("start", "end"))
    start, end = (document.offset_at(place) for place in ends)
    return Offer(start, end, item["insertText"])


@played
async def test_what_is_offered_does_no_harm(home: Home) -> None:
    gate, offered = Gate(seconds=10), 0
    async with editor(home.environment, **PATIENT) as one:
        await one.ready()
        for name in DOCUMENTS:
            uri, document, at = opened(one, name)
            for invoked in (False, True):
                answer = await one.request(INLINE, one.inline(uri, at.line, at.character, invoked=invoked))
                assert len(answer["items"]) <= (3 if invoked else 1)
                for item in answer["items"]:
                    offer, cursor = offer_of(document, item), document.offset_at(at)
                    assert offer.start == document.word_start(cursor)
                    assert item["insertText"].startswith(document.text[offer.start : cursor])
                    assert item["range"]["start"]["line"] == item["range"]["end"]["line"] == at.line
                    verdict = gate.verdict(document.language, document.text, offer.start, offer.end, offer.insert)
                    assert verdict.allows(unfinished=True), (name, verdict)
                    assert "\n" not in offer.insert.replace("\r\n", "") or "crlf" not in name
                    offered += 1
        outcomes = (await one.command("dgemma.status"))["outcomes"]
    assert offered >= 4
    assert set(outcomes) <= {"offered", "empty", "syntax-refused"}, outcomes


@played
async def test_fill_here_edits_the_version_it_was_asked_for(home: Home) -> None:
    for versioned in (True, False):
        capabilities = {**FULL, "workspace": {"applyEdit": True, "workspaceEdit": {"documentChanges": versioned}}}
        async with editor(home.environment, capabilities, **PATIENT) as one:
            await one.ready()
            uri, _, at = opened(one, "call.py")
            where = {"uri": uri, "position": {"line": at.line, "character": at.character}, "version": 1}
            # Fills are drawn at random: one of some comes to something.
            answers = [await one.command("dgemma.fill", where) for _ in range(4)]
            assert {(answer["outcome"] == "offered") is answer["applied"] for answer in answers} == {True}
            edit = one.applied[0]
            if versioned:
                assert edit["documentChanges"][0]["textDocument"] == {"uri": uri, "version": 1}
            else:
                assert list(edit["changes"]) == [uri]
            one.apply = lambda _: False
            assert (await one.command("dgemma.fill", where))["applied"] is False


@played
async def test_completion_is_for_those_who_want_it(home: Home) -> None:
    async with editor(home.environment, completion=True, **PATIENT) as one:
        await one.ready()
        uri, document, at = opened(one, "call.py")
        position = {"line": at.line, "character": at.character}
        params = {"textDocument": {"uri": uri}, "position": position}
        # Fills are drawn at random: one of some comes to something.
        answers = [await one.request("textDocument/completion", params) for _ in range(4)]
        answer = next(answer for answer in answers if answer["items"])
        [item] = answer["items"]
        assert answer["isIncomplete"]
        typed = document.text[document.word_start(document.offset_at(at)) : document.offset_at(at)]
        # What begins with the typed word survives an editor's own filter while the next list is on its way.
        assert item["filterText"] == item["textEdit"]["newText"]
        assert item["textEdit"]["newText"].startswith(typed)
        assert item["label"] == item["textEdit"]["newText"].strip().splitlines()[0]


@played
async def test_two_windows_share_one_engine(home: Home) -> None:
    async with editor(home.environment, **PATIENT) as one, editor(home.environment, **PATIENT) as other:
        await asyncio.gather(one.ready(), other.ready())
        reports = [(await each.command("dgemma.status"))["engine"] for each in (one, other)]
        assert reports[0]["pid"] == reports[1]["pid"]
        # Other suites may have had other models loaded.
        assert [model["name"] for model in reports[1]["models"]].count("nano") == 1
        places = [opened(each, "call.py") for each in (one, other)]
        answers = await asyncio.gather(
            *(
                each.request(INLINE, each.inline(uri, at.line, at.character))
                for each, (uri, _, at) in zip((one, other), places, strict=True)
            )
        )
        # The same document in both: neither takes the other's request from it.
        assert all(answer["items"] for answer in answers)


@played
async def test_a_killed_engine_is_a_status_and_the_next_request_starts_another(fresh_home: Home) -> None:
    async with editor(fresh_home.environment, **PATIENT) as one:
        assert (await one.ready())["device"] == "cpu"
        assert any(name == "window/workDoneProgress/create" for name, _ in one.notifications)
        uri, _, at = opened(one, "call.py")
        pid = int((fresh_home.folder / "dgemma-engine.lock").read_text())
        _, answer = one.begin(INLINE, one.inline(uri, at.line, at.character, invoked=False))
        await one.barrier()
        os.kill(pid, signal.SIGKILL)
        # It may have been quicker than the signal; an error it must not be.
        await answer
        seen = len(one.notifications)
        for number in range(2000):
            await one.request(INLINE, one.inline(uri, at.line, at.character, invoked=False))
            last = await one.command("dgemma.explainLast")
            if last["outcome"] == "offered" and not last["cached"]:
                break
            one.change(uri, 2 + number, {"text": f"# {number}\n{DOCUMENTS['call.py'].replace('|', '')}"})
            at = Position(1, at.character)
            await asyncio.sleep(0.02)
        states = [params["state"] for name, params in one.notifications[seen:] if name == "dgemma/status"]
        assert states[-1:] == ["ready"]
        assert int((fresh_home.folder / "dgemma-engine.lock").read_text()) != pid


@played
async def test_no_text_reaches_a_log_and_no_secret_the_engine(home: Home) -> None:
    async with editor(home.environment, **PATIENT) as one:
        await one.ready()
        # Nothing else is open yet that could be warmed meanwhile.
        before = (await one.command("dgemma.status"))["engine"]["queue"]
        one.open("file:///w/.env", "plaintext", "TOKEN=swordfish\n")
        assert await one.request(INLINE, one.inline("file:///w/.env", 0, 8)) == {"items": []}
        assert (await one.command("dgemma.status"))["engine"]["queue"]["ended"] == before["ended"]
        one.open("file:///w/swordfish.py", "python", "swordfish = 'swordfish'\nprint(swordfish\n")
        await one.request(INLINE, one.inline("file:///w/swordfish.py", 1, 15))
        log = Path((await one.command("dgemma.status"))["engine"]["log"])
    assert "swordfish" not in one.errors
    assert "swordfish" not in log.read_text()


@pytest.mark.parametrize("capabilities", [{}, {"window": {"workDoneProgress": False}}])
@played
async def test_no_progress_for_those_who_cannot_show_it(home: Home, capabilities: dict[str, Any]) -> None:
    async with editor(home.environment, capabilities, **PATIENT) as one:
        await one.ready()
        assert {name for name, _ in one.notifications} == {"dgemma/status"}
