"""How a file is written: which gaps, indentations, orders of keys and types of values are usual in it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

START, END = "^", "$"
SCARCE = 0.002
"""The probability of a key that was never seen, beside that of all others that were never seen."""
SCARCE_END = 0.1
SCARCE_ELEMENT = 0.1
USUAL_GAPS = {"": 0.4, "line": 0.3, " ": 0.1}
RARE_GAP = 0.02
SCARCE_TYPE = 0.1


class Habits:
    """Counts of what was seen in a file, and the cost in nats of seeing something once more.

    A token that the counts were learned from does not count for itself (leave one out), else every mistake would be
    a habit. Probabilities in rare contexts lean on those in wider ones (Witten and Bell's interpolation).
    """

    def __init__(self) -> None:
        self.unit = 2
        self._gaps: defaultdict[tuple, Counter[str]] = defaultdict(Counter)
        self._counts: defaultdict[tuple, Counter[str]] = defaultdict(Counter)
        self._columns = [0.3, 30.0]
        self._gap_costs: dict[tuple, float] = {}
        self._costs: dict[tuple, float] = {}

    def see_gap(self, last: str, shown: str, lined: bool, gap: str) -> tuple[str, str, bool]:
        for context in _gap_contexts(last, shown, lined):
            self._gaps[context][gap] += 1
        return last, shown, lined

    def see_column(self, expected: bool) -> None:
        self._columns[expected] += 1

    def see_next(self, label: str, previous: str, following: str) -> tuple[str, str]:
        for context in _contexts(label, previous):
            self._counts[context][following] += 1
        return label, previous

    def see_type(self, key: str, kind: str) -> tuple[str, str]:
        self._counts["type", key][kind] += 1
        self._counts["type",][kind] += 1
        return "type", key

    def gap(self, last: str, shown: str, lined: bool, gap: str, learned: tuple | None) -> float:
        known = (last, shown, lined, gap, learned)
        cost = self._gap_costs.get(known)
        if cost is None:
            contexts = _gap_contexts(last, shown, lined)
            own = _gap_contexts(*learned) if learned else ()
            chances = [(self._gaps[context], context in own) for context in contexts]
            cost = self._gap_costs[known] = _interpolated(chances, gap, USUAL_GAPS.get(gap, RARE_GAP))
        return cost

    def column(self, expected: bool) -> float:
        """The cost of a line that is indented as expected, or not."""
        return -math.log(self._columns[expected] / sum(self._columns))

    def follows(self, label: str, previous: str, following: str, learned: tuple | None) -> float:
        # Where a closer is missing, each of the others has the place of the next one: an end never counts for itself.
        near = 3 if following == END else learned and (learned[0] == label) + 2 * (learned[1] == previous)
        known = (label, previous, following, near)
        cost = self._costs.get(known)
        if cost is None:
            own = (near == 3, near in (2, 3), near in (1, 3), near is not None)
            counters = [self._counts[context] for context in _contexts(label, previous)]
            scarce = SCARCE_END if following == END else SCARCE_ELEMENT if following[:1] == "#" else SCARCE
            cost = self._costs[known] = _interpolated(list(zip(counters, own, strict=True)), following, scarce, 0.5)
        return cost

    def type(self, key: str, kind: str, learned: tuple | None) -> float:
        near = learned and learned[1] == key
        known = ("type", key, kind, near)
        cost = self._costs.get(known)
        if cost is None:
            chances = [(self._counts["type", key], bool(near)), (self._counts["type",], near is not None)]
            cost = self._costs[known] = _interpolated(chances, kind, SCARCE_TYPE)
        return cost


def _gap_contexts(last: str, shown: str, lined: bool) -> tuple[tuple, ...]:
    wide_last = last if last in "{[,:" else "value"
    wide_shown = shown if shown in "}],:" else "value"
    return (last, shown, lined), (last, shown), (wide_last, wide_shown, "wide")


def _contexts(label: str, previous: str) -> tuple[tuple, ...]:
    return (label, previous), ("previous", previous, ""), ("label", label, "", ""), ()


def _interpolated(chances: list[tuple[Counter[str], bool]], event: str, scarce: float, unknown: float = 1.0) -> float:
    """-log P(event) by the counts of contexts, the narrowest first, each with whether the event itself is in it.

    `unknown` is the factor of a context without counts; with 1 there were a reward for contexts nobody has seen,
    beside those where everything was seen once.
    """
    probability = scarce
    for counter, own in reversed(chances):
        count, total, kinds = counter.get(event, 0), counter.total(), len(counter)
        if own and count:
            kinds -= count == 1
            count, total = count - 1, total - 1
        probability = (count + kinds * probability) / (total + kinds) if total else probability * unknown
    return -math.log(probability)
