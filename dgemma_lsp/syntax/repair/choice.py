"""From likelihoods to a choice among the candidates that formatting alone cannot tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from dgemma_lsp.syntax.repair.diagnosis import Candidate
from dgemma_lsp.text.edits import Edit, apply_edits


@attrs.frozen
class Balance:
    """How a likelihood and a cost make a choice: the likelihood's weight, and by how many nats a winner is ahead."""

    weight: float
    margin: float


BALANCES = {"json": Balance(0.5, 2.5), "jsonc": Balance(0.5, 2.5), "markdown": Balance(0.35, 2.0)}
"""By language, from `python -m bench.repair --calibrate`: where nano is right four times out of five, and more often in
json.
"""

BEFORE = 1500
"""Characters of the document that a model reads before what it judges."""

LEFT, RIGHT = 24, 150
"""Characters around a place that are judged with it. A model knows `"},"` as one token: cut out of its surroundings, an
inserted bracket would look unlikely wherever it belongs.
"""

NEAR = 40
"""Places with fewer characters between them are looked at together, as what one writes there depends on the other."""

LONGEST = 250
"""Characters of places that are looked at together; beyond, a comparison would take longer than a save may."""


@attrs.frozen
class Stretch:
    """A part of the document that candidates write differently, as `EngineClient.score` wants it.

    `texts` are the different ways to write it, each with its surroundings, and `before` is what stands before them.
    `written` has the index into them of each candidate.
    """

    before: str
    texts: tuple[str, ...]
    written: tuple[int, ...]


def stretches(document: str, candidates: Sequence[Candidate]) -> tuple[Stretch, ...]:
    """What to ask a model about the candidates; nothing when there is nothing to compare, or too much of it.

    Far from each other, places are independent of each other as far as a model with a short memory can see: the
    likelihood of a candidate is the sum of those of what it writes in each stretch.
    """
    found = []
    for start, stop in _places(candidates):
        if stop - start > LONGEST:
            return ()
        first, last = max(0, start - LEFT), stop + RIGHT
        own = [
            document[first:start] + _within(document, candidate.edits, start, stop) + document[stop:last]
            for candidate in candidates
        ]
        texts = tuple(dict.fromkeys(own))
        if len(texts) > 1:
            found.append(Stretch(document[max(0, first - BEFORE) : first], texts, tuple(map(texts.index, own))))
    return tuple(found)


def choose(
    candidates: Sequence[Candidate],
    asked: Sequence[Stretch],
    log_probs: Sequence[Sequence[float]],
    balance: Balance,
) -> Candidate | None:
    """The one candidate that is likelier than the others by more than the margin.

    `log_probs` has, for each stretch that was `asked`, the log-likelihoods of its texts in nats.
    """
    costs = totals(candidates, asked, log_probs, balance.weight)
    ranked = sorted(zip(costs, candidates, strict=True), key=lambda one: one[0])
    if len(ranked) > 1 and ranked[1][0] - ranked[0][0] <= balance.margin:
        return None
    return ranked[0][1] if ranked else None


def totals(
    candidates: Sequence[Candidate],
    asked: Sequence[Stretch],
    log_probs: Sequence[Sequence[float]],
    weight: float,
) -> list[float]:
    """What each candidate costs with its likelihood counted in, in nats; less is better."""
    return [
        candidate.cost
        - weight * sum(probs[stretch.written[number]] for stretch, probs in zip(asked, log_probs, strict=True))
        for number, candidate in enumerate(candidates)
    ]


def _places(candidates: Sequence[Candidate]) -> list[tuple[int, int]]:
    """Where anything is edited, places near each other joined, in the order of the document."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted((edit.start, edit.end) for candidate in candidates for edit in candidate.edits):
        if joined and start - joined[-1][1] < NEAR:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _within(document: str, edits: Sequence[Edit], start: int, stop: int) -> str:
    """The characters [start, stop) of the document as the edits leave them."""
    inside = [
        Edit(edit.start - start, edit.end - start, edit.text)
        for edit in edits
        if start <= edit.start and edit.end <= stop
    ]
    return apply_edits(document[start:stop], inside)
