"""The daemon's log: short lines without source text, in a file that cannot grow without end or hurt who writes it."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import logging
import os
import stat
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType

LOG_BYTES = 1_000_000
"""A file that would grow larger becomes the backup, of which there is one."""

log = logging.getLogger("dgemma_engine")

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class SafeFormatter(logging.Formatter):
    """Local time, process, level, message; an exception as its type and frames.

    Its own message is left out: it may quote what the user wrote.
    """

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{seconds}.{record.msecs:03.0f} {record.process} {record.levelname.lower()} {record.getMessage()}"
        return line + self.formatException(record.exc_info) if record.exc_info else line

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 (the name is logging's)
        return "" if ei[1] is None else describe(ei[1])


def describe(error: BaseException) -> str:
    """Lines with the type and the frames of an exception, and of those it came from; never its message."""
    lines = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        lines.append(f"\n  {type(cause).__module__}.{type(cause).__qualname__}")
        for frame, line in traceback.walk_tb(cause.__traceback__):
            lines.append(f"\n    {frame.f_code.co_filename}:{line}:{frame.f_code.co_name}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "".join(lines)


class LogFile(logging.Handler):
    """Appends to `path`, which is opened with the first line and again whenever that fails or the file has gone.

    Nothing is raised: a full disk costs lines. With `stdio`, file descriptors 1 and 2 follow the file, and are
    /dev/null as long as there is none.
    """

    def __init__(self, path: Path, *, stdio: bool = False) -> None:
        super().__init__()
        self.path = path
        self._fd: int | None = None
        self._stdio = stdio
        self._had_folder = False
        self.setFormatter(SafeFormatter())
        if stdio:
            self._point_stdio(None)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            fd = self._current(len(line))
            os.write(fd, line)
        except Exception:
            # Where should it be reported? The next line tries again, with a file that is opened anew.
            self._drop()

    def close(self) -> None:
        self.acquire()
        try:
            self._drop()
        finally:
            self.release()
        super().close()

    def _current(self, more: int) -> int:
        """A descriptor of the file at `path` that has room for `more` bytes."""
        if self._fd is not None:
            found = os.fstat(self._fd)
            if found.st_nlink and (not stat.S_ISREG(found.st_mode) or found.st_size + more <= LOG_BYTES):
                return self._fd
            self._drop()
        self._fd = self._opened(more)
        self._point_stdio(self._fd)
        return self._fd

    def _opened(self, more: int) -> int:
        # Who removed the folders above later on does not want them back.
        self.path.parent.mkdir(mode=0o700, parents=not self._had_folder, exist_ok=True)
        self._had_folder = True
        with contextlib.suppress(FileNotFoundError):
            found = self.path.stat()
            if stat.S_ISREG(found.st_mode) and found.st_size + more > LOG_BYTES:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with contextlib.suppress(OSError):
            # Earlier versions, or the user's umask, may have left them open to others.
            self.path.parent.chmod(0o700)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self.path.chmod(0o600)
        return fd

    def _drop(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)
            self._point_stdio(None)

    def _point_stdio(self, fd: int | None) -> None:
        if not self._stdio:
            return
        with contextlib.suppress(OSError):
            # Windows cannot rename a file that anybody has open: stray output is lost there.
            target = os.open(os.devnull, os.O_WRONLY) if fd is None or sys.platform == "win32" else os.dup(fd)
            for standard in (1, 2):
                os.dup2(target, standard)
            if target > 2:
                os.close(target)


class _Stray(io.TextIOBase):
    """What `print` and warnings write to in the daemon: descriptor 2, and never an error for who prints."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))
        return len(text)


def start_log(path: Path, *, terminal: bool = False) -> None:
    """From here on all that the process has to say goes to `path`, what nobody catches and native code included.

    At a `terminal`, log lines go there too, and stray output goes nowhere else.
    """
    log.handlers = [LogFile(path, stdio=not terminal)]
    if terminal:
        log.handlers.append(logging.StreamHandler())
        log.handlers[-1].setFormatter(SafeFormatter())
    else:
        sys.stdout = sys.stderr = _Stray()
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.raiseExceptions = False
    faulthandler.enable(2)
    sys.excepthook = lambda *error: log.critical("ended by a bug", exc_info=error)
    sys.unraisablehook = lambda found: log.error("an exception went nowhere", exc_info=_exc_info(found))
    threading.excepthook = lambda found: log.error("a thread ended by a bug", exc_info=_exc_info(found))


def _exc_info(found: sys.UnraisableHookArgs | threading.ExceptHookArgs) -> _ExcInfo:
    if found.exc_value is None:
        return None, None, None
    return found.exc_type, found.exc_value, found.exc_traceback
