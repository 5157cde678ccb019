"""Brackets, quotes and tags that have no partner, in any language and in prose: a count to compare, not a verdict.

Each kind is looked at for itself, so that nesting plays no part and a stray mark of one kind spoils no other.
"""

from __future__ import annotations

import re
from collections import Counter

_MARK = re.compile(
    r"""\\.
    | (?!\"{3}|'{3}|`{3}) (?: "(?:\\.|[^"\\\r\n])*" | (?<![\w&<])'(?:\\.|[^'\\\r\n])*' | `[^`\r\n]*` )
    | ( \"{3} | '{3} | `{3} | ["'`()\[\]{}] | </?[A-Za-z][\w.-]* )""",
    re.VERBOSE,
)
"""In a group what wants a partner; else what needs none: an escaped character, or a string that ends on its line (an
apostrophe and a Rust lifetime start none)."""

_OPENERS = {")": "(", "]": "[", "}": "{"}
_SAME_OPENS_AND_CLOSES = ('"""', "'''", "```", "`")


def alone(text: str) -> tuple[list[str], list[str]]:
    """The closers and the other marks without a partner."""
    closing: list[str] = []
    open_now = Counter[str]()
    for mark in _MARK.findall(text):
        if opener := _OPENERS.get(mark) or (mark.startswith("</") and f"<{mark[2:]}"):
            if open_now[opener]:
                open_now[opener] -= 1
            else:
                closing.append(mark)
        elif mark in _SAME_OPENS_AND_CLOSES:
            open_now[mark] ^= 1
        elif mark:
            open_now[mark] += 1
    return closing, list(open_now.elements())


def count_alone(text: str) -> int:
    """How many marks have no partner."""
    return sum(map(len, alone(text)))


def around(above: str, below: str) -> tuple[str, str]:
    """Texts that stand for what is above and below some lines, when marks in these lines are counted.

    What is open above and closed nowhere below is left out: a bracket in a comment would pass for the partner of
    every closer that stands twice.
    """
    _, opened = alone(above)
    closing, others = alone(below)
    closing += [mark for mark in others if mark in _SAME_OPENS_AND_CLOSES]
    _, never_closed = alone("\n".join([*opened, *closing]))
    opened = list((Counter(opened) - Counter(never_closed)).elements())
    return "\n".join([*opened, ""]), "\n".join(["", *closing])
