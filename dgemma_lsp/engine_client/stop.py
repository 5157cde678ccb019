"""Ending a daemon that does not listen, and only ever a daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dgemma_engine import wire
from dgemma_lsp.engine_client.dial import daemon_pid, pid_words
from dgemma_lsp.engine_client.errors import EngineUnavailable

KILL_TIMEOUT = 10.0
"""Seconds for a killed process to be gone."""


def kill_daemon(endpoint: wire.Endpoint) -> int | None:
    """Kills the daemon and clears away what it left; its process id, or None when none lives.

    Raises `EngineUnavailable` when that process is no daemon or cannot be ended.
    """
    if _cleared(endpoint):
        return None
    pid = daemon_pid(endpoint)
    if pid is None:
        raise EngineUnavailable(f"{endpoint.lock} does not say who holds it; end that process yourself")
    command = command_line(pid)
    if command is None:
        raise EngineUnavailable(f"what process {pid} is cannot be told; see whether it is an engine, and end it")
    if "dgemma_engine" not in command:
        raise EngineUnavailable(f"process {pid} is no engine ({command[:60]!r}); remove {endpoint.lock}")
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except OSError as error:
        raise EngineUnavailable(f"cannot end process {pid}: {error.strerror or error}") from None
    limit = time.monotonic() + KILL_TIMEOUT
    gone = wait_for_end(pid, KILL_TIMEOUT)
    # Its threads may outlive it, and hold the lock, for a moment.
    while gone and not _cleared(endpoint):
        gone = time.monotonic() < limit
        time.sleep(0.02)
    if not gone:
        raise EngineUnavailable(f"process {pid} was killed and is still there; end it with the means of your system")
    return pid


def wait_for_end(pid: int, seconds: float) -> bool:
    """Whether a process is gone, or goes in time."""
    limit = time.monotonic() + seconds
    while _lives(pid):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def command_line(pid: int) -> str | None:
    """What a process was started as; None when it is not there or the system does not tell."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        pass
    try:
        told = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None


def _lives(pid: int) -> bool:
    """A process that has ended but was not collected by its parent does not live."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _cleared(endpoint: wire.Endpoint) -> bool:
    """Whether nobody holds the lock; what a dead daemon left is gone then.

    The lock is held meanwhile, so that a daemon that starts now loses nothing.
    """
    if sys.platform == "win32":
        raise EngineUnavailable(f"--force does not work here; end the engine{pid_words(endpoint)} in the Task Manager")
    import fcntl

    while True:
        try:
            lock = os.open(endpoint.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EngineUnavailable(f"cannot open {endpoint.lock}: {error.strerror or error}; remove it") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                # Otherwise its last holder deleted it between our open and our lock, and this locks nothing.
                if os.path.samestat(os.fstat(lock), endpoint.lock.stat()):
                    _remove(endpoint)
                    return True
        except BlockingIOError:
            return False
        finally:
            os.close(lock)


def _remove(endpoint: wire.Endpoint) -> None:
    unfinished = endpoint.address_file.with_suffix(".new")
    for left in (endpoint.socket, endpoint.address_file, unfinished, endpoint.lock):
        left.unlink(missing_ok=True)
