"""A model quantised once for all, by the engine's interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dgemma_lsp.engine_tool import ask

TOOL = "dgemma_engine.quantize"


def quantized(name: str, precision: str, folder: Path | None, engine_python: str | None) -> Iterator[dict[str, Any]]:
    """The tool's events as they come, see `dgemma_engine.quantize`. Raises `UserError`, which says what to do."""
    arguments = [name, precision, *([] if folder is None else [str(folder)])]
    for event in ask(engine_python or sys.executable, TOOL, arguments):
        if "event" in event:
            yield event
