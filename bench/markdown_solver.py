"""Weights of traits under which what is right is likeliest: conditional logit, and the logit of a line."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import frozen

from bench.markdown_choices import Choice

OPTIONS = 60
"""Wrong options of a choice that are looked at; these stand for the others too."""
RARE = 8
"""A trait of fewer choices than these has no weight."""
LEAVING = 4
"""How often a text that is meant as it is counts: most saves are of such."""
MEANT = 4.0
"""In nats; a text for which more speaks is left alone."""
SMALLEST = 0.05
"""In nats; smaller weights are left out."""


@frozen
class Fit:
    """A table of weights, how likely it makes the right options (nats a choice), and of how many choices."""

    weights: dict[str, float]
    likelihood: float
    choices: int


@frozen
class Verdict:
    """Of the choices of a kind: how many the weights decide right at all, and of those they are sure of."""

    n: int
    first: int
    sure: int
    sure_right: int


class _Rows:
    """All options of all choices in one matrix `x` [rows, traits]; choice c has the rows from starts[c] on.

    The more choices a package has, the less each `counts`: they are much alike.
    """

    def __init__(self, choices: Sequence[Choice]):
        rng = random.Random(0)
        seen: dict[str, int] = {}
        for choice in choices:
            for name in {name for row in choice.rows for name in row}:
                seen[name] = seen.get(name, 0) + 1
        self.names = sorted(name for name, count in seen.items() if count >= RARE)
        index = {name: number for number, name in enumerate(self.names)}
        rows: list[Mapping[str, float]] = []
        offsets: list[float] = []
        right: list[bool] = []
        starts: list[int] = []
        for choice in choices:
            starts.append(len(rows))
            wrong = [row for row, is_right in zip(choice.rows, choice.right, strict=True) if not is_right]
            kept = wrong if len(wrong) <= OPTIONS else rng.sample(wrong, OPTIONS)
            stand_for = float(np.log(len(wrong) / len(kept))) if kept else 0.0
            good = [row for row, is_right in zip(choice.rows, choice.right, strict=True) if is_right]
            rows += good + kept
            offsets += [0.0] * len(good) + [stand_for] * len(kept)
            right += [True] * len(good) + [False] * len(kept)
            if choice.leave is not None:
                rows.append({})
                offsets.append(choice.leave)
                right.append(choice.leaving)
        self.x = np.zeros((len(rows), len(self.names)), dtype=np.float32)
        for number, row in enumerate(rows):
            for name, value in row.items():
                if name in index:
                    self.x[number, index[name]] = value
        sources = Counter(choice.source for choice in choices)
        counts = np.array(
            [sources[choice.source] ** -0.5 * (LEAVING if choice.leaving else 1) for choice in choices],
            dtype=np.float32,
        )
        self.counts = counts / counts.sum()
        self.offsets = np.array(offsets, dtype=np.float32)
        self.right = np.array(right)
        self.starts = np.array(starts)
        self.sizes = np.diff([*starts, len(rows)])

    def shares(self, weights: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each row its share of its choice, counting only `rows`, and the log of the choice's sum."""
        z = np.where(rows, self.x @ weights + self.offsets, -np.inf)
        top = np.maximum.reduceat(z, self.starts)
        e = np.exp(z - np.repeat(top, self.sizes))
        total = np.add.reduceat(e, self.starts)
        return e / np.repeat(total, self.sizes), np.log(total) + top


def fit(choices: Iterable[Choice], pull: float, steps: int = 400) -> Fit:
    """Maximum likelihood with weights pulled to zero.

    Choices of which no option is right say nothing, and those of texts that look meant as they are need not be won.
    """
    usable = [
        choice
        for choice in choices
        if choice.leaving or (any(choice.right) and (choice.leave is None or choice.leave <= MEANT))
    ]
    rows = _Rows(usable)
    every = np.ones(len(rows.right), dtype=bool)
    weights = np.zeros(len(rows.names), dtype=np.float32)
    mean, spread = np.zeros_like(weights), np.zeros_like(weights)
    counts = np.repeat(rows.counts, rows.sizes)
    likelihood = 0.0
    for step in range(1, steps + 1):
        shares, total = rows.shares(weights, every)
        good, good_total = rows.shares(weights, rows.right)
        likelihood = float(rows.counts @ (good_total - total))
        slope = rows.x.T @ ((good - shares) * counts) - pull * weights
        # Adam (arXiv:1412.6980), with steps that become small at the end.
        mean, spread = 0.9 * mean + 0.1 * slope, 0.99 * spread + 0.01 * slope * slope
        size = 0.15 if step < 0.6 * steps else 0.03
        weights = weights + size * (mean / (1 - 0.9**step)) / (np.sqrt(spread / (1 - 0.99**step)) + 1e-8)
    table = {name: round(float(weight), 2) for name, weight in zip(rows.names, weights, strict=True)}
    return Fit({name: one for name, one in table.items() if abs(one) >= SMALLEST}, likelihood, len(usable))


def judge(choices: Iterable[Choice], weights: Mapping[str, float], needs: Mapping[str, float]) -> dict[str, Verdict]:
    """By kind; sure is an option with the share that its kind `needs`, in which leaving counts."""
    found: dict[str, list[tuple[bool, bool]]] = {}
    for choice in choices:
        z = np.array([sum(weights.get(name, 0.0) * value for name, value in row.items()) for row in choice.rows])
        every = z if choice.leave is None else np.append(z, choice.leave)
        best = int(z.argmax())
        share = 1 / np.exp(every - z[best]).sum()
        found.setdefault(choice.kind, []).append((choice.right[best], bool(share >= needs.get(choice.kind, 0.7))))
    return {
        kind: Verdict(
            len(every),
            sum(right for right, _ in every),
            sum(sure for _, sure in every),
            sum(right and sure for right, sure in every),
        )
        for kind, every in found.items()
    }


def logit(rows: Sequence[Mapping[str, float]], yes: Sequence[bool], pull: float = 1.0) -> dict[str, float]:
    """Weights whose sum is the log odds of yes, both sides counted alike (Newton's method)."""
    names = sorted({name for row in rows for name in row})
    index = {name: number for number, name in enumerate(names)}
    x = np.zeros((len(rows), len(names)))
    for number, row in enumerate(rows):
        for name, value in row.items():
            x[number, index[name]] = value
    y = np.array(yes, dtype=float)
    balance = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    weights = np.zeros(len(names))
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (balance * (y - p)) - pull * weights
        curve = (x * (balance * p * (1 - p))[:, None]).T @ x + pull * np.eye(len(names))
        weights += np.linalg.solve(curve, slope)
    return {name: round(float(weight), 1) for name, weight in zip(names, weights, strict=True)}
