"""A part of a document that moved while somebody was at work on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.text.moving import moved

lines = st.lists(st.sampled_from(["a\n", "b\r\n", "c\r", "\n", "d e\n"]), max_size=8).map("".join)
TEXT = "one\ntwo\nthree\nfour\n"


@pytest.mark.parametrize(
    ("after", "selected", "start"),
    [
        (TEXT, "two\n", 4),
        ("zero\n" + TEXT, "two\n", 9),
        (TEXT + "five\n", "two\n", 4),
        ("zero\none\ntwo\nthree\n4\n", "two\n", 9),
        ("1\ntwo\n3\nfour\n", "two\n", 2),
        ("1\ntwo\n3\nfour\n", "two", 2),
        ("one\n\ntwo\nthree\nfour\n", "tw", 5),
        ("one\ntwo!\nthree\nfour\n", "two\n", None),
        ("one\ntwo!\nthree\nfour\n", "two", None),
        ("one\nthree\nfour\n", "two\n", None),
        ("one\ntwo\n\nthree\nfour\n", "two\nthree\n", None),
        ("", "two\n", None),
    ],
)
def test_moved(after: str, selected: str, start: int | None) -> None:
    at = TEXT.index(selected)
    assert moved(TEXT, after, at, at + len(selected)) == start


@given(lines, lines, lines, lines, lines)
def test_what_moved_is_still_there(above: str, selected: str, below: str, above_now: str, below_now: str) -> None:
    before, after = above + selected + below, above_now + selected + below_now
    start = moved(before, after, len(above), len(above) + len(selected))
    if start is not None:
        assert after[start : start + len(selected)] == selected
