"""A command on a terminal of its own: what it shows, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import pty
import select
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """Runs a command on a terminal of 24 lines and 100 columns for the length of a `with` block."""

    def __init__(
        self, command: Sequence[object], folder: Path, environment: Mapping[str, str], term: str = "xterm-256color"
    ) -> None:
        words = [os.fspath(word) if isinstance(word, Path) else str(word) for word in command]
        environment = {**environment, "TERM": term, "COLUMNS": "100", "LINES": "24"}
        self.shown = ""
        self._pid, self._fd = pty.fork()
        if not self._pid:
            os.chdir(folder)
            os.execve(words[0], words, environment)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        if self._pid:
            os.kill(self._pid, 9)
            os.waitpid(self._pid, 0)

    def read_until(self, text: str) -> None:
        """Until the command has shown `text`."""
        while text not in self.shown:
            assert self._read(), f"ended without {text!r}: {self.shown[-500:]!r}"

    def press_ctrl_c(self) -> None:
        os.write(self._fd, b"\x03")

    def end(self) -> int:
        """The exit code, when all that was shown is read."""
        while self._read():
            pass
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], 60)
        assert ready, f"nothing more after: {self.shown[-500:]!r}"
        try:
            piece = os.read(self._fd, 65536)
        except OSError:
            # Linux's way to say that the other end is closed.
            return False
        self.shown += piece.decode(errors="replace")
        return bool(piece)
