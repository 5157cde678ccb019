"""Where clients come in: the endpoint's lock, and the socket or the port behind it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from pathlib import Path

from .lock import LockFile
from .wire import Endpoint, EndpointError
from .wire.endpoint import TCP_VARIABLE

BACKLOG = 128


class Door:
    """A claimed endpoint, listening; `token` is what clients of a port have to know, "" where there is a socket.

    The claim survives a fork. Without `close` its files stay behind, and the next claim clears them away.
    """

    def __init__(self, endpoint: Endpoint, lock: LockFile, listener: socket.socket, token: str) -> None:
        self.endpoint = endpoint
        self.listener = listener
        self.token = token
        self._lock = lock
        self._mark = _mark(endpoint.door)

    @classmethod
    def claim(cls, endpoint: Endpoint) -> Door | None:
        """None when a living daemon has it. Raises `EndpointError`."""
        lock = LockFile(endpoint.lock)
        try:
            if not lock.take():
                return None
        except OSError as error:
            raise EndpointError(
                f"cannot lock {endpoint.lock}: {error.strerror or error}; remove it, or set XDG_RUNTIME_DIR to another "
                "folder of your own"
            ) from None
        try:
            # Whoever had the lock before us is dead, and so is what it left.
            for stale in (endpoint.socket, endpoint.address_file, _unfinished(endpoint)):
                stale.unlink(missing_ok=True)
            lock.sign()
            listener, token = _listen_tcp(endpoint) if endpoint.tcp else _listen_unix(endpoint)
            return cls(endpoint, lock, listener, token)
        except OSError as error:
            lock.release()
            raise EndpointError(
                f"cannot listen at {endpoint.door}: {error.strerror or error}; set XDG_RUNTIME_DIR to another folder "
                f"of your own{'' if endpoint.tcp else f', or {TCP_VARIABLE}=1'}"
            ) from None

    def sign(self) -> None:
        """Say in the lock that this process, which is a child of the one that claimed, is the daemon."""
        self._lock.sign()

    @property
    def address(self) -> str:
        """The path of its file, for people."""
        return os.fspath(self.endpoint.door)

    @property
    def stands(self) -> bool:
        """Whether clients still find it: nobody removed its file or put another in the place."""
        return self._mark is not None and _mark(self.endpoint.door) == self._mark

    def close(self) -> None:
        """Let another daemon claim the endpoint; nothing of this one stays in the folder."""
        if self.stands:
            with contextlib.suppress(OSError):
                self.endpoint.door.unlink()
        self._mark = None
        self.listener.close()
        self._lock.release()


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from every other that may stand in its place, ever."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _unfinished(endpoint: Endpoint) -> Path:
    return endpoint.address_file.with_suffix(".new")


def _listen_unix(endpoint: Endpoint) -> tuple[socket.socket, str]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Not chmod after bind: the socket must never have been open to others.
        umask = os.umask(0o177)
        try:
            listener.bind(os.fspath(endpoint.socket))
        finally:
            os.umask(umask)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener, ""


def _listen_tcp(endpoint: Endpoint) -> tuple[socket.socket, str]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        listener.setblocking(False)
        token = secrets.token_urlsafe(32)
        unfinished = _unfinished(endpoint)
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            json.dump({"port": listener.getsockname()[1], "token": token}, stream)
        unfinished.replace(endpoint.address_file)
    except OSError:
        listener.close()
        with contextlib.suppress(OSError):
            _unfinished(endpoint).unlink()
        raise
    return listener, token
