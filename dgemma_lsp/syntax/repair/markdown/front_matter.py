"""Front matter whose closing line is missing."""

from __future__ import annotations

import math
import re

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.syntax.repair.markdown.block import Line, split_lines
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Trouble
from dgemma_lsp.text.edits import Edit
from dgemma_lsp.text.lines import newline_style

_KEY = re.compile(r"[a-z_$][\w$.-]*[ \t]*:(?:[ \t]+\S.*)?[ \t]*\Z")
_MORE = re.compile(r"(?:[ \t]+\S|- |#|[\]}]|[A-Za-z_$\"'][\w$.\"' -]*:(?:[ \t]|\Z)).*\Z")
_END = re.compile(r"(?:---|\.\.\.)[ \t]*\Z")
LEAVE = 3.0
LONGEST = 200
"""Lines that are looked through for the end."""


def front_matter_trouble(text: str) -> Trouble | None:
    start = 1 if text.startswith("\ufeff") else 0
    if not text.startswith("---", start):
        return None
    lines = split_lines(text[: 200 * LONGEST], math.inf)[:LONGEST]
    if (
        len(lines) < 3
        or text[start : lines[0].end].rstrip(" \t") != "---"
        or not _KEY.match(text, lines[1].start, lines[1].end)
    ):
        return None
    place = _end(text, lines)
    if place is None:
        return None
    newline = newline_style(text)
    written = f"---{newline}" if place.next > place.end else f"{newline}---"
    fault = Unclosed(start, start + 3, "the front matter opened here is never closed: it is shown as text")
    return Trouble(fault, (Option((Edit(place.next, place.next, written),), {}),), LEAVE)


def _end(text: str, lines: list[Line]) -> Line | None:
    """The last line that is YAML, when what follows it is not the closing line."""
    last, blank = lines[0], False
    for line in lines[1:]:
        body = text[line.start : line.end]
        if _END.match(body):
            return None
        if not body.strip():
            blank = True
        elif _MORE.match(body) and not (blank and (body[0] == "#" or body.startswith("- "))):
            if not blank:
                last = line
        else:
            return last
    return last if len(lines) < LONGEST else None
