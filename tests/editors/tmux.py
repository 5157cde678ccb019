"""Editors as a user has them: on a terminal that tmux draws, with keys that are pressed and a screen that is read."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.conftest import COMMAND, Home
from tests.editors.setup_doc import SETUPS

PATIENCE_S = 30.0
"""Seconds until a screen that does not show what it should is given up."""
AGAIN_S = 2.0
"""Seconds between two presses of keys that have not had their effect, since the editor or the server still starts."""
ESCAPE_S = 0.2
"""Seconds from which on Escape is a key by itself."""
EXAMPLE = Path(__file__).parents[2] / "examples" / "inventory.py"
LACKING = "in self.items.values()"
"""The end of a line of the example that lacks a closing bracket."""
LINE = EXAMPLE.read_text(encoding="utf-8").partition(f"{LACKING}\n")[0].count("\n") + 1
"""The number of that line."""
CLOSED = f"{LACKING})\n"
"""The end of that line when it is filled, as a screen or the file has it."""


class Desk:
    """A user's home with nothing but the set-up of docs/editors.md in it, and a file to edit."""

    def __init__(self, folder: Path, home: Home, editor: str) -> None:
        self.folder = folder
        # A folder of its own, so that no editor takes files beside it for a project.
        self.file = folder / "work" / EXAMPLE.name
        self.file.parent.mkdir()
        self.file.write_bytes(EXAMPLE.read_bytes())
        for name, text in SETUPS[editor].items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        xdg = {f"XDG_{kind}_HOME": str(folder / f".{kind.lower()}") for kind in ("CONFIG", "CACHE", "DATA")}
        path = f"{COMMAND.parent}{os.pathsep}{home.environment['PATH']}"
        self.environment = {**home.environment, **xdg, "HOME": str(folder), "PATH": path}

    @property
    def saved(self) -> str:
        """The file as it is on the disk."""
        return self.file.read_text(encoding="utf-8")


class Screen:
    """A terminal of 100 columns and 40 lines with an editor in it, for the length of a `with` block."""

    def __init__(self, command: Sequence[object], desk: Desk) -> None:
        # Not in the test's folder: a socket's path has to be short.
        self._place = tempfile.TemporaryDirectory(prefix="dg-")
        self._socket = f"{self._place.name}/tmux"
        # On the command line: a terminal's environment is tmux's, which has its own ideas.
        setting = [f"{name}={value}" for name, value in desk.environment.items()]
        words = ["env", "-i", *setting, "TERM=tmux-256color", *map(str, command)]
        self._tmux("-f", os.devnull, "new-session", "-d", "-x100", "-y40", *words)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], stderr=subprocess.DEVNULL)
        self._place.cleanup()

    def press(self, keys: str) -> None:
        """Keys by their tmux names with blanks between them: `M-f`, `C-x C-s`, `Escape u`."""
        for key in keys.split():
            self._tmux("send-keys", key)
            if key == "Escape":
                # A key that follows at once would be taken for one with Alt.
                time.sleep(ESCAPE_S)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def until(self, wanted: str, keys: str = "") -> None:
        """Until `wanted` is on the screen; `keys` are pressed for it, and again as long as it does not come."""
        end, pressed = time.monotonic() + PATIENCE_S, float("-inf")
        while wanted not in (shown := self._shown()):
            now = time.monotonic()
            assert now < end, f"no {wanted!r} on the screen:\n{shown}"
            if now - pressed >= AGAIN_S:
                self.press(keys)
                pressed = now
            time.sleep(0.05)

    def _shown(self) -> str:
        return "".join(f"{line.rstrip()}\n" for line in self._tmux("capture-pane", "-p").splitlines())

    def _tmux(self, *arguments: str) -> str:
        ran = subprocess.run(["tmux", "-S", self._socket, *arguments], capture_output=True)
        assert ran.returncode == 0, f"tmux {arguments[0]}: {ran.stderr.decode()}"
        return ran.stdout.decode()
