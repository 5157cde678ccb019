"""How long a hole is made, and where its text meets what follows it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_engine.holes import find_join, plans


@pytest.mark.parametrize(
    ("text", "suffix", "expected"),
    [
        ("one = 1\n", "\nreturn one\n", None),
        ("one = 1\n    return one\n", "\n    return one\n", "one = 1"),
        ("one = 1\r\n    return one\r\n", "\r\n    return one\r\n", "one = 1"),
        ("one = 1\n\n    return one", "\n    return one\n", "one = 1\n"),
        ("one = 1\n    return one", "\n\n    return one\n", "one = 1"),
        ("one = 1\n\treturn one", "\n    return one\n", "one = 1"),
        ("\n    return one", "\n    return one", ""),
        ("values, other=None)", ", other=None)\n", "values"),
        ("values  # why not", "  # why not\n", "values"),
        ("x)\n", ")\n", None),
        ("", "\nreturn one\n", None),
        ("anything", "", None),
        ("anything", " \n \n", None),
        ("return one and return one", "return one", ""),
    ],
)
def test_where_a_text_meets_what_follows(text: str, suffix: str, expected: str | None) -> None:
    joined = find_join(text, suffix)
    assert (None if joined is None else text[:joined]) == expected


@pytest.mark.parametrize(
    ("policy", "limits", "elastic", "expected"),
    [
        ("exact", [5], True, [([5], False)]),
        ("elastic", [5, 2], True, [([5, 2], True)]),
        ("auto", [8], True, [([8], True), ([1], False), ([2], False)]),
        ("auto", [1, 5], True, [([1, 5], True), ([1, 1], False), ([1, 2], False)]),
        ("auto", [3], False, [([1], False), ([2], False), ([3], False)]),
        ("probe", [5, 2], True, [([1, 1], False), *([([n, 2], False) for n in (2, 3, 4, 5)])]),
        ("probe", [1], False, [([1], False)]),
    ],
)
def test_ways_to_size_holes(policy: str, limits: list[int], elastic: bool, expected: list) -> None:
    assert plans(policy, limits, elastic) == expected


@given(st.integers(1, 256), st.sampled_from(["exact", "elastic", "probe", "auto"]))
@settings(max_examples=40)
def test_some_plan_uses_all_of_the_hole(limit: int, policy: str) -> None:
    assert max(slots for (slots,), _ in plans(policy, [limit], True)) == limit
