"""docs/editors.md as data: what it tells a user to put where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

PATH = Path(__file__).parents[2] / "docs" / "editors.md"

_FILE = re.compile(r"^`~/(?P<name>[^`]+)`[^\n]*:\n+```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def _setups() -> Mapping[str, Mapping[str, str]]:
    _, *parts = re.split(r"^## (.+)$", PATH.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        title: {found["name"]: found["text"] for found in _FILE.finditer(text)}
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


SETUPS = _setups()
"""By heading: the files to write below the user's home, each with its text."""
