"""How a repair is judged, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable

from attrs import Factory, define, frozen

from bench.repair_damage import Case, rendered
from dgemma_lsp.text.rewriting import hunks


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
    count = 0
    for hunk in hunks(case.text, 0, len(case.text), after):
        first, last = (case.text.count("\n", 0, at) for at in (hunk.start, max(hunk.start, hunk.end - 1)))
        if not case.lines[0] <= first <= last <= case.lines[1] + (hunk.start == hunk.end):
            count += sum(max(len(edit.text), edit.end - edit.start) for edit in hunk.edits)
    return count
