"""Tables whose delimiter row is missing: a paragraph in which every line is a row."""

from __future__ import annotations

import math
from collections import Counter

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.syntax.repair.markdown.block import Block, Outline
from dgemma_lsp.syntax.repair.markdown.clock import check_time
from dgemma_lsp.syntax.repair.markdown.table import LONGEST, alignments, cells, is_delimiter_row
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Trouble, weigh
from dgemma_lsp.text.edits import Edit
from dgemma_lsp.text.lines import newline_style

WEIGHTS = {"share": 1.0}
PADDED = 30
"""Rows whose spaces are looked at."""
LEAVE = 5.0
"""In nats; rows under rows are a table."""


def table_troubles(outline: Outline, deadline: float) -> list[Trouble]:
    """Raises OutOfTime."""
    found = []
    known: list[Block] | None = None
    for block in outline.blocks:
        if block.kind == "paragraph" and len(block.rows) > 1 and _is_table(outline.text, block, deadline):
            known = [one for one in outline.blocks if one.kind == "table"] if known is None else known
            found.append(_trouble(outline, block, known))
    return found


def _is_table(text: str, block: Block, deadline: float) -> bool:
    check_time(deadline)
    first = text[block.rows[0][0] : block.rows[0][1]].strip()
    if len(first) > LONGEST:
        return False
    if "|" not in first or is_delimiter_row(first):
        return False
    width = len(cells(first))
    edged = first[0] == "|" and first[-1] == "|"
    empty = not first.strip("| \t")
    if width < 2 and not edged:
        return False
    same = 0
    for number, (begin, end) in enumerate(block.rows):
        if number % 64 == 0:
            check_time(deadline)
        row = text[begin:end].strip()
        if len(row) > LONGEST or "|" not in row or (edged and row[0] != "|"):
            return False
        same += len(cells(row)) == width
    second = text[block.rows[1][0] : block.rows[1][1]]
    return (
        len(cells(second)) == width
        and same * 2 > len(block.rows)
        and ((edged and not empty) or (width > 1 and len(block.rows) > 2))
    )


def _trouble(outline: Outline, block: Block, tables: list[Block]) -> Trouble:
    text = outline.text
    begin, end = block.rows[0]
    header = text[begin:end]
    line = outline.lines[block.first]
    fault = Unclosed(begin, end, "the row of dashes below this table's header is missing: it is shown as text")
    options = []
    for aligned, share in _guesses(text, header, block, tables):
        row = _margin(text[line.start : begin]) + _row(text, header, aligned, block, tables) + newline_style(text)
        options.append(Option((Edit(line.next, line.next, row),), {"share": math.log(share)}))
    return Trouble(fault, weigh(options, WEIGHTS), leave=LEAVE)


def _margin(prefix: str) -> str:
    """What the containers put before the lines after the first."""
    return "".join(char if char in " \t>" else " " for char in prefix)


def _guesses(text: str, header: str, block: Block, tables: list[Block]) -> list[tuple[tuple[str, ...], float]]:
    """Alignments with their shares: as tables of the same header, of as many columns, or of the file have them."""
    width = len(cells(header))
    votes: Counter[tuple[str, ...]] = Counter()
    names = _names(header)
    for table in tables:
        above, row = (text[begin:end] for begin, end in table.rows[:2])
        aligned = alignments(row)
        if len(aligned) == width:
            votes[aligned] += 200 if _names(above) == names else 3
        if len(set(aligned)) == 1:
            votes[aligned[:1] * width] += 1
    padded = _padding(text, block, width)
    votes[("-",) * width] += 2 if not tables else 1
    if padded is not None:
        votes[padded] += 4
    total = sum(votes.values())
    return [(aligned, count / total) for aligned, count in votes.most_common(4)]


def _names(header: str) -> list[str]:
    return [header[begin:end].strip() for begin, end in cells(header)]


def _padding(text: str, block: Block, width: int) -> tuple[str, ...] | None:
    """The alignment that the rows' own spaces show, where some column is not to the left."""
    found = ["-"] * width
    rows = [(row, cells(row)) for row in (text[begin:end] for begin, end in block.rows[:PADDED])]
    for column in range(width):
        left = right = both = 0
        for row, bounds in rows:
            if column >= len(bounds) or not row[slice(*bounds[column])].strip():
                continue
            cell = row[slice(*bounds[column])]
            before, after = len(cell) - len(cell.lstrip()), len(cell) - len(cell.rstrip())
            left += after > before + 1
            right += before > after + 1
            both += before > 1 and after > 1 and abs(before - after) < 2
        if right > 1 and not left:
            found[column] = "-:"
        elif both > 1 and both > left + right:
            found[column] = ":-:"
    return tuple(found) if set(found) != {"-"} else None


def _row(text: str, header: str, aligned: tuple[str, ...], block: Block, tables: list[Block]) -> str:
    """As wide as the header's cells where all rows are, else with three dashes a cell."""
    bounds = cells(header)
    bars = {tuple(cells(text[begin:end])) for begin, end in block.rows[:6]}
    wide = len(bars) == 1 and len(block.rows) > 1
    spaced = header[slice(*bounds[0])].startswith(" ") or header.strip()[0] != "|"
    if tables:
        begin, end = tables[0].rows[1]
        spaced = "- " in text[begin:end] or ": " in text[begin:end]
    parts = []
    for (begin, end), align in zip(bounds, aligned, strict=True):
        size = end - begin - (2 if spaced else 0) if wide else 3
        dashes = "-" * max(3 if not wide else 1, size - align.count(":"))
        cell = (":" if align.startswith(":") else "") + dashes + (":" if align.endswith(":") else "")
        parts.append(f" {cell} " if spaced else cell)
    row = "|".join(parts)
    stripped = header.strip()
    row = "|" + row if stripped[0] == "|" else row.lstrip()
    return row + "|" if stripped[-1] == "|" else row.rstrip()
