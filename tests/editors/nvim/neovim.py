"""A Neovim without a window, driven over msgpack-rpc on stdio."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack

PLUGIN = Path(__file__).parents[3] / "editors" / "nvim"
PATIENCE_S = 30.0
"""Seconds until something that does not come is given up."""

_SETUP = """\
local plugin, options = ...
vim.o.swapfile = false
said = {}
vim.notify = function(text) table.insert(said, text) end
vim.g.dgemma = options
vim.opt.runtimepath:prepend(plugin)
vim.cmd('runtime plugin/dgemma.lua')
"""


class Neovim:
    """One editor with the plugin and nothing else; `options` are what a user sets as `vim.g.dgemma`."""

    def __init__(self, editor: Path, folder: Path, environment: Mapping[str, str], options: Any = None) -> None:
        folders = {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CONFIG", "CACHE", "DATA", "STATE")}
        # The engine's log lies in the state folder that is given.
        folders["XDG_STATE_HOME"] = environment.get("XDG_STATE_HOME", folders["XDG_STATE_HOME"])
        self._process = subprocess.Popen(
            [editor, "--clean", "--embed", "--headless"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, **folders, "HOME": str(folder), "NVIM_LOG_FILE": os.devnull},
            cwd=folder,
        )
        self._answers: queue.Queue[Any] = queue.Queue()
        self._last = 0
        threading.Thread(target=self._read, daemon=True).start()
        self.lua(_SETUP, str(PLUGIN), options if options is not None else {})

    def __enter__(self) -> Neovim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """As a user ends it: its server is told."""
        if self._process.poll() is None:
            self._send(2, "nvim_command", ["qall!"])
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                stream.close()

    def call(self, method: str, *arguments: Any) -> Any:
        self._last += 1
        self._send(0, self._last, method, list(arguments))
        while True:
            kind, *message = self._answers.get(timeout=PATIENCE_S)
            if kind == 1 and message[0] == self._last:
                _, error, result = message
                assert error is None, f"{method}: {error[1]}"
                return result

    def lua(self, code: str, *arguments: Any) -> Any:
        """What a chunk of Lua returns, to which the arguments are `...`."""
        return self.call("nvim_exec_lua", code, list(arguments))

    def command(self, text: str) -> None:
        self.call("nvim_command", text)

    def press(self, keys: str) -> None:
        self.call("nvim_input", keys)

    def edit(self, path: Path, text: str | None = None) -> None:
        if text is not None:
            path.write_text(text, encoding="utf-8")
        self.command(f"edit {path}")

    def until(self, expression: str, *arguments: Any) -> Any:
        """The value of a Lua expression once it is neither false nor nil."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self.lua(f"return {expression}", *arguments)):
            assert time.monotonic() < end, f"{expression} stays {value}:\n{self.screen}\n{self.said}"
            time.sleep(0.02)
        return value

    def until_shown(self, text: str) -> None:
        self._until_screen(text, True)

    def until_hidden(self, text: str) -> None:
        self._until_screen(text, False)

    def attached(self) -> None:
        """Until the server is there for the buffer."""
        self.until("vim.lsp.get_clients({ name = 'dgemma', bufnr = 0 })[1] ~= nil")
        self.until("vim.lsp.get_clients({ name = 'dgemma', bufnr = 0 })[1].initialized")

    def settled(self) -> None:
        """Until what was pressed has had its effect."""
        end = time.monotonic() + PATIENCE_S
        while self.call("nvim_get_mode")["blocking"] and time.monotonic() < end:
            time.sleep(0.01)
        self.lua("vim.wait(20)")

    @property
    def lines(self) -> list[str]:
        return self.call("nvim_buf_get_lines", 0, 0, -1, False)

    @property
    def said(self) -> list[str]:
        """What was notified so far."""
        return self.lua("return said")

    @property
    def screen(self) -> str:
        """What a user sees, without what is blank at the ends of lines."""
        code = """
            vim.cmd.redraw()
            local rows = {}
            for row = 1, vim.o.lines do
              local cells = {}
              for column = 1, vim.o.columns do
                cells[column] = vim.fn.screenstring(row, column)
              end
              rows[row] = table.concat(cells)
            end
            return rows
        """
        return "".join(f"{row.rstrip()}\n" for row in self.lua(code))

    def _until_screen(self, text: str, wanted: bool) -> None:
        end = time.monotonic() + PATIENCE_S
        while (text in (screen := self.screen)) is not wanted:
            assert time.monotonic() < end, f"{'no ' if wanted else ''}{text!r} on the screen:\n{screen}\n{self.said}"
            time.sleep(0.02)

    def _send(self, *message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgpack.packb(message, unicode_errors="surrogateescape"))
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        unpacker = msgpack.Unpacker(
            raw=False, unicode_errors="surrogateescape", strict_map_key=False, ext_hook=lambda code, data: (code, data)
        )
        while piece := self._process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
            unpacker.feed(piece)
            for message in unpacker:
                self._answers.put(message)
