"""Where the daemon of a user is found: a socket, or a port and a token, in a folder that only the user can enter."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs
import platformdirs

NAME = "dgemma-engine"
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""What `sockaddr_un` holds beside the final zero."""
TCP_VARIABLE = "DGEMMA_ENGINE_TCP"
"""Set to 1 to use loopback TCP where Unix sockets exist but do not work, as on some network file systems."""


class EndpointError(Exception):
    """The place of the daemon cannot be used; the message says why and what to do."""


@attrs.frozen
class Endpoint:
    """The files of a daemon, all in `folder`: its lock, and its socket or the address of its port."""

    folder: Path
    tcp: bool = False

    @property
    def lock(self) -> Path:
        """Held by the daemon as long as it lives; says its process id."""
        return self.folder / f"{NAME}.lock"

    @property
    def socket(self) -> Path:
        return self.folder / f"{NAME}.sock"

    @property
    def address_file(self) -> Path:
        """Port and token, where there is no socket."""
        return self.folder / f"{NAME}.json"

    @property
    def door(self) -> Path:
        """The file that is there while the daemon takes clients."""
        return self.address_file if self.tcp else self.socket

    def address(self) -> tuple[int, str]:
        """Port and token. Raises `FileNotFoundError` when no daemon is there, `EndpointError` for a broken file."""
        text = self.address_file.read_text(encoding="utf-8")
        try:
            port, token = (json.loads(text)[key] for key in ("port", "token"))
        except (ValueError, KeyError, TypeError):
            raise EndpointError(f"{self.address_file} is no address of a daemon; delete it") from None
        if not isinstance(port, int) or not isinstance(token, str):
            raise EndpointError(f"{self.address_file} is no address of a daemon; delete it")
        return port, token


def find_endpoint(environment: Mapping[str, str] | None = None) -> Endpoint:
    """The one place of this user's daemon; its folder exists and is nobody else's. Raises `EndpointError`.

    `XDG_RUNTIME_DIR` where it is set (XDG Base Directory Specification), else a private folder in the platform's
    place for such files.
    """
    environment = os.environ if environment is None else environment
    tcp = environment.get(TCP_VARIABLE) == "1" or not hasattr(socket, "AF_UNIX")
    given = environment.get("XDG_RUNTIME_DIR")
    folder = Path(given) if given else _default_folder()
    if given and not folder.is_absolute():
        raise EndpointError(f"XDG_RUNTIME_DIR is {given}, which is no absolute path; set it to a folder of your own")
    _check_private(folder, "set XDG_RUNTIME_DIR to a folder of your own" if given else "remove it")
    endpoint = Endpoint(folder, tcp)
    size = len(os.fsencode(endpoint.socket))
    if not tcp and size > SOCKET_PATH_BYTES:
        raise EndpointError(
            f"{endpoint.socket} is {size} bytes long, a socket's path may have {SOCKET_PATH_BYTES}; "
            f"set XDG_RUNTIME_DIR to a shorter path, or {TCP_VARIABLE}=1"
        )
    return endpoint


def log_file() -> Path:
    """The daemon's log; it outlives the daemon."""
    return platformdirs.user_log_path("dgemma-lsp", appauthor=False) / "engine.log"


def _default_folder() -> Path:
    if not hasattr(os, "getuid"):
        folder = platformdirs.user_runtime_path("dgemma-lsp", appauthor=False)
    else:
        session = Path(f"/run/user/{os.getuid()}")
        folder = session if session.is_dir() else Path(tempfile.gettempdir()) / f"dgemma-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=not hasattr(os, "getuid"), exist_ok=True)
    except OSError as error:
        raise EndpointError(
            f"cannot make {folder}: {error.strerror or error}; set XDG_RUNTIME_DIR to a folder of your own"
        ) from None
    return folder


def _check_private(folder: Path, otherwise: str) -> None:
    try:
        found = folder.lstat() if folder.parent == Path(tempfile.gettempdir()) else folder.stat()
    except OSError as error:
        raise EndpointError(f"{folder} cannot be used: {error.strerror or error}; {otherwise}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise EndpointError(f"{folder} is no folder; {otherwise}")
    if not hasattr(os, "getuid"):
        return
    if found.st_uid != os.getuid():
        raise EndpointError(f"{folder} belongs to another user (id {found.st_uid}); {otherwise}")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise EndpointError(f"{folder} is open to other users (mode {mode:o}); chmod 700 {folder}, or {otherwise}")
