"""The page that `fill --trace` writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dgemma_lsp.files import FileError, shown

if TYPE_CHECKING:
    from dgemma_engine.wire import Draft, Filled


def check(page: Path, source: Path) -> None:
    """Raises `FileError` when `page` cannot be written or is the file that is filled: better before than after."""
    name = shown(page)
    try:
        if page.is_dir():
            raise FileError(f"--trace {name} is a directory; name a file in it")
        if page.exists() and page.samefile(source):
            raise FileError(f"--trace {name} is the file that is filled; name another one")
        folder = page.resolve().parent
        if not folder.is_dir():
            raise FileError(f"--trace {name}: there is no folder {shown(folder)}; make it first")
        if not os.access(page if page.exists() else folder, os.W_OK):
            raise FileError(f"no permission to write --trace {name}; name another file")
    except (OSError, ValueError) as error:
        raise FileError(f"cannot write --trace {name}: {_reason(error)}") from None


def write(
    page: Path, title: str, before: str, after: str, drafts: Sequence[Draft], filled: Filled, texts: Sequence[str]
) -> None:
    """Raises `FileError` when the disk does not want it."""
    from dgemma_lsp.trace import trace_page

    html = trace_page(title, before, after, drafts, filled, texts)
    try:
        page.write_text(html, encoding="utf-8", newline="\n")
    except OSError as error:
        raise FileError(f"cannot write --trace {shown(page)}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
