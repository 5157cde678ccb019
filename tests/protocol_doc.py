"""docs/engine-protocol.md as data: its tables and its conversations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

PATH = Path(__file__).parent.parent / "docs" / "engine-protocol.md"

_ROW = re.compile(r"^\| `(?P<field>\w+)` \| (?P<type>[^|]+?) \| (?P<default>[^|]*?) \| [^|]+ \|$", re.MULTILINE)


@attrs.frozen
class Line:
    """What one side says: `mark` is "->", "<-" or "~>"; `message` is None for the end of the connection."""

    mark: str
    message: dict[str, Any] | None


@attrs.frozen
class Conversation:
    """Named by the types of what the client says."""

    lines: Sequence[Line]

    @property
    def name(self) -> str:
        said = [line.message["type"] for line in self.lines if line.message and line.mark != "<-"]
        return "-".join(said[1:] or said)

    @property
    def greeted(self) -> bool:
        first = self.lines[0].message
        return first is not None and first["type"] == "hello"


def conversations() -> list[Conversation]:
    text = PATH.read_text(encoding="utf-8")
    return [
        Conversation([_line(line) for line in block.splitlines()])
        for block in re.findall(r"^```conversation\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def _line(line: str) -> Line:
    mark, _, said = line.partition(" ")
    assert mark in ("->", "<-", "~>"), line
    return Line(mark, None if said == "end" else json.loads(said))


def sections() -> Mapping[str, Mapping[str, tuple[str, str]]]:
    """Type and default of each field, by the heading of its table."""
    parts = re.split(r"^###? (.+)$", PATH.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        heading.strip("`"): {row["field"]: (row["type"], row["default"].strip("`")) for row in _ROW.finditer(body)}
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
        if "| field | type |" in body
    }
