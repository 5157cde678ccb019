"""docs/protocol.md says what the server does: its tables are the code's, its conversation is played."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from dgemma_lsp.server.outcomes import OUTCOMES
from tests.e2e.conftest import Home
from tests.e2e.editor import TIMEOUT, Editor, LspError, played

PATH = Path(__file__).parents[2] / "docs" / "protocol.md"
ANY = "…"


def conversation() -> list[tuple[str, dict[str, Any]]]:
    """All of the page's conversations, which are one: who speaks, and what."""
    text = PATH.read_text(encoding="utf-8")
    blocks = re.findall(r"^```conversation\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [(line[:2], json.loads(re.sub(r'(?<!")…(?!")', '"…"', line[3:]))) for line in lines]


def test_the_outcomes_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|$", PATH.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: meaning for name, meaning in rows if name in OUTCOMES} == OUTCOMES


@played
async def test_the_conversation_holds(home: Home) -> None:
    one = Editor(home.environment)
    await one.spawn()
    answers: dict[int, asyncio.Future[Any]] = {}
    heard: list[dict[str, Any]] = []
    for who, said in conversation():
        if who == "->":
            if "id" in said:
                # The page counts as the editor does.
                number, answers[number] = one.begin(said["method"], said["params"])
                assert number == said["id"]
            else:
                one.notify(said["method"], said["params"])
        elif "method" in said:
            params = await one.notification(said["method"], lambda params, said=said: fits(said["params"], params))
            heard.append({"method": said["method"], "params": params})
        else:
            try:
                given = {"result": await asyncio.wait_for(answers[said["id"]], TIMEOUT)}
            except LspError as error:
                given = {"error": {"code": error.code}}
            expected = {name: value for name, value in said.items() if name != "id"}
            assert fits(expected, given), (expected, given)
    one.notify("exit", None)
    assert await one.ended() == 0
    assert len(heard) == 2


def fits(expected: Any, given: Any) -> bool:
    """Whether something is as the page says; it may say less of an object than there is."""
    if expected == ANY:
        return True
    if isinstance(expected, dict):
        return isinstance(given, dict) and all(name in given and fits(expected[name], given[name]) for name in expected)
    if expected == [ANY]:
        return isinstance(given, list)
    if isinstance(expected, list):
        return isinstance(given, list) and len(expected) == len(given) and all(map(fits, expected, given))
    return expected == given
