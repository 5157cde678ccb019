"""One change of a document as a unified diff."""

from __future__ import annotations

CONTEXT = 3
"""Unchanged lines on either side of a change."""

_NO_NEWLINE = "\\ No newline at end of file\n"


def replaced(document: str, start: int, end: int, replacement: str) -> str:
    """`document` with the characters [start, end) replaced."""
    return document[:start] + replacement + document[end:]


def unified_diff(path: str, document: str, start: int, end: int, replacement: str) -> list[str]:
    """The lines of a diff that replaces [start, end), each with its line end; none when nothing changes.

    Lines are those of `patch`: only `\\n` ends one, so a `\\r` stays part of its line. The work grows with
    the change and not with the document.
    """
    if document[start:end] == replacement:
        return []
    first = document.rfind("\n", 0, start) + 1
    last = document.find("\n", end) + 1 or len(document)
    old = _lines(document[first:last])
    new = _lines(document[first:start] + replacement + document[end:last])
    while old and new and old[0] == new[0]:
        first += len(old[0])
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        last -= len(old[-1])
        del old[-1], new[-1]

    above, above_start = _lines_above(document, first)
    below = _lines_below(document, last)
    line = document.count("\n", 0, above_start) + 1
    path = path.lstrip("/")
    old_count, new_count = (len(above) + len(side) + len(below) for side in (old, new))
    return [
        f"--- a/{path}\n",
        f"+++ b/{path}\n",
        f"@@ -{_range(line, old_count)} +{_range(line, new_count)} @@\n",
        *_marked(" ", above),
        *_marked("-", old),
        *_marked("+", new),
        *_marked(" ", below),
    ]


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
