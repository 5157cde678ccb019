"""Changes of a document as a unified diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from dgemma_lsp.text.edits import Edit, apply_edits

CONTEXT = 3
"""Unchanged lines on either side of a change."""

_NO_NEWLINE = "\\ No newline at end of file\n"


def replaced(document: str, start: int, end: int, replacement: str) -> str:
    """`document` with the characters [start, end) replaced."""
    return document[:start] + replacement + document[end:]


def unified_diff(path: str, document: str, start: int, end: int, replacement: str) -> list[str]:
    """The lines of a diff that replaces [start, end), as `edits_diff` has them."""
    return edits_diff(path, document, [Edit(start, end, replacement)])


def edits_diff(path: str, document: str, edits: Iterable[Edit]) -> list[str]:
    """The lines of a diff that makes the edits, each with its line end; none when nothing changes.

    Lines are those of `patch`: only `\\n` ends one, so a `\\r` stays part of its line. The work grows with
    the changes and not with the document.
    """
    hunks: list[str] = []
    added = 0
    for first, last, inside in _regions(document, edits):
        old = _lines(document[first:last])
        new = _lines(apply_edits(document[first:last], inside))
        while old and new and old[0] == new[0]:
            first += len(old[0])
            del old[0], new[0]
        while old and new and old[-1] == new[-1]:
            last -= len(old[-1])
            del old[-1], new[-1]
        if not old and not new:
            continue
        above, above_start = _lines_above(document, first)
        below = _lines_below(document, last)
        line = document.count("\n", 0, above_start) + 1
        old_count, new_count = (len(above) + len(side) + len(below) for side in (old, new))
        hunks.append(f"@@ -{_range(line, old_count)} +{_range(line + added, new_count)} @@\n")
        hunks += [*_marked(" ", above), *_changes(old, new), *_marked(" ", below)]
        added += new_count - old_count
    path = path.lstrip("/")
    return [f"--- a/{path}\n", f"+++ b/{path}\n", *hunks] if hunks else []


def _regions(document: str, edits: Iterable[Edit]) -> list[tuple[int, int, list[Edit]]]:
    """Whole lines [first, last) and the edits in them, counted from `first`; those a hunk has in common together."""
    regions: list[tuple[int, int, list[Edit]]] = []
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        first = document.rfind("\n", 0, edit.start) + 1
        last = document.find("\n", edit.end) + 1 or len(document)
        inside: list[Edit] = []
        if regions and document.count("\n", regions[-1][1], first) <= 2 * CONTEXT:
            first, before, inside = regions.pop()
            last = max(before, last)
        inside.append(Edit(edit.start - first, edit.end - first, edit.text))
        regions.append((first, last, inside))
    return regions


def _changes(old: list[str], new: list[str]) -> list[str]:
    lines = []
    for kind, start, stop, from_, to in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += _marked(" ", old[start:stop])
        else:
            lines += [*_marked("-", old[start:stop]), *_marked("+", new[from_:to])]
    return lines


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])


def _lines_above(document: str, offset: int) -> tuple[list[str], int]:
    """The context before a line's start, and where it starts."""
    start = offset
    for _ in range(CONTEXT):
        if start == 0:
            break
        start = document.rfind("\n", 0, start - 1) + 1
    return _lines(document[start:offset]), start


def _lines_below(document: str, offset: int) -> list[str]:
    end = offset
    for _ in range(CONTEXT):
        end = document.find("\n", end) + 1 or len(document)
    return _lines(document[offset:end])


def _marked(mark: str, lines: list[str]) -> list[str]:
    marked = []
    for line in lines:
        marked.append(mark + line if line.endswith("\n") else f"{mark}{line}\n")
        if not line.endswith("\n"):
            marked.append(_NO_NEWLINE)
    return marked


def _range(line: int, count: int) -> str:
    """A hunk's range; an empty one names the line before it."""
    if count == 1:
        return str(line)
    return f"{line},{count}" if count else f"{line - 1},0"
