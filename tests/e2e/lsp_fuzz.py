"""Random interleavings of edits, requests, cancels and deaths of the engine, against a slow and simple model.

`python -m tests.e2e.lsp_fuzz --rounds 500` plays many; the suite plays some. The engine is a fake one that fills a hole
with a word made of the text it was given: what is offered can only fit the version it was made for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.e2e.editor import Editor, LspError
from tests.fake_engine import interpreter

PIECES = [
    "x",
    "name",
    "(",
    ")",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\U0001f40d",
    "é",
    "e\u0301",
    "<|turn>",
    "",
    "\x0c",
    "\u2028",
]
LANGUAGES = ["plaintext", "python", "json", "markdown"]
CANCELLED = -32800
ACTS = ["edit", "ask", "cancel", "kill", "barrier", "answer", "pause"]
ODDS = [8, 8, 2, 0.2, 2, 5, 2]


def word_of(text: str) -> str:
    """What the engine writes for a text with the hole cut out."""
    return f"h{zlib.crc32(text.encode()):08x}"


@attrs.define
class Model:
    """A document as the protocol describes it, slowly: a list of characters, positions counted one by one."""

    text: str
    version: int = 1

    def positions(self) -> list[tuple[int, int]]:
        """The position in UTF-16 units of every place between two characters."""
        line, unit, found = 0, 0, []
        for index, character in enumerate(self.text):
            found.append((line, unit))
            pair = self.text[index : index + 2]
            if character == "\n" or (character == "\r" and pair != "\r\n"):
                line, unit = line + 1, 0
            elif character != "\r":
                unit += 1 + (ord(character) > 0xFFFF)
        return [*found, (line, unit)]

    def places(self) -> list[int]:
        """Offsets an editor can name: not between `\\r` and `\\n`."""
        return [at for at in range(len(self.text) + 1) if self.text[at - 1 : at + 1] != "\r\n" or at == 0]

    def offset(self, position: Mapping[str, int]) -> int:
        return self.positions().index((position["line"], position["character"]))

    def pinned(self, at: int) -> str:
        """What the engine is given: both sides of the hole, with `\\n` for every line end."""
        sides = (self.text[:at], self.text[at:])
        return "".join(side.replace("\r\n", "\n").replace("\r", "\n") for side in sides)


@attrs.define(eq=False)
class Asked:
    """A request under way: the document as it was, and where."""

    id: int
    answer: asyncio.Future[Any]
    model: Model
    at: int
    invoked: bool
    settled: bool = False
    """The server has read a later version: nothing may be offered any more."""


class Player:
    """Plays rounds on one server."""

    def __init__(self, one: Editor, home: Path, seed: int) -> None:
        self.one, self.home, self.draws = one, home, random.Random(seed)
        self.counts: dict[str, int] = {"asked": 0, "offered": 0, "empty": 0, "null": 0, "cancelled": 0, "kills": 0}

    async def round(self, number: int, steps: int = 12) -> None:
        draws = self.draws
        uri, language = f"file:///w/{number}", draws.choice(LANGUAGES)
        model = Model("".join(draws.choices(PIECES, k=draws.randrange(8))))
        accepted: set[str] = set()
        asked: list[Asked] = []
        self.one.open(uri, language, model.text, model.version)
        for _ in range(steps):
            act = draws.choices(ACTS, ODDS)[0]
            if act == "edit":
                model = self._edit(uri, model)
            elif act == "ask":
                asked.append(self._ask(uri, model))
            elif act == "cancel" and asked:
                self.one.notify("$/cancelRequest", {"id": draws.choice(asked).id})
            elif act == "kill":
                self._kill()
            elif act == "barrier":
                await self.one.barrier()
                for each in asked:
                    each.settled |= each.model.version < model.version and not each.answer.done()
            elif act == "answer" and asked:
                await asyncio.wait([asked[-1].answer], timeout=30)
            else:
                await asyncio.sleep(draws.random() * 0.01)
        last = self._ask(uri, model)
        for each in [*asked, last]:
            self._check(each, await self._answer(each), accepted)
        self.one.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def _edit(self, uri: str, model: Model) -> Model:
        draws = self.draws
        changes, text = [], model.text
        for _ in range(draws.randint(1, 3)):
            now = Model(text)
            start, end = sorted(draws.choices(now.places(), k=2)) if draws.random() < 0.6 else [len(text)] * 2
            positions, new = now.positions(), draws.choice(PIECES)
            span = {
                name: {"line": positions[at][0], "character": positions[at][1]}
                for name, at in (("start", start), ("end", end))
            }
            changes.append({"range": span, "text": new})
            text = text[:start] + new + text[end:]
        self.one.change(uri, model.version + 1, *changes)
        return Model(text, model.version + 1)

    def _ask(self, uri: str, model: Model) -> Asked:
        at, invoked = self.draws.choice(model.places()), self.draws.random() < 0.7
        line, character = model.positions()[at]
        params = self.one.inline(uri, line, character, invoked=invoked)
        self.counts["asked"] += 1
        return Asked(*self.one.begin("textDocument/inlineCompletion", params), model, at, invoked)

    def _kill(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.home / "dgemma-engine.lock").read_text()), signal.SIGKILL)
            self.counts["kills"] += 1

    async def _answer(self, asked: Asked) -> Any:
        """The answer; that there is just one the editor sees to."""
        try:
            return await asyncio.wait_for(asked.answer, 30)
        except LspError as error:
            if error.code == CANCELLED:
                return "cancelled"
            raise

    def _check(self, asked: Asked, answer: Any, accepted: set[str]) -> None:
        if answer is None or answer == "cancelled":
            self.counts["null" if answer is None else "cancelled"] += 1
            return
        items = answer["items"]
        self.counts["offered" if items else "empty"] += 1
        assert not (items and asked.settled), "an edit for a version that was known to be gone"
        for item in items:
            start, end = (asked.model.offset(item["range"][edge]) for edge in ("start", "end"))
            text = asked.model.text
            assert item["range"]["start"]["line"] == item["range"]["end"]["line"]
            assert start <= asked.at <= end
            assert item["insertText"].startswith(text[start : asked.at])
            after = text[:start] + item["insertText"] + text[end:]
            fresh = word_of(asked.model.pinned(asked.at)) in item["insertText"]
            assert fresh or (not asked.invoked and after in accepted), "an edit made for another text"
            accepted.add(after)


async def play(rounds: int, seed: int) -> dict[str, int]:
    """How the requests of that many rounds ended. Raises `AssertionError` for what must not be."""
    home = Path(tempfile.mkdtemp(prefix="dg-"))
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(home),
        "XDG_STATE_HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
    }
    one = Editor(environment)
    try:
        await one.start(enginePython=interpreter(home, "rambling"), debounce=1, deadline=1000)
        await one.ready()
        player = Player(one, home, seed)
        for number in range(rounds):
            await player.round(number)
        assert one.process.returncode is None
        assert await one.stop() == 0
        assert "bug:" not in one.errors, one.errors
        return player.counts
    finally:
        one.kill()
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((home / "dgemma-engine.lock").read_text()), signal.SIGKILL)
        shutil.rmtree(home)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.lsp_fuzz", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(asyncio.run(play(arguments.rounds, arguments.seed)))


if __name__ == "__main__":
    main()
