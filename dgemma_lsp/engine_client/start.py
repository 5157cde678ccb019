"""Starting the engine's daemon. It belongs to nobody afterwards: it outlives who started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from dgemma_lsp.engine_client.errors import EngineUnavailable

INSTALL = "pip install 'dgemma-lsp[engine]'"

START_TIMEOUT = 60.0
"""Seconds for a daemon to say that it is ready. It needs no torch for that; a machine this slow is stuck."""

END_TIMEOUT = 2.0
"""Seconds for a process that closed its stdout to end, and for the rest of what it said to arrive."""

_WINDOWS = os.name == "nt"
_DETACHED = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


def find_interpreter(python: str) -> Path:
    """Where an interpreter lies. Raises `EngineUnavailable` when it does not or cannot be run.

    Run it in its own folder: `-m` and `-c` import from the working directory first, and a workspace may hold
    a torch.py.
    """
    found = shutil.which(python)
    if found is None:
        raise EngineUnavailable(f"the engine's interpreter {python} does not exist or cannot be run; name another one")
    return Path(found).absolute()


def start_daemon(python: str, arguments: Sequence[str] = ()) -> int | None:
    """Starts a daemon and waits until it takes clients: its process id, or None when another one lives.

    Blocks for `START_TIMEOUT` at most. Raises `EngineUnavailable` with the last words of a daemon that did not start.
    """
    found = find_interpreter(python)
    stay = ["--foreground"] if _WINDOWS else []
    try:
        child = subprocess.Popen(
            [str(found), "-m", "dgemma_engine", *stay, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=found.parent,
            # Out of our process tree, and out of reach of a Ctrl-C that is meant for us.
            start_new_session=not _WINDOWS,
            creationflags=_DETACHED,
        )
    except OSError as error:
        raise EngineUnavailable(f"cannot run {found}: {error.strerror or error}") from None
    assert child.stdout is not None
    assert child.stderr is not None
    answer, words = _Lines(child.stdout), _Lines(child.stderr)
    answer.begun.wait(START_TIMEOUT)
    line = answer.lines[0] if answer.lines else ""
    word, _, number = line.partition(" ")
    if word == "held":
        _reap(child)
        return None
    if word == "ready" and number.isdecimal():
        _reap(child)
        return int(number)
    raise _failure(python, child, line, words)


class _Lines:
    """The last lines a process says on a pipe, read by a thread of its own, so that waiting for them always ends."""

    KEPT = 50

    def __init__(self, stream: IO[bytes]) -> None:
        self.lines: list[str] = []
        self.begun, self.ended = threading.Event(), threading.Event()
        self._stream = stream
        # A grandchild may hold the pipe open for ever: the thread must not keep this process from ending.
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self.lines = [*self.lines[1 - self.KEPT :], line.decode(errors="replace").rstrip()]
                self.begun.set()
        self.begun.set()
        self.ended.set()


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Collects a process that is about to end; one that goes on, as on Windows, is the daemon itself."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0 if _WINDOWS else END_TIMEOUT)


def _failure(python: str, child: subprocess.Popen[bytes], line: str, words: _Lines) -> EngineUnavailable:
    deadline = time.monotonic() + END_TIMEOUT
    status: int | None = None
    with contextlib.suppress(subprocess.TimeoutExpired):
        status = child.wait(END_TIMEOUT)
    if status is None:
        _kill(child)
    words.ended.wait(max(0.0, deadline - time.monotonic()))
    said = [word.strip() for word in words.lines if word.strip()]
    if any("No module named" in word and "dgemma_engine" in word for word in said):
        return EngineUnavailable(f"{python} has no engine; install it there with: {INSTALL}")
    if line:
        how = f"said {line[:80]!r} instead of being ready"
    elif status is None:
        how = f"did not start within {START_TIMEOUT:.0f} s"
    else:
        how = _ending(status)
    last = f"; its last words: {' | '.join(said[-3:])}" if said else ""
    return EngineUnavailable(f"the engine ({python} -m dgemma_engine) {how}{last}; see: dgemma-lsp doctor")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """A wrapper's children as well: they share its session."""
    if _WINDOWS:
        child.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _ending(status: int) -> str:
    if status == -9:
        return "was killed (by the system when memory ran out, most often)"
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
