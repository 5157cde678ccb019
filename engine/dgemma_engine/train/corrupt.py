"""Broken structure as training sees it: text in which a closer, quote or mark is missing, wrong or one too many.

Repair on save ranks closers in a file that may be broken elsewhere too. The encoder reads the broken text but is asked
for the true token at every break, so that it learns what belongs there and never learns to break things.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random

from attrs import frozen

from .spans import Span, family

STRUCTURE = {
    "json": re.compile(r"[\[\]{}\",:]"),
    "markdown": re.compile(r"\*\*|__|`{1,3}|\||\]\(|[\[\])>]"),
    "code": re.compile(r"[()\[\]{},:\"'`]"),
}
SHARE = {"json": 0.35, "markdown": 0.3, "code": 0.15}
"""Of the examples of a kind, how many are broken."""
MISTAKEN = {
    ")": "]}", "]": ")}", "}": ")]", ",": ":;", ":": ",=", '"': "'", "'": '"', "[": "({", "(": "[{", "{": "[(",
    "**": "*", "__": "_", "```": "`", "`": "'",
}  # fmt: skip


@frozen
class Break:
    """`wrong` stands at `at` of the broken text, `right` belongs there; either may be empty, not both."""

    at: int
    wrong: str
    right: str

    @property
    def span(self) -> Span:
        return self.at, self.at + len(self.wrong)


def share(kind: str) -> float:
    return SHARE[family(kind)]


def corrupt(
    rng: Random, text: str, kind: str, count: int, start: int = 0, stop: int | None = None
) -> tuple[str, list[Break]]:
    """`text` with up to `count` breaks in `[start, stop)`, and the breaks in their order."""
    stop = len(text) if stop is None else stop
    found = [match.span() for match in STRUCTURE[family(kind)].finditer(text, start, stop)]
    pieces: list[str] = []
    breaks: list[Break] = []
    done = size = 0
    for begin, end in sorted(rng.sample(found, min(count, len(found)))):
        wrong, right = _mistake(rng, text[begin:end])
        # What is one too many stands behind the true one.
        kept = text[done : begin if right else end]
        breaks.append(Break(size + len(kept), wrong, right))
        pieces += [kept, wrong]
        size += len(kept) + len(wrong)
        done = end
    return "".join([*pieces, text[done:]]), breaks


def _mistake(rng: Random, right: str) -> tuple[str, str]:
    """What stands there, and what belongs there."""
    draw = rng.random()
    if draw < 0.15:
        return right, ""
    if draw < 0.35 and right in MISTAKEN:
        return rng.choice(MISTAKEN[right]), right
    return "", right


def touches(span: Span, breaks: Iterable[Break]) -> bool:
    """Whether a hole would lie over a break or right beside one, where the text that stands is not the true one."""
    return any(one.span[0] <= span[1] and span[0] <= one.span[1] for one in breaks)
