"""The cheapest repairs of a damaged JSON text: fault by fault, several readings side by side."""

from __future__ import annotations

import bisect
import heapq
import math
import time
from collections.abc import Mapping, Sequence

import attrs

from dgemma_lsp.syntax.repair.json.patches import Patch, Patcher, Step
from dgemma_lsp.syntax.repair.json.reading import Reader, State
from dgemma_lsp.syntax.repair.json.tokens import Lexer

MOST_PATCHES = 5
BEAM = 6
TRIED = 24
"""Patches of one reading that are followed to the next fault; more are only looked at."""
NEAR = 40
"""Tokens before the fault where brackets are tried anywhere; elsewhere only where something is unusual."""
UNUSUAL = 150
QUOTES_NEAR = 8
MEMBERS = 8
AHEAD = 3
STUCK = 8.0
"""Nats against a patch after which reading stops at once."""
PASSED = 10.0
"""Nats for one after which reading passes the fault."""
SETBACK = 8.0
"""Nats against a reading that its last patch stopped earlier."""
HOPELESS = 40.0
"""Nats by which a patch may make the tokens behind it costlier."""
SLACK = 2.0
"""Nats by which a reading may be promising beyond what one more patch costs, for the search to go on."""
WALKS = 8
"""Readings of which the steps are kept."""
CHECKED_EVERY = 2048

Patches = Mapping[int, Patch]


class Late(Exception):
    """The deadline passed."""


@attrs.frozen(eq=False)
class Reading:
    """A text as read with patches: `cost` up to the fault at `fault`, which is None when it reads to the end."""

    patches: Patches
    cost: float
    fault: int | None
    setback: bool = False


class Search:
    """`run` gives the complete readings found by the deadline, cheapest first."""

    def __init__(self, lexer: Lexer, reader: Reader, deadline: float) -> None:
        self.lexer, self.reader, self.deadline = lexer, reader, deadline
        self.patcher = Patcher(lexer, reader)
        self._memo: dict[tuple, tuple[float, int | None]] = {}
        self._known: dict[int, float] = {}
        self._walks: dict[tuple[Patch, ...], list[Step]] = {}
        self._ticks = 0

    def run(self) -> list[Reading]:
        steps = self.walk({})
        reading = self._reading(steps, {})
        if reading.fault is None:
            return [reading]
        self._expect(steps)
        beam, complete, seen = [reading], [], set()
        for _ in range(MOST_PATCHES):
            grown = []
            for parent in beam:
                for child in self._children(parent):
                    key = _identity(self.lexer.document, child.patches)
                    if key not in seen:
                        seen.add(key)
                        (complete if child.fault is None else grown).append(child)
            complete.sort(key=lambda one: one.cost)
            if complete:
                self._expect(self.walk(complete[0].patches))
            grown.sort(key=self._promise)
            beam = grown[:BEAM]
            beam += [one for one in heapq.nlargest(3, grown, key=lambda one: one.fault or 0) if one not in beam]
            if complete and (self._settled(complete[0], beam)):
                break
        return complete

    def _settled(self, complete: Reading, beam: Sequence[Reading]) -> bool:
        """Whether no reading in the beam, with one more patch, is likely to become better than a complete one."""
        another = self.patcher.inserted - SLACK
        return not beam or self._promise(complete) < self._promise(beam[0]) + another

    def _expect(self, steps: Sequence[Step]) -> None:
        """Takes a reading for the measure of what the text costs up to a place."""
        self._expected = [(step.token.start, step.cost) for step in steps]
        self._rate = steps[-1].cost / max(steps[-1].token.start, 50)

    def _promise(self, reading: Reading) -> float:
        """What a reading costs more than is expected of the text up to its fault."""
        read = len(self.lexer.document) if reading.fault is None else reading.fault
        last = len(self._expected) - 1
        place = last if reading.fault is None else min(bisect.bisect_left(self._expected, (read, -math.inf)), last)
        start, cost = self._expected[place]
        cost -= SETBACK if reading.setback else 0.0
        return reading.cost - cost - (self._rate * (read - start) if place == last else 0.0)

    def _tick(self) -> None:
        self._ticks += 1
        if self._ticks % CHECKED_EVERY == 1 and time.monotonic() > self.deadline:
            raise Late

    def walk(self, patches: Patches) -> list[Step]:
        """Every step of a reading, the fault's (or the end's) the last."""
        key = tuple(patches.values())
        if key not in self._walks:
            if len(self._walks) == WALKS:
                del self._walks[next(iter(self._walks))]
            self._walks[key] = self._walked(patches)
        return self._walks[key]

    def _walked(self, patches: Patches) -> list[Step]:
        reader_step, at_token = self.reader.step, self.lexer.at
        state, at, before, cost = self.reader.start, self.lexer.first, 0, 0.0
        if self.lexer.document.startswith("\ufeff"):
            before = 1
        steps: list[Step] = []
        while True:
            self._tick()
            patch = patches.get(at)
            tokens = (at_token(at, before),) if patch is None else patch.tokens
            for index, token in enumerate(tokens):
                steps.append(Step(at, index, state, cost, token, before))
                read = reader_step(state, token)
                if read is None or token.kind == "$":
                    return steps
                cost += read[0]
                state = read[1]
                before = token.end
            if patch is None:
                at, before = tokens[0].following, tokens[0].end
            else:
                at, before = patch.resume, patch.before

    def _reading(self, steps: Sequence[Step], patches: Patches) -> Reading:
        last = steps[-1]
        done = self.reader.step(last.state, last.token) is not None
        cost = last.cost + sum(patch.cost for patch in patches.values())
        return Reading(patches, cost, None if done else last.token.start)

    def _tail(self, state: State, at: int, before: int, patches: Patches) -> tuple[float, int | None]:
        """The cost from a state to the next fault, and where that is; tails that meet are read once.

        The cost is infinite when it has become hopeless beside that of the reading before, and when a patch lies
        within what other patches have made one token.
        """
        reader_step, at_token, memo = self.reader.step, self.lexer.at, self._memo
        later = tuple(sorted(place for place in patches if place >= at))
        latest = tuple(patches[place] for place in later)
        visited: list[tuple[tuple, float]] = []
        known_before = self._known.get(at, math.inf)
        cost = 0.0
        fault: int | None = None
        while True:
            self._tick()
            if later and at > later[0]:
                cost, fault = math.inf, at
                break
            if state[0] == ",":
                key = (at, state[1], latest)
                known = memo.get(key)
                if known is not None:
                    cost, fault = cost + known[0], known[1]
                    break
                if cost - self._known.get(at, math.inf) > HOPELESS - known_before:
                    return math.inf, at
                visited.append((key, cost))
            patch = patches[at] if later and at == later[0] else None
            if patch is not None:
                later, latest = later[1:], latest[1:]
            stop = False
            tokens = (at_token(at, before),) if patch is None else patch.tokens
            for token in tokens:
                read = reader_step(state, token)
                if read is None:
                    fault, stop = token.start, True
                    break
                cost += read[0]
                state = read[1]
                if token.kind == "$":
                    stop = True
                    break
            if stop:
                break
            if patch is None:
                at, before = tokens[0].following, tokens[0].end
            else:
                at, before = patch.resume, patch.before
        for key, then in visited:
            memo[key] = cost - then, fault
        return cost, fault

    def _children(self, parent: Reading) -> list[Reading]:
        steps = self.walk(parent.patches)
        self._known = {step.at: step.cost for step in reversed(steps)}
        fault = len(steps) - 1
        proposals: list[tuple[float, int, Patch]] = []

        def propose(place: int, patch: Patch) -> None:
            proposals.append((self._ahead(steps, place, patch, parent.patches), place, patch))

        for place in self._places(steps):
            step = steps[place]
            for patch in self.patcher.insertions(step, parent.patches.get(step.at), place == fault):
                propose(place, patch)
        for place in range(max(0, fault - QUOTES_NEAR), fault + 1):
            if steps[place].at not in parent.patches:
                for patch in self.patcher.quotes(steps[place]):
                    propose(place, patch)
        step = steps[fault]
        for patch in self.patcher.tail(step, parent.patches.get(step.at)):
            propose(fault, patch)
        if step.at not in parent.patches:
            before = steps[fault - 1] if fault and steps[fault - 1].at not in parent.patches else None
            for patch in self.patcher.removals(step, before):
                propose(fault if patch.at == step.at else fault - 1, patch)
        children = []
        followed = heapq.nsmallest(TRIED, proposals, key=lambda one: one[0])
        followed += [one for one in proposals if one[1] == fault and one not in followed]
        for _, place, patch in followed:
            child = self._with(parent, steps, place, patch)
            if child.cost < math.inf:
                children.append(child)
        return children

    def _with(self, parent: Reading, steps: Sequence[Step], place: int, patch: Patch) -> Reading:
        patches = {**parent.patches, patch.at: patch}
        first = place
        while first and steps[first - 1].at == patch.at:
            first -= 1
        origin = steps[first]
        cost, where = self._tail(origin.state, patch.at, origin.gap_start, patches)
        cost += origin.cost + sum(one.cost for one in patches.values())
        return Reading(patches, cost, where, where is not None and where < steps[-1].token.start)

    def _ahead(self, steps: Sequence[Step], place: int, patch: Patch, patches: Patches) -> float:
        """How a patch looks from nearby: its cost against what the next tokens cost without it."""
        first = place
        while first and steps[first - 1].at == patch.at:
            first -= 1
        old, fault = patches.get(patch.at), steps[-1].token.start
        state, then = steps[first].state, steps[first].cost
        cost = patch.cost - (old.cost if old else 0.0)
        tokens = list(patch.tokens)
        at, before = patch.resume, patch.before
        while len(tokens) < len(patch.tokens) + AHEAD and at not in patches:
            tokens.append(self.lexer.at(at, before))
            at, before = tokens[-1].following, tokens[-1].end
        for token in tokens:
            while place < len(steps) - 1 and steps[place].token.start < token.start:
                place += 1
            read = self.reader.step(state, token)
            if read is None:
                return cost + then - steps[place].cost + STUCK
            if token.start >= fault and token.end > token.start:
                return cost + then - steps[place].cost - PASSED
            cost += read[0]
            state = read[1]
            if token.kind == "$":
                break
        return cost + then - steps[min(place + 1, len(steps) - 1)].cost

    def _places(self, steps: Sequence[Step]) -> list[int]:
        """The steps before which a bracket may be missing."""
        fault = len(steps) - 1
        places = set(range(max(0, fault - NEAR), fault + 1))
        odd = heapq.nlargest(UNUSUAL, range(fault), key=lambda place: steps[place + 1].cost - steps[place].cost)
        for place in odd:
            places.add(place)
            if place and steps[place - 1].token.kind == ",":
                place -= 1
                places.add(place)
            while place and steps[place - 1].token.kind in "}]":
                place -= 1
                places.add(place)
        seen: dict[int, int] = {}
        level = steps[fault].state[1].depth
        for place in range(fault, -1, -1):
            depth = steps[place].state[1].depth
            if depth <= level:
                level = depth
                if steps[place].state[0] in "^:[,Vn}]" and seen.get(depth, 0) < MEMBERS:
                    seen[depth] = seen.get(depth, 0) + 1
                    places.add(place)
        return sorted(places)


def _identity(document: str, patches: Patches) -> tuple:
    """Equal for patches whose results differ in white space alone."""
    found = []
    for patch in patches.values():
        for edit in patch.edits:
            for mark in "".join(edit.text.split()) or [""]:
                start = edit.start
                while start and (document[start - 1] in " \t\n\r" or document[start - 1] == mark):
                    start -= 1
                found.append((start, edit.end - edit.start, mark))
    return tuple(sorted(found))
