"""Reading a file exactly and writing it back with nothing but the change in it."""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
import tempfile
from pathlib import Path

import attrs

from dgemma_lsp.errors import UserError

MAX_BYTES = 4 * 1024 * 1024
"""Above this a file is refused: it is generated or data, and no editor would wait for it."""

_BOM = codecs.BOM_UTF8
_OTHER_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class FileError(UserError):
    """A file that cannot be read as text, or not be written."""


@attrs.frozen
class SourceFile:
    """A file's text, line ends as they are and without its byte-order mark."""

    path: Path
    text: str
    has_bom: bool

    def encoded(self, text: str) -> bytes:
        """The bytes of the file if `text` were its text."""
        return (_BOM if self.has_bom else b"") + text.encode()


def shown(path: Path | str) -> str:
    """A path for one line of a message: control characters and undecodable bytes escaped."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def read_source(path: Path) -> SourceFile:
    """The file at `path`. Raises `FileError` for what is no readable UTF-8 text file of a sane size."""
    name = shown(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise FileError(f"{name} is a directory; name a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"{name} is not a regular file; save it as one first")
        if status.st_size > MAX_BYTES:
            raise FileError(
                f"{name} has {status.st_size / 2**20:.1f} MB; files above {MAX_BYTES // 2**20} MB are not "
                "read: copy the part you work on into a file of its own"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileError(f"{name} does not exist; check the path") from None
    except PermissionError:
        raise FileError(f"no permission to read {name}; change its mode or run as its owner") from None
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {name}: {_reason(error)}") from None
    return _decoded(path, data)


def write_source(source: SourceFile, text: str) -> None:
    """Replaces the file's text in one step, keeping its mode and, through a link, its place.

    Raises `FileError`, with the file untouched, when it was changed since it was read or cannot be written.
    """
    name = shown(source.path)
    try:
        target = source.path.resolve(strict=True)
        if target.read_bytes() != source.encoded(source.text):
            raise FileError(f"{name} changed while it was worked on; nothing was written, run it again")
        # A rename needs only the folder's permission, so a read-only file has to be asked for by hand.
        if not os.access(target, os.W_OK):
            raise FileError(f"no permission to write {name}; change its mode, or leave out --write")
        _replace(target, source.encoded(text))
    except OSError as error:
        raise FileError(f"cannot write {name}: {_reason(error)}; nothing was written") from None


def _decoded(path: Path, data: bytes) -> SourceFile:
    name = shown(path)
    has_bom = data.startswith(_BOM)
    for mark, encoding in _OTHER_BOMS.items():
        if data.startswith(mark):
            raise FileError(f"{name} is {encoding}, not UTF-8; convert it: iconv -f {encoding} -t UTF-8")
    if b"\0" in data:
        raise FileError(f"{name} is a binary file (it has a zero byte); name a text file")
    try:
        text = data[len(_BOM) if has_bom else 0 :].decode()
    except UnicodeDecodeError as error:
        raise FileError(
            f"{name} is not UTF-8 (byte 0x{error.object[error.start]:02x} at offset {error.start}); "
            "convert it with iconv -t UTF-8, or name a text file"
        ) from None
    return SourceFile(path, text, has_bom)


def _replace(target: Path, data: bytes) -> None:
    """Writes a neighbour and renames it over `target`, so that no reader ever meets half a file."""
    status = target.stat()
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    neighbour = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if hasattr(os, "chown"):
            # Giving a file away is root's right; anyone else keeps what the folder's rules make of it.
            with contextlib.suppress(PermissionError):
                os.chown(neighbour, status.st_uid, status.st_gid)
        neighbour.chmod(stat.S_IMODE(status.st_mode))
        neighbour.replace(target)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
