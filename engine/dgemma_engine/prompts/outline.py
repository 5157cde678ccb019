"""An outline of a text in any language: the lines that have something indented below them."""

from __future__ import annotations

import re
from itertools import pairwise

_LINE = re.compile(r"([ \t]*)([^\s].*)")
LEVELS = 2
"""Depths of indentation that are told of."""


def outline(text: str) -> str:
    """The lines at the margin, and one step from it, that open a block: a line each, as they are."""
    lines = [match for match in map(_LINE.match, text.splitlines()) if match]
    told: list[str] = []
    depths: list[int] = []
    for line, following in pairwise(lines):
        depth = len(line[1].expandtabs(4))
        while depths and depths[-1] >= depth:
            depths.pop()
        if len(following[1].expandtabs(4)) > depth:
            if len(depths) < LEVELS:
                told.append(line[0].rstrip())
            depths.append(depth)
    return "".join(f"{line}\n" for line in told)
