"""A lock file: held by one process at a time, and let go by the system however that process ends."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 30
    """Far behind the process id, because a locked byte cannot be read there."""

    def _try_lock(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None
else:
    import fcntl

    def _try_lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class LockFile:
    """Belongs to the open file: it survives a fork, and is free when the last process that shares it has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def take(self) -> bool:
        """Take the lock without waiting; False when another process holds it. Raises `OSError`."""
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
            try:
                _try_lock(fd)
            except BlockingIOError:
                os.close(fd)
                return False
            except OSError:
                os.close(fd)
                raise
            if self._is_at_path(fd):
                self._fd = fd
                return True
            # Its last holder deleted the file between our open and our lock: what we locked is no lock for others.
            os.close(fd)

    def sign(self) -> None:
        """Write this process's id into the file, for people; a full disk is no reason to do without the lock."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
                os.lseek(self._fd, 0, os.SEEK_SET)
                os.write(self._fd, b"%d\n" % os.getpid())

    def release(self) -> None:
        """Let go, and delete the file unless somebody has put another in its place."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        if sys.platform == "win32":
            # An open file cannot be deleted there, so nobody's lock can be: whoever opens it first keeps it.
            os.close(fd)
            with contextlib.suppress(OSError):
                self.path.unlink()
            return
        with contextlib.suppress(OSError):
            if self._is_at_path(fd):
                self.path.unlink()
        os.close(fd)

    def _is_at_path(self, fd: int) -> bool:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(fd), there)
