"""Which brackets, quotes and tags have no partner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.text.marks import alone, around, count_alone


@pytest.mark.parametrize(
    ("text", "closing", "others"),
    [
        ("f(a[0], {'b': (1,)})", [], []),
        ("(", [], ["("]),
        ("a) + (b", [")"], ["("]),
        ("([)]", [], []),
        ("'(' + \"]\" + `}`", [], []),
        ('\'it\\\'s (\' "say \\"(\\""', [], []),
        ('"open\n(")', [], ['"', '"']),
        ("don't (really)", [], ["'"]),
        ("fn f<'a>(x: &'a str) {", [], ["'", "'", "{"]),
        ('"""doc (\n"', [], ['"""', "(", '"']),
        ('"""doc"""', [], []),
        ("```js\nf(`a\n${b}`)\n```", [], []),
        ("<ul><li>a</li>", [], ["<ul"]),
        ("a</b>", ["</b"], []),
        ("a < b > c", [], []),
        (r"re.compile('a') \( \"", [], []),
        ("", [], []),
    ],
)
def test_marks_without_a_partner(text, closing, others):
    assert [sorted(found) for found in alone(text)] == [sorted(closing), sorted(others)]
    assert count_alone(text) == len(closing) + len(others)


@pytest.mark.parametrize(
    ("above", "below", "kept_above", "kept_below"),
    [
        ("class A {\n", "\n}", "{\n", "\n}"),
        ("# a smile :(\nf(\n", "\n)", "(\n", "\n)"),
        ("# a smile :(\n", "\n", "", ""),
        ("1) one\n", "\n2) two", "", "\n)"),
        ("```\n", "\n```", "```\n", "\n```"),
        ("a `\n", "\n", "", ""),
    ],
)
def test_what_stands_for_the_text_around_some_lines(above, below, kept_above, kept_below):
    assert around(above, below) == (kept_above, kept_below)


@given(st.text("()[]{} a", max_size=8), st.text("()[]{} a", max_size=8), st.text("()[]{} a", max_size=8))
def test_texts_around_are_as_good_as_the_whole_where_all_is_closed(above, lines, below):
    """But for marks that are alone in any case, the lines between have the same number of marks alone."""
    opened, closing = "([{" + above, below + "}])"
    short_above, short_below = around(opened, closing)
    whole, short = (
        [count_alone(start + middle + end) for middle in (lines, "")]
        for start, end in ((opened, closing), (short_above, short_below))
    )
    if not alone(opened + closing)[1]:
        assert whole[0] - whole[1] == short[0] - short[1]
