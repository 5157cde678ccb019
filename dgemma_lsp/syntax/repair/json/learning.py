"""Learning a file's habits from its damaged text: reading on, whatever comes."""

from __future__ import annotations

import itertools
import time
from collections import Counter

from dgemma_lsp.syntax.repair.json.habits import END, START, Habits
from dgemma_lsp.syntax.repair.json.reading import element
from dgemma_lsp.syntax.repair.json.tokens import SAME_LINE, Lexer, Token

AHEAD = 12
"""Tokens that have to look right where reading begins anew."""
ODD = 2.5
CHECKED_EVERY = 1024


class _Open:
    __slots__ = ("inside", "kind", "label", "opened", "previous")

    def __init__(self, kind: str, label: str, opened: int) -> None:
        self.kind, self.label, self.opened = kind, label, opened
        self.previous, self.inside = START, SAME_LINE


def learn(lexer: Lexer, deadline: float) -> Habits:
    """The habits of a document, or of as much of it as can be read until the `time.monotonic` instant."""
    habits = Habits()
    units: Counter[int] = Counter()
    stack = [_Open("", "", 0)]
    last, at, before = "^", lexer.first, 0
    for number in itertools.count(1):
        token = lexer.at(at, before)
        kind = token.kind
        if kind == "$" or (number % CHECKED_EVERY == 0 and time.monotonic() > deadline):
            break
        if kind in "uxc" or token.odd >= ODD:
            at = _again(lexer, token)
            before = lexer.white_before(at)
            last = "?"
            continue
        top = stack[-1]
        shown = "K" if kind == "s" and top.kind != "[" and lexer.document.startswith(":", token.following) else kind
        shown = {"s": "V", "l": "n"}.get(shown, shown)
        if last != "?":
            token.gap_learned = habits.see_gap(last, shown, top.inside != SAME_LINE, token.gap)
        if shown in "}]":
            _close(stack, shown, token, habits)
        elif shown not in ":,":
            _member(stack, last, shown, token, habits, units)
        last, at, before = shown, token.following, token.end
    if units:
        habits.unit = units.most_common(1)[0][0]
    return habits


def _close(stack: list[_Open], closer: str, token: Token, habits: Habits) -> None:
    opener = "{" if closer == "}" else "["
    closed = next((place for place in (1, 2) if len(stack) > place and stack[-place].kind == opener), None)
    if closed is None:
        return
    del stack[len(stack) - closed + 1 :]
    top = stack.pop()
    token.learned = habits.see_next(top.label, top.previous, END)
    if token.column != SAME_LINE:
        habits.see_column(token.column == top.opened)


def _member(stack: list[_Open], last: str, shown: str, token: Token, habits: Habits, units: Counter[int]) -> None:
    top = stack[-1]
    if token.column != SAME_LINE and last != ":":
        if top.inside == SAME_LINE:
            units[max(token.column - top.opened, 0)] += bool(top.kind)
        else:
            habits.see_column(token.column == top.inside)
        top.inside = token.column
    label = top.previous
    if shown == "K":
        token.learned = habits.see_next(top.label, top.previous, token.text)
        top.previous = token.text
    elif top.kind == "[":
        label = top.label + "[]"
        following = element(token.type, top.previous)
        token.learned = habits.see_next(top.label, top.previous, following)
        top.previous = following
    elif top.kind == "{":
        token.learned = habits.see_type(top.previous, token.type)
    if shown in "{[":
        opened = token.column if token.column != SAME_LINE else top.inside if top.inside != SAME_LINE else top.opened
        stack.append(_Open(shown, label, opened))


def _again(lexer: Lexer, fault: Token) -> int:
    """Where reading can go on after a token that cannot be right."""
    quote = fault.start
    for _ in range(4):
        quote = lexer.document.find('"', quote)
        if quote < 0:
            break
        for place in (quote, quote + 1):
            if place > fault.start and _reads_well(lexer, place):
                return place
        quote += 1
    return fault.following


def _reads_well(lexer: Lexer, at: int) -> bool:
    before = lexer.white_before(at)
    for _ in range(AHEAD):
        token = lexer.at(at, before)
        if token.kind in "uxc" or token.odd >= ODD:
            return False
        if token.kind == "$":
            return True
        at, before = token.following, token.end
    return True
