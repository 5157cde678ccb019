"""Modules of the engine that answer a question and end: run by its interpreter, heard line by line."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from dgemma_lsp.engine_client.errors import EngineError, EngineUnavailable
from dgemma_lsp.engine_client.start import INSTALL, find_interpreter

WORDS = 2000
"""Of the last ones that a tool said before it failed."""


def ask(python: str, module: str, arguments: Sequence[str] = (), limit_s: float | None = None) -> Iterator[Any]:
    """The JSON objects that `python -m module` prints, as they come.

    Raises `EngineError` for a last one of `{"event": "failed"}`, `EngineUnavailable` for an interpreter that has no
    such module or a tool that fails, or takes longer than `limit_s`. Closing the iterator ends the tool.
    """
    found = find_interpreter(python)
    with tempfile.TemporaryFile() as words:
        try:
            # In its own folder: a workspace may hold a torch.py.
            child = subprocess.Popen(
                [str(found), "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=words,
                cwd=found.parent,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise EngineUnavailable(f"cannot run {found}: {error.strerror or error}") from None
        assert child.stdout is not None
        killer = None if limit_s is None else _Killer(child, limit_s)
        try:
            for line in child.stdout:
                event = _object(line)
                if event.get("event") == "failed":
                    raise _failed(python, event)
                yield event
            status = child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
            child.stdout.close()
            child.wait()
            if killer is not None:
                killer.cancel()
        if status == 0:
            return
        if status == 130:
            raise KeyboardInterrupt
        if killer is not None and killer.came:
            raise EngineUnavailable(f"{module} took longer than {limit_s:.0f} s")
        words.seek(0)
        raise _ended(python, module, status, words.read()[-WORDS:].decode(errors="replace"))


class _Killer:
    """Ends a process that takes too long."""

    def __init__(self, child: subprocess.Popen[str], limit_s: float) -> None:
        import threading

        self.came = False
        self._child = child
        self._timer = threading.Timer(limit_s, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    def _kill(self) -> None:
        self.came = True
        self._child.kill()


def _object(line: str) -> dict[str, Any]:
    """What a line says; whatever else a package printed says nothing."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _failed(python: str, event: dict[str, Any]) -> Exception:
    code, message = str(event.get("code")), str(event.get("message"))
    if code == "engine-missing":
        return EngineUnavailable(f"{python} cannot do this: {message}; install it with: {INSTALL}")
    return EngineError(code, message)


def _ended(python: str, module: str, status: int, words: str) -> Exception:
    if "No module named" in words and "dgemma_engine" in words:
        return EngineUnavailable(f"{python} has no engine; install it there with: {INSTALL}")
    said = " | ".join(words.strip().splitlines()[-1:])
    return EngineUnavailable(f"{python} -m {module} ended with status {status}: {said}; see: dgemma-lsp doctor")
