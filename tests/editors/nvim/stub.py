"""A folder with a server that plays a script, and Neovims that use it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.editors.installed import find_neovim
from tests.editors.nvim.neovim import PATIENCE_S, Neovim

NEOVIM = find_neovim()
SERVER = Path(__file__).with_name("stub_server.py")


def item(text: str, line: int, start: int, end: int) -> dict[str, Any]:
    """An inline completion item; columns in UTF-16 units."""
    return {"insertText": text, "filterText": text, "range": place((line, start), (line, end))}


def place(start: tuple[int, int], end: tuple[int, int]) -> dict[str, Any]:
    """A range of two positions."""
    return {name: {"line": at[0], "character": at[1]} for name, at in (("start", start), ("end", end))}


def environment(**more: str) -> dict[str, str]:
    """Ours without what leads to a server, and with `more`."""
    plain = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "XDG_STATE_HOME")}
    return {**plain, **more}


class Stub:
    """A server that plays a script: `stub_server.py` in a folder of its own."""

    def __init__(self, folder: Path, **script: Any) -> None:
        self.folder = folder
        self.play(**script)

    def play(self, **script: Any) -> None:
        """Takes effect with the next message."""
        new = self.folder / "script.new"
        new.write_text(json.dumps(script), encoding="utf-8")
        new.replace(self.folder / "script.json")

    def heard(self, method: str) -> list[Any]:
        """The parameters of the messages of a method, of all servers that ran here."""
        path = self.folder / "heard.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [message.get("params") for message in map(json.loads, lines) if message.get("method") == method]

    def answer(self) -> Any:
        """What the editor answered to the one request of the server."""
        end = time.monotonic() + PATIENCE_S
        while True:
            lines = (self.folder / "heard.jsonl").read_text(encoding="utf-8").splitlines()
            answers = [message["result"] for message in map(json.loads, lines) if "result" in message]
            if answers:
                return answers[-1]
            assert time.monotonic() < end, "the editor has not answered"
            time.sleep(0.02)


class Desk:
    """A folder with a stub server, and Neovims that use it; all end with the desk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "stub").mkdir()
        self.stub = Stub(folder / "stub")
        self._open: list[Neovim] = []

    def neovim(self, **options: Any) -> Neovim:
        cmd = [sys.executable, str(SERVER), str(self.stub.folder)]
        self._open.append(Neovim(NEOVIM, self.folder, environment(), {"cmd": cmd, **options}))
        return self._open[-1]

    def editing(self, text: str, name: str = "a.py", **options: Any) -> Neovim:
        neovim = self.neovim(**options)
        neovim.edit(self.folder / name, text)
        neovim.attached()
        return neovim

    def close(self) -> None:
        for one in self._open:
            one.close()
