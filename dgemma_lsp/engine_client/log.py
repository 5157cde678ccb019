"""Reading the daemon's log, which is renamed when it is full and begun anew."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

POLL = 0.2
"""Seconds between two looks for new lines."""


def last(file: Path, count: int) -> list[str]:
    """The last `count` lines, those of the full log before it included; both are small."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return _last(text.splitlines(), file, count)


def followed(file: Path, count: int) -> Generator[str, None, None]:
    """The last `count` lines and then, for ever, every new one; the file may come later."""
    stream = _opened(file)
    try:
        *lines, begun = stream.read().split("\n") if stream is not None else [""]
        yield from _last(lines, file, count)
        while True:
            piece = stream.read() if stream is not None else ""
            *lines, begun = (begun + piece).split("\n")
            yield from lines
            if piece:
                continue
            if stream is not None and not _is_at(file, stream):
                stream.close()
                stream = None
            stream = stream or _opened(file)
            time.sleep(POLL)
    finally:
        if stream is not None:
            stream.close()


def _last(lines: list[str], file: Path, count: int) -> list[str]:
    before = file.with_name(file.name + ".1")
    if len(lines) < count and before.is_file():
        lines = before.read_text(encoding="utf-8", errors="replace").splitlines() + lines
    return lines[max(0, len(lines) - count) :]


def _opened(file: Path) -> TextIO | None:
    try:
        return file.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _is_at(file: Path, stream: TextIO) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False
