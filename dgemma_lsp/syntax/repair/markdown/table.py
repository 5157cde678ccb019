"""Rows of GFM tables (GFM 4.10)."""

from __future__ import annotations

import re

_DELIMITER_ROW = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
LONGEST = 10_000
"""Characters of a row; a wider table could not be read in the time of a save."""
_BAR = re.compile(r"\\.|(\|)", re.DOTALL)


def is_delimiter_row(row: str) -> bool:
    return (
        len(row) <= LONGEST and "-" in row and ("|" in row or ":" in row) and _DELIMITER_ROW.fullmatch(row) is not None
    )


def cells(row: str) -> list[tuple[int, int]]:
    """The bounds of the cells of a row."""
    begin, end = len(row) - len(row.lstrip()), len(row.rstrip())
    found: list[tuple[int, int]] = []
    at = begin
    for bar in _BAR.finditer(row, begin, end):
        if bar[1]:
            if bar.start() > begin:
                found.append((at, bar.start()))
            at = bar.end()
    if at < end:
        found.append((at, end))
    return found


def alignments(row: str) -> tuple[str, ...]:
    """What a delimiter row says of its columns: of each cell whether it begins and ends with a colon."""
    found = []
    for begin, end in cells(row):
        cell = row[begin:end].strip()
        found.append(
            (":" if cell.startswith(":") else "") + "-" + (":" if len(cell) > 1 and cell.endswith(":") else "")
        )
    return tuple(found)
