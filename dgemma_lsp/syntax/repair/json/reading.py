"""JSON read token by token, where every step has a cost: how unlike the rest of the file it is."""

from __future__ import annotations

from collections.abc import Iterator

from dgemma_lsp.syntax.repair.json.habits import END, START, Habits
from dgemma_lsp.syntax.repair.json.tokens import SAME_LINE, Token

AFTER = "Vn}]"
"""What may have come last when a value is complete: a string, a number or literal, a closer."""
TRAILING_COMMA = 3.0
_CLOSERS = {"{": "}", "[": "]", "": ""}


class Frame:
    """An open container and what of it is remembered; the root has no `kind`. Equal ones are one object.

    `label` is the key (or array) it is the value of, `previous` the last key or the last element's type with its
    place, `opened` the indentation of the line with the opener, `inside` that of its members, once one began a line.
    """

    __slots__ = ("closer", "depth", "inside", "kind", "label", "opened", "parent", "previous")

    def __init__(self, kind: str, parent: Frame | None, label: str, previous: str, opened: int, inside: int) -> None:
        self.kind, self.parent, self.label, self.previous = kind, parent, label, previous
        self.opened, self.inside = opened, inside
        self.closer = _CLOSERS[kind]
        self.depth: int = parent.depth + 1 if parent else 0


State = tuple[str, Frame]
"""What came last (a mark, `K`ey, `V` a string, `n` another scalar, `^` the start, `$` the end) and where."""


def _classes(trailing: bool) -> dict[tuple[str, str, str], str]:
    """What a token is after what came last in a container: [last, container, token kind]. No entry: a fault."""
    values = {"s": "V", "n": "n", "l": "n", "{": "{", "[": "["}
    table = {}
    for kind, shown in values.items():
        table["^", "", kind] = table[":", "{", kind] = table["[", "[", kind] = table[",", "[", kind] = shown
    for last in "{,":
        table[last, "{", "s"] = "K"
    table["K", "{", ":"] = ":"
    for container, closer in (("{", "}"), ("[", "]")):
        for last in AFTER:
            table[last, container, ","] = ","
            table[last, container, closer] = closer
        table[container, container, closer] = closer
        if trailing:
            table[",", container, closer] = closer
    for last in AFTER:
        table[last, "", "$"] = "$"
    return table


class Reader:
    """Steps from state to state. `step` gives None where the token cannot stand."""

    def __init__(self, habits: Habits, trailing: bool) -> None:
        self.habits = habits
        self.classes = _classes(trailing)
        self._frames: dict[tuple, Frame] = {}
        self.start: State = ("^", self.frame("", None, "", START, 0, SAME_LINE))

    def frame(self, kind: str, parent: Frame | None, label: str, previous: str, opened: int, inside: int) -> Frame:
        key = (kind, parent, label, previous, opened, inside)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = Frame(kind, parent, label, previous, opened, inside)
        return frame

    def step(self, state: State, token: Token) -> tuple[float, State] | None:
        last, frame = state
        shown = self.classes.get((last, frame.kind, token.kind))
        if shown is None:
            return None
        if shown == "$":
            return 0.0, (shown, frame)
        habits = self.habits
        column = token.column
        inside = frame.inside
        cost = token.odd + habits.gap(last, shown, inside != SAME_LINE, token.gap, token.gap_learned)
        if shown in ":,":
            return cost, (shown, frame)
        if shown in "}]":
            cost += habits.follows(frame.label, frame.previous, END, token.learned)
            if column != SAME_LINE:
                cost += habits.column(column == frame.opened)
            if last == ",":
                cost += TRAILING_COMMA
            return cost, (shown, frame.parent or frame)
        if column != SAME_LINE:
            if last != ":":
                expected = inside if inside != SAME_LINE else frame.opened + habits.unit if frame.parent else 0
                cost += habits.column(column == expected)
            if last != ":":
                inside = column
        label = previous = frame.previous
        if shown == "K":
            previous = token.text
            cost += habits.follows(frame.label, frame.previous, previous, token.learned)
        elif frame.kind == "[":
            label = frame.label + "[]"
            previous = element(token.type, frame.previous)
            cost += habits.follows(frame.label, frame.previous, previous, token.learned)
        elif frame.kind == "{":
            cost += habits.type(previous, token.type, token.learned)
        if previous != frame.previous or inside != frame.inside:
            frame = self.frame(frame.kind, frame.parent, frame.label, previous, frame.opened, inside)
        if shown in "{[":
            opened = column if column != SAME_LINE else line_indent(frame)
            return cost, (shown, self.frame(shown, frame, label, START, opened, SAME_LINE))
        return cost, (shown, frame)


def line_indent(frame: Frame | None) -> int:
    """The indentation of the line on which something stands in a frame without beginning it."""
    return 0 if frame is None else frame.inside if frame.inside != SAME_LINE else frame.opened


def element(kind: str, previous: str) -> str:
    """How an array's element is remembered: its type and its place, up to the fourth."""
    return f"#{kind}{min(int(previous[2:]) + 1, 4) if previous.startswith('#') else 1}"


def chain(frame: Frame) -> Iterator[Frame]:
    """The open containers, innermost first."""
    at: Frame | None = frame
    while at is not None and at.kind:
        yield at
        at = at.parent
