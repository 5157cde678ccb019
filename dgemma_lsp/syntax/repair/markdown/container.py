"""Quotes and list items: what lines stand in (CommonMark 5)."""

from __future__ import annotations

import re

import attrs

_RULE = re.compile(r"(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})\Z")
_ITEM = re.compile(r"(?:[-+*]|(\d{1,9})[.)])(?=[ \t]|\Z)")
MOST = 40
"""Deeper quotes and lists are read as text: each line costs as much as its depth."""


@attrs.define
class Container:
    """A quote (indent -1), or an item whose content begins at column `indent`.

    `empty_since` is the number of the line of an item that has no content yet.
    """

    indent: int
    empty_since: int = -1


class Containers:
    """Those that are open, from the outermost in."""

    def __init__(self, text: str):
        self.text = text
        self.stack: list[Container] = []

    def __len__(self) -> int:
        return len(self.stack)

    def continued(self, number: int, at: int, end: int) -> tuple[int, int, int]:
        """How many of them line `number`, [at, end), continues, and the place and column behind their marks."""
        text, column, matched = self.text, 0, 0
        for container in self.stack:
            begin, width = indent_of(text, at, end, column)
            if container.indent < 0:
                if begin >= end or text[begin] != ">" or width - column > 3:
                    break
                at, column = self._quoted(begin, width, end)
            elif begin >= end:
                if container.empty_since >= 0 and number > container.empty_since + 1:
                    break
            elif width >= container.indent:
                at, column = _advance(text, at, end, column, container.indent)
                container.empty_since = -1
            else:
                break
            matched += 1
        return matched, at, column

    def opened(
        self, number: int, begin: int, end: int, width: int, interrupts: bool
    ) -> tuple[Container, int, int] | None:
        """The container that begins at `begin`, in column `width`, and the place and column behind its mark.

        It may be one that interrupts a paragraph.
        """
        text = self.text
        if len(self.stack) >= MOST:
            return None
        if text[begin] == ">":
            return Container(-1), *self._quoted(begin, width, end)
        if text[begin] not in "-+*0123456789" or is_rule(text, begin, end):
            return None
        found = _ITEM.match(text, begin, end)
        if found is None:
            return None
        item = found.end()
        # One that interrupts a paragraph is not empty, and counts from 1.
        if interrupts and ((found[1] or "1") != "1" or not text[item:end].strip()):
            return None
        column = width + item - begin
        after, wide = indent_of(text, item, end, column)
        if after >= end:
            return Container(column + 1, number), end, wide
        if wide - column > 4:
            after, wide = item + 1, column + 1
        return Container(wide), after, wide

    def leave(self, matched: int) -> None:
        """Closes all but the first ones."""
        del self.stack[matched:]

    def leave_quotes(self, matched: int) -> None:
        """At a blank line: closes all from the first quote on that it does not continue; items go on."""
        for index in range(matched, len(self.stack)):
            if self.stack[index].indent < 0:
                del self.stack[index:]
                break

    def _quoted(self, begin: int, width: int, end: int) -> tuple[int, int]:
        """Behind a `>` and the space that belongs to it."""
        at, column = begin + 1, width + 1
        return (at + 1, column + 1) if at < end and self.text[at] == " " else (at, column)


def is_rule(text: str, begin: int, end: int) -> bool:
    return text[begin] in "*-_" and _RULE.match(text, begin, end) is not None


def indent_of(text: str, at: int, end: int, column: int) -> tuple[int, int]:
    """The first character that is not white space, and its column."""
    while at < end:
        char = text[at]
        if char == " ":
            column += 1
        elif char == "\t":
            column += 4 - column % 4
        else:
            break
        at += 1
    return at, column


def _advance(text: str, at: int, end: int, column: int, target: int) -> tuple[int, int]:
    """Past the white space up to column `target`; a tab that reaches over it stays."""
    while at < end and column < target:
        if text[at] == "\t":
            wide = column + 4 - column % 4
            if wide > target:
                break
            column = wide
        else:
            column += 1
        at += 1
    return at, column
