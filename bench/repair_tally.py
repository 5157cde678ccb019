"""How a repair is judged, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from attrs import Factory, define, frozen

from bench.repair_damage import Case, rendered

LARGEST = 4_000_000
"""Lines times lines that are compared one by one."""


@frozen
class Judged:
    """One repair: `value` when a program or reader sees what it saw in the undamaged file; `outside` in characters."""

    edited: bool
    parses: bool
    value: bool
    same: bool
    outside: int


@define
class Tally:
    """The repairs of one kind of damage by one program."""

    judged: list[Judged] = Factory(list)
    ms: list[float] = Factory(list)

    def share(self, of: Callable[[Judged], bool]) -> float:
        """In per cent."""
        return 100 * sum(map(of, self.judged)) / len(self.judged) if self.judged else 0.0

    @property
    def value(self) -> float:
        return self.share(lambda one: one.value)

    @property
    def same(self) -> float:
        return self.share(lambda one: one.same)

    @property
    def parses(self) -> float:
        return self.share(lambda one: one.parses)

    @property
    def right(self) -> float:
        """Of those that were edited at all."""
        edited = [one for one in self.judged if one.edited]
        return 100 * sum(one.value for one in edited) / len(edited) if edited else 100.0

    @property
    def edited(self) -> float:
        return self.share(lambda one: one.edited)

    def joined(self, other: Tally) -> Tally:
        return Tally([*self.judged, *other.judged], [*self.ms, *other.ms])


def judge(case: Case, repaired: str | None) -> Judged:
    """What a program made of a damaged text."""
    after = case.text if repaired is None else repaired
    whole = case.sample.text
    if case.sample.language == "markdown":
        parses, value = True, after == whole or (after != case.text and rendered(after) == rendered(whole))
    else:
        parses, value = _same_value(after, whole)
    return Judged(after != case.text, parses, value, after == whole, _outside(case, after))


def _same_value(text: str, whole: str) -> tuple[bool, bool]:
    """Whether a text is json, and whether its value is that of another; keys keep their order, 1 is not 1.0."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False, False
    return True, json.dumps(value) == json.dumps(json.loads(whole))


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no json")


def _outside(case: Case, after: str) -> int:
    """Characters that were inserted or removed on other lines than the damaged ones, or where a damaged line was."""
    old, new = ([f"{line}\n" for line in text.split("\n")] for text in (case.text, after))
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    old, new = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(old) * len(new) > LARGEST:
        # Everything was written anew.
        return sum(map(len, old))
    count = 0
    for kind, start, stop, from_, to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        first, last = head + start, head + max(start, stop - 1)
        if kind != "equal" and not case.lines[0] <= first <= last <= case.lines[1] + (start == stop):
            before, now = "".join(old[start:stop]), "".join(new[from_:to])
            same = _alike(before, now)
            same += _alike(before[same:][::-1], now[same:][::-1])
            count += max(len(before), len(now)) - same
    return count


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How much two sequences have in common at their beginning."""
    return next(
        (at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right),
        min(len(one), len(other)),
    )
