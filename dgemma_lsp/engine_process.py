"""The engine as a child process that speaks wire frames over its stdin and stdout."""

from __future__ import annotations

import collections
import contextlib
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

from dgemma_engine import wire
from dgemma_lsp.errors import UserError

INSTALL = "pip install 'dgemma-lsp[engine]'"

STOP_TIMEOUT = 2.0
"""Seconds an engine gets to end by itself."""

STDERR_LINES = 50
"""Lines of the engine's stderr that are kept for messages."""

_POLL = 0.5
"""Seconds between two looks at whether the child lives, should its pipe stay open without it."""


class EngineUnavailable(UserError):
    """No engine could be started, or it went away; the message says what to install or where to look."""


class EngineProcess:
    """A running engine. Threads read the child's pipes, so that sending and receiving always end."""

    def __init__(self, python: str) -> None:
        self.python = python
        self._send_lock = threading.Lock()
        self._inbox: queue.SimpleQueue[wire.Message | Exception | None] = queue.SimpleQueue()
        self._stderr: collections.deque[str] = collections.deque(maxlen=STDERR_LINES)
        found = find_interpreter(python)
        try:
            self._child = subprocess.Popen(
                [str(found), "-m", "dgemma_engine"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=found.parent,
            )
        except OSError as error:
            raise EngineUnavailable(f"cannot run {found}: {error.strerror or error}") from None
        stdin, stdout, stderr = self._child.stdin, self._child.stdout, self._child.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._stdin = stdin
        self._frames = threading.Thread(target=self._read_frames, args=(stdout,), daemon=True)
        self._words = threading.Thread(target=self._read_stderr, args=(stderr,), daemon=True)
        self._frames.start()
        self._words.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, message: wire.Message) -> None:
        """Sends a message, from any thread. Raises `WireError`; a dead child is `receive`'s to explain."""
        with contextlib.suppress(OSError, ValueError), self._send_lock:
            wire.write_frame(self._stdin, message)

    def receive(self, timeout: float | None = None) -> wire.Message:
        """The next message. Raises `EngineUnavailable` when none will come, or none in `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            # Looked at first, so that what a dying child has sent is still received.
            dead = self._child.poll() is not None
            try:
                received = self._inbox.get(timeout=_POLL)
            except queue.Empty:
                if dead:
                    raise self._death() from None
                if end is not None and time.monotonic() > end:
                    late = f"the engine did not answer within {timeout:.0f} s"
                    raise EngineUnavailable(f"{late}{self._last_words()}") from None
                continue
            if received is None:
                raise self._death()
            if isinstance(received, Exception):
                raise EngineUnavailable(
                    f"{self.python} -m dgemma_engine sent something that is no frame: {received}"
                    f"{self._last_words()}; see: dgemma-lsp doctor"
                )
            return received

    def close(self) -> None:
        """Ends the child: by asking, and if it does not listen by killing it."""
        self.send(wire.Shutdown())
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._child.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for thread in (self._frames, self._words):
            # A grandchild may hold the pipes open; the readers are daemons and end with us.
            thread.join(STOP_TIMEOUT)

    def _read_frames(self, stream: IO[bytes]) -> None:
        with stream:
            try:
                while (message := wire.read_frame(stream)) is not None:
                    self._inbox.put(message)
            except (wire.WireError, OSError) as error:
                self._inbox.put(error)
        self._inbox.put(None)

    def _read_stderr(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._stderr.append(line.decode(errors="replace").rstrip())

    def _death(self) -> EngineUnavailable:
        status: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._child.wait(STOP_TIMEOUT)
        # What it said last may still be in the pipe.
        self._words.join(STOP_TIMEOUT)
        if any("No module named" in line and "dgemma_engine" in line for line in self._stderr):
            return EngineUnavailable(f"{self.python} has no engine; install it there with: {INSTALL}")
        how = "closed its pipe" if status is None else _ending(status)
        return EngineUnavailable(
            f"the engine ({self.python} -m dgemma_engine) {how}{self._last_words()}; see: dgemma-lsp doctor"
        )

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._stderr if line.strip()]
        return f"; its last words: {' | '.join(lines[-3:])}" if lines else ""


def find_interpreter(python: str) -> Path:
    """Where an interpreter lies. Raises `EngineUnavailable` when it does not or cannot be run.

    Run it in its own folder: `-m` and `-c` import from the working directory first, and a workspace may hold
    a torch.py.
    """
    found = shutil.which(python)
    if found is None:
        raise EngineUnavailable(f"the engine's interpreter {python} does not exist or cannot be run; name another one")
    return Path(found).absolute()


def _ending(status: int) -> str:
    if status == -9:
        return "was killed (by the system when memory ran out, most often)"
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
