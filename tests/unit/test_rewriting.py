"""A selection written anew: the least changes, all of them inside, in the document's own form."""

from __future__ import annotations

import difflib
import itertools
import random
import re
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.text.alignment import common
from dgemma_lsp.text.edits import Edit, apply_edits
from dgemma_lsp.text.rewriting import fitted, hunks

STDLIB = Path(sysconfig.get_path("stdlib"))
LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")

letters = st.lists(st.sampled_from("abcd"), max_size=14)
texts = st.lists(
    st.tuples(
        st.sampled_from(["", "}", "x = f(a, b)", "x = f(a, c)", "  ü🙂 y", "\ty"]),
        st.sampled_from(["\n", "\r\n", "\r"]),
    ),
    max_size=10,
).map(lambda lines: "".join(map("".join, lines)))


def longest(one: list[str], other: list[str]) -> int:
    """The length of a longest common subsequence, by the book."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for row, column in itertools.product(range(len(one)), range(len(other))):
        same = one[row] == other[column]
        table[row + 1][column + 1] = (
            table[row][column] + 1 if same else max(table[row][column + 1], table[row + 1][column])
        )
    return table[-1][-1]


@given(letters, letters)
def test_common_is_a_longest_common_subsequence(one: list[str], other: list[str]) -> None:
    pairs = common(one, other)
    assert [one[first] for first, _ in pairs] == [other[second] for _, second in pairs]
    for before, after in itertools.pairwise(pairs):
        assert before[0] < after[0]
        assert before[1] < after[1]
    assert len(pairs) == longest(one, other)


@given(texts, texts, texts, texts, st.sampled_from(["", "end"]))
def test_hunks_make_the_text_and_nothing_else(before: str, old: str, after: str, new: str, tail: str) -> None:
    document, start, end = before + old + after, len(before), len(before) + len(old)
    found = hunks(document, start, end, new + tail)
    lines = [Edit(hunk.start, hunk.end, hunk.text) for hunk in found]
    words = [edit for hunk in found for edit in hunk.edits]
    wanted = before + new + tail + after
    for edits in (lines, words):
        assert apply_edits(document, edits) == wanted
        assert all(start <= edit.start <= edit.end <= end for edit in edits)
    for hunk in found:
        assert all(hunk.start <= edit.start <= edit.end <= hunk.end for edit in hunk.edits)
        # Of what is in a selection that splits no line end, no edit splits one.
        places = [place for edit in hunk.edits for place in (edit.start, edit.end) if start < place < end]
        assert not any(document[place - 1 : place + 1] == "\r\n" for place in places)
    assert bool(found) is (wanted != document)


def changed_by_difflib(old: list[str], new: list[str]) -> int:
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return sum(
        last - first + stop - begin for kind, first, last, begin, stop in matcher.get_opcodes() if kind != "equal"
    )


@pytest.mark.parametrize("name", ["argparse.py", "typing.py", "tarfile.py"])
def test_never_more_lines_than_difflib(name: str) -> None:
    document = (STDLIB / name).read_text(encoding="utf-8")
    lines = document.splitlines(keepends=True)
    draws = random.Random(7)
    for _ in range(20):
        first = draws.randrange(len(lines) - 60)
        old = lines[first : first + 60]
        new = [line.replace("self", "this") if draws.random() < 0.2 else line for line in old if draws.random() > 0.1]
        new.insert(draws.randrange(len(new)), draws.choice(old))
        start = sum(map(len, lines[:first]))
        found = hunks(document, start, start + sum(map(len, old)), "".join(new))
        changed = sum(
            len(LINE.findall(document[hunk.start : hunk.end])) + len(LINE.findall(hunk.text)) for hunk in found
        )
        assert changed <= changed_by_difflib(old, new)


@pytest.mark.parametrize(
    ("old", "new", "edits"),
    [
        ("x = foo(a)\n", "x = foo(a, b)\n", [(9, 9, ", b")]),
        ("return a + b\n", "return b + a\n", None),
        ("one\ntwo\nthree\n", "one\n2\nthree\n", [(4, 7, "2")]),
        # What repeats is shown where it was added, not before what it repeats.
        ("def a():\n    pass\n", "def a():\n    pass\n\ndef b():\n    pass\n", [(18, 18, "\ndef b():\n    pass\n")]),
        ("completely different\n", "nothing = [of, it]\n", [(0, 20, "nothing = [of, it]")]),
    ],
)
def test_words(old: str, new: str, edits: list[tuple[int, int, str]] | None) -> None:
    found = [edit for hunk in hunks(old, 0, len(old), new) for edit in hunk.edits]
    assert apply_edits(old, found) == new
    if edits is not None:
        assert found == [Edit(*edit) for edit in edits]


SELECTED = "‸"

FITTED = [
    # (document with the selection marked, what was written, what it becomes)
    ("‸a = 1\n‸b\n", "a = 2", "a = 2\n"),
    ("‸a = 1‸\nb\n", "a = 2\n\n", "a = 2"),
    ("‸a = 1\r\n‸b\r\n", "a = 2\nc = 3\n", "a = 2\r\nc = 3\r\n"),
    ("‸a = 1\r‸b\r", "a = 2\n", "a = 2\r"),
    ("def f():\n‸    a\n    b\n‸", "a\nif c:\n    b\n", "    a\n    if c:\n        b\n"),
    ("def f():\n    ‸a\n    b‸\n", "a\nif c:\n    b", "a\n    if c:\n        b"),
    ("‸a\n‸", "    a\n    b\n", "a\nb\n"),
    ("if a:\n‸\tb\n‸", "for c in d:\n    b\n", "\tfor c in d:\n\t\tb\n"),
    ("if a:\n‸\tb\n‸", "  for c in d:\n    b\n", "\tfor c in d:\n\t\tb\n"),
    ("‸a\n‸", "```python\nb\n```\n", "b\n"),
    ("‸```python\na\n```\n‸", "```python\nb\n```\n", "```python\nb\n```\n"),
    ("‸a\n‸", "", ""),
    ("‸‸a\n", "b", "b"),
]


@pytest.mark.parametrize(("place", "written", "text"), FITTED)
def test_the_document_s_own_form(place: str, written: str, text: str) -> None:
    before, selected, after = place.split(SELECTED)
    start = len(before)
    assert fitted(before + selected + after, start, start + len(selected), written) == text


@given(texts, texts, st.text(max_size=40))
def test_anything_fits(before: str, old: str, written: str) -> None:
    text = fitted(before + old, len(before), len(before) + len(old), written)
    assert text.strip() == "" or written.strip() != ""
    # Fitting what fits changes nothing.
    assert fitted(before + text, len(before), len(before) + len(text), text) == text
