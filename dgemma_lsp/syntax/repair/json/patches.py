"""The single changes that a damaged JSON text may need, and how each reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import attrs

from dgemma_lsp.syntax.repair.json.reading import AFTER, Frame, Reader, State, chain
from dgemma_lsp.syntax.repair.json.tokens import NO_GAP, SAME_LINE, Lexer, Token, gap_shape, splits
from dgemma_lsp.text.edits import Edit

INSERTED = 5.0
"""Nats that one inserted character costs, besides those for where: the logarithm of the number of tokens."""
OWN_GAP = 4.0
TAIL = -5.0
"""Nats that closing everything at the end costs beside one insertion, however much is open."""
DOUBLED = 5.0
REMOVED = 20.0
TRAILING = 2.0
CLOSINGS = 12
"""Places tried from either end of a string for its closing quote."""

_STARTERS = "snl{[ux"
_CLOSING = re.compile(r"[ \t]*[,:}\]]|[ \t]*$")


@attrs.frozen(eq=False)
class Patch:
    """At `at` stands, instead of one token, `tokens`; reading goes on at `resume`, after what ended at `before`.

    `cost` is that of all `edits`; what the tokens cost is not in it. Tokens of no width are what was inserted.
    `what` is "insert" (marks), "quote" or "remove".
    """

    at: int
    tokens: tuple[Token, ...]
    resume: int
    before: int
    edits: tuple[Edit, ...]
    cost: float
    what: str


class Step(NamedTuple):
    """A token before it is read: the `part`-th at `at` (more than one where there is a patch), the state and the
    cost so far."""

    at: int
    part: int
    state: State
    cost: float
    token: Token
    gap_start: int


class Patcher:
    """Proposes patches at the steps of a reading."""

    def __init__(self, lexer: Lexer, reader: Reader) -> None:
        self.lexer = lexer
        self.reader = reader
        document = lexer.document
        self.inserted = INSERTED + math.log(1 + len(document) / 6)
        self._removed = self.inserted + REMOVED - INSERTED
        self._newline = "\r\n" if "\r\n" in document else "\n"
        self._indent = "\t" if re.search(r"[\n\r]\t", document) else " "

    def insertions(self, step: Step, unit: Patch | None, at_fault: bool) -> Iterator[Patch]:
        """Patches that put a bracket before a token, or at the fault also a comma or colon."""
        last, frame = step.state
        if last in AFTER or (last in "{[" and frame.kind):
            if frame.kind:
                yield from self._insert(step, unit, frame.closer)
            if at_fault and frame.kind and step.token.kind in _STARTERS and last in AFTER:
                yield from self._insert(step, unit, ",")
        if last in "^:" or (frame.kind == "[" and last in "[,"):
            yield from self._insert(step, unit, "{")
            yield from self._insert(step, unit, "[")
        if at_fault and last == "K":
            yield from self._insert(step, unit, ":")

    def _insert(self, step: Step, unit: Patch | None, mark: str) -> Iterator[Patch]:
        """The best way to put a mark into the gap before a token."""
        best: tuple[float, int, Token, Token, str] | None = None
        white = self.lexer.document[step.gap_start : step.token.start]
        places = [0] if mark in ",:" else splits(white) if white.isspace() else sorted({0, len(white)})
        ways = [(gap_shape(white[:place]), gap_shape(white[place:]), place, "") for place in places]
        frame = step.state[1]
        if mark in "}]" and frame.inside != SAME_LINE:
            own = self._newline + self._indent * frame.opened
            ways.append((("line", frame.opened), gap_shape(white), 0, own))
        for left, right, place, own in ways:
            at = step.gap_start + place
            virtual = Token(mark, at, at, at, *left, mark, "a" if mark == "[" else "o" if mark == "{" else "")
            moved = step.token.with_gap(right)
            read = self.reader.step(step.state, virtual)
            if read is None:
                continue
            follow = self.reader.step(read[1], moved)
            cost = read[0] + (follow[0] if follow else 0.0) + (OWN_GAP if own else 0.0)
            if best is None or cost < best[0]:
                best = cost, at, virtual, moved, own
        if best is not None:
            _, at, virtual, moved, own = best
            cost = self.inserted + (OWN_GAP if own else 0.0)
            yield self._merged(step, unit, (virtual, moved), Edit(at, at, own + mark), cost)

    def _merged(self, step: Step, unit: Patch | None, new: tuple[Token, ...], edit: Edit, cost: float) -> Patch:
        if unit is None:
            return Patch(step.at, new, step.token.following, step.token.end, (edit,), cost, "insert")
        tokens = unit.tokens[: step.part] + new + unit.tokens[step.part + 1 :]
        edits = (*unit.edits[: step.part], edit, *unit.edits[step.part :])
        return attrs.evolve(unit, tokens=tokens, edits=edits, cost=unit.cost + cost)

    def tail(self, step: Step, unit: Patch | None) -> Iterator[Patch]:
        """All closers at the end of the file."""
        last, frame = step.state
        if step.token.kind != "$" or not frame.kind or not (last in AFTER or last in "{["):
            return
        tokens, edits, place, state = [], [], step.gap_start, step.state
        for at in chain(frame):
            rest = self.lexer.document[place : step.token.start]
            token, own = min(self._closings(at, place, rest), key=lambda way: self._cost(state, way[0]) + len(way[1]))
            tokens.append(token)
            edits.append(Edit(token.start, token.start, own + at.closer))
            place = token.start
            state = (at.closer, at.parent or at)
        joined = _joined(edits)
        new = (*tokens, step.token)
        if unit is not None:
            new = unit.tokens[: step.part] + new
            joined = (*unit.edits, *joined)
        cost = self.inserted + TAIL + 0.2 * len(edits) + (unit.cost if unit else 0.0)
        yield Patch(step.at, new, step.token.following, step.token.end, joined, cost, "insert")

    def _closings(self, frame: Frame, place: int, rest: str) -> Iterator[tuple[Token, str]]:
        """The closer of a container in the `rest` of the gap at `place`, each with the white space to add to it."""
        if frame.inside == SAME_LINE:
            blanks = len(rest) - len(rest.lstrip(" \t"))
            ways = [(NO_GAP, 0, ""), (gap_shape(rest[:blanks]), blanks, ""), (gap_shape(" "), 0, " ")]
        else:
            own = self._newline + self._indent * frame.opened
            fits = rest.startswith(own) and (len(rest) == len(own) or rest[len(own)] in "\n\r")
            ways = [(gap_shape(own), len(own) if fits else 0, "" if fits else own)]
        for gap, offset, own in ways:
            at = place + offset
            yield Token(frame.closer, at, at, at, gap[0], gap[1], frame.closer, ""), own

    def _cost(self, state: State, token: Token) -> float:
        read = self.reader.step(state, token)
        return read[0] if read else math.inf

    def removals(self, step: Step, before: Step | None) -> Iterator[Patch]:
        """Patches without the token at the fault, or without the one before it."""
        kind = step.token.kind
        if kind in "}],:":
            doubled = kind in ",:" and before is not None and before.token.kind == kind
            yield self._without(step, step.gap_start, DOUBLED if doubled else self._removed)
        if before is not None and before.token.kind in ",:" and kind in "}],:$":
            trailing = before.token.kind == "," and kind in "}]"
            yield self._without(before, before.token.start, TRAILING if trailing else self._removed)

    def _without(self, step: Step, start: int, cost: float) -> Patch:
        edit = Edit(start, step.token.end, "")
        return Patch(step.at, (), step.token.following, step.token.end, (edit,), cost, "remove")

    def quotes(self, step: Step) -> Iterator[Patch]:
        """Patches that open a string before a token, or close one within it."""
        last, frame = step.state
        token = step.token
        if (last, frame.kind, "s") not in self.reader.classes:
            return
        opened = self.lexer.string(token.start, step.gap_start, token.start, None)
        if opened is not None and token.kind != "c":
            yield self._quoted(step, opened, token.start)
        if token.kind in "su":
            inside = self.lexer.document[token.start + 1 : token.end]
            places = [token.start + 1 + match.start() for match in _CLOSING.finditer(inside)]
            if len(places) > 2 * CLOSINGS:
                places = places[:CLOSINGS] + places[-CLOSINGS:]
            for place in dict.fromkeys(places):
                closed = self.lexer.string(token.start, step.gap_start, None, place)
                if closed is not None:
                    yield self._quoted(step, closed, place)

    def _quoted(self, step: Step, string: Token, at: int) -> Patch:
        return Patch(step.at, (string,), string.following, string.end, (Edit(at, at, '"'),), self.inserted, "quote")


def _joined(edits: list[Edit]) -> tuple[Edit, ...]:
    """Insertions at one place as one."""
    joined: list[Edit] = []
    for edit in edits:
        if joined and joined[-1].start == edit.start:
            joined[-1] = Edit(edit.start, edit.end, joined[-1].text + edit.text)
        else:
            joined.append(edit)
    return tuple(joined)
