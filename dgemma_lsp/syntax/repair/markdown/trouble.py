"""A fault and the ways to mend it, weighed against each other and against leaving the text as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import attrs

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.text.edits import Edit

MOST = 8
"""Options of one fault that are kept."""


@attrs.frozen
class Option:
    """One way to mend a fault, and what speaks for and against it.

    `cost` is in nats, the least is the likeliest; `at` is the place in the text of a passage.
    """

    edits: tuple[Edit, ...]
    traits: Mapping[str, float]
    cost: float = 0.0
    at: int = -1


@attrs.frozen
class Question:
    """Where in a passage the partner of the mark at `at` was: what speaks for each place, and for none of them.

    `kind` is what is missing.
    """

    kind: str
    at: int
    options: tuple[Option, ...]
    meant: Mapping[str, float]


@attrs.frozen
class Trouble:
    """A fault, its options from the likeliest on, and what it costs to leave the text as it is.

    The first option is the clear winner from a share of `needs` on.
    """

    fault: Unclosed
    options: tuple[Option, ...]
    leave: float
    needs: float = 0.6

    @property
    def sure(self) -> bool:
        return self.share >= self.needs

    @property
    def share(self) -> float:
        """How likely the first option is, among all of them and leaving."""
        if not self.options:
            return 0.0
        best = self.options[0].cost
        every = [option.cost for option in self.options] + [self.leave]
        return 1 / sum(math.exp(min(best - cost, 50.0)) for cost in every)


def weigh(options: Iterable[Option], weights: Mapping[str, float]) -> tuple[Option, ...]:
    """The likeliest options with their costs."""
    priced = [attrs.evolve(option, cost=cost(option.traits, weights)) for option in options]
    return tuple(sorted(priced, key=lambda option: option.cost)[:MOST])


def cost(traits: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return -sum(weights.get(name, 0.0) * value for name, value in traits.items())
