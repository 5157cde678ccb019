"""Typing along what is shown. `‸` is the cursor, in a document as in what an offer would leave."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dgemma_lsp.text.document import Document
from dgemma_lsp.text.overlap import Offer, offer
from dgemma_lsp.text.typing import Offered, along

URI = "file:///a.py"
PIECES = [*"()[]{}\"'.,=", " ", "    ", "\n", "\r\n", "x", "foo", "é", "🎉", "\f"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
WORDS = st.text("abc_", max_size=4)
INSERTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


def opened(text: str, uri: str = URI) -> Document:
    return Document.opened(uri, "python", 1, text)


def at_cursor(marked: str) -> tuple[Document, int]:
    return opened(marked.replace("‸", "")), marked.index("‸")


def offered(marked: str, filled: str) -> Offered:
    document, cursor = at_cursor(marked)
    made = offer(document.text, cursor, document.word_start(cursor), filled)
    assert made is not None
    return Offered.of(document, made)


@st.composite
def typed(draw) -> tuple[Offered, Offer, list[tuple[Document, int]]]:
    """An offer that follows a word, and the document after each character of it that is typed along."""
    before, word, after, filled = draw(TEXTS), draw(WORDS), draw(TEXTS), draw(INSERTS)
    assume(filled.strip())
    document = opened(before + word + after)
    made = Offer(len(before), len(before + word), word + filled)
    states = [
        (opened(before + made.insert[:count] + after), len(before) + count)
        for count in range(len(made.insert))
        if made.insert[count:].strip()
    ]
    return Offered.of(document, made), made, states


@given(typed())
def test_what_is_typed_is_what_is_no_longer_offered(case):
    shown, made, states = case
    for document, cursor in states:
        left = along(shown, document, cursor)
        assert left is not None
        assert left.start == document.word_start(cursor)
        assert left.insert[cursor - left.start :] == made.insert[cursor - made.start :]
        assert left.applied(document.text) == shown.accepted


@given(typed(), st.data())
def test_two_steps_are_as_good_as_one(case, data):
    shown, _, states = case
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(states) - 1)] * 2)))
    left = along(shown, *states[first])
    assert left is not None
    assert along(Offered.of(states[first][0], left), *states[second]) == along(shown, *states[second])


@given(typed(), st.data(), TEXTS)
def test_whatever_else_is_changed_what_is_left_leads_to_the_same_text(case, data, other):
    shown, _, states = case
    text = data.draw(st.sampled_from([state.text for state, _ in states] + [shown.accepted]))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    document = opened(text[:start] + other + text[end:])
    cursor = data.draw(st.integers(0, len(document.text)))
    left = along(shown, document, cursor)
    if left is not None:
        assert left.applied(document.text) == shown.accepted
        assert left.start <= cursor <= left.end
        assert not set(document.text[left.start : left.end]) & {"\n", "\r"}


@pytest.mark.parametrize(
    ("marked", "filled", "now", "result"),
    [
        ("x = pri‸\n", "nt(a)", "x = print‸\n", "x = print(a)‸\n"),
        ("x = pri‸\n", "nt(a)", "x = pri‸\n", "x = print(a)‸\n"),
        ("x = pri‸\n", "nt(a)", "x = p‸\n", "x = print(a)‸\n"),
        ("x = pri‸\n", "nt(a)", "x = ‸\n", "x = print(a)‸\n"),
        ("x = pri‸\n", "nt(a)", "x = print(a‸\n", "x = print(a)‸\n"),
        ("def f‸", "(a):\n    return a", "def f(a):\n‸", "def f(a):\n    return a‸"),
        ("def f‸", "(a):\n    return a", "def f(a):\n    re‸", "def f(a):\n    return a‸"),
        ("def f(‸):", "a):\n    return a", "def f(a‸):", "def f(a):\n    return a‸"),
        ("a\r\nb‸\r\n", "c\r\nd", "a\r\nbc\r\n‸\r\n", "a\r\nbc\r\nd‸\r\n"),
        ("x = pri‸\n", "nt(a)", "x = ‸pri\n", "x = print(a)‸\n"),
        ("x = ‸", "🎉 + é", "x = 🎉‸", "x = 🎉 + é‸"),
    ],
)
def test_typing_along_and_going_back(marked, filled, now, result):
    document, cursor = at_cursor(now)
    left = along(offered(marked, filled), document, cursor)
    assert left is not None
    assert document.text[: left.start] + left.insert + "‸" + document.text[left.end :] == result


@pytest.mark.parametrize(
    ("marked", "filled", "now", "left"),
    [
        ("f‸", "(a, b)", "f(‸)", Offer(2, 3, "a, b)")),
        ("f‸", '("a")', 'f("‸")', Offer(3, 5, 'a")')),
        ("f‸\n", "(g(a), b)\nc", "f(g(‸))\n", Offer(4, 6, "a), b)\nc")),
        ("f(‸)", "g(a), b)", "f(g(a‸))", Offer(4, 7, "a), b)")),
        ("x‸", " = [\n    1,\n]", "x = [‸]", Offer(5, 6, "\n    1,\n]")),
        ("x‸", " = [\n    1,\n]", "x = [\n    ‸\n]", Offer(10, 10, "1,")),
        ("f‸", "() {\r\n  a\r\n}", "f() {\r\n  ‸\r\n}", Offer(9, 9, "a")),
        ("f‸", "(a)", "f(a‸)", None),
        ("f‸", "(a)", "f(‸]", None),
        ("f‸", "(a)", "f(‸) + 1", None),
    ],
)
def test_closers_that_the_editor_adds_while_typing(marked, filled, now, left):
    assert along(offered(marked, filled), *at_cursor(now)) == left


@pytest.mark.parametrize(
    "now",
    [
        "a = 1\nx = prin‸\nb = 2\n",
        "a = 1\nx = prx‸\nb = 2\n",
        "a = 1\ny = pri‸\nb = 2\n",
        "a = 1\nxx = pri‸\nb = 2\n",
        "a = 2\nx = pri‸\nb = 2\n",
        "a = 1\n\nx = pri‸\nb = 2\n",
        "a = 1\nx = pri‸ + 1\nb = 2\n",
        "a = 1\nx = pri‸\nb = 3\n",
        "a = 1\nx = pri‸",
        "a = 1\nx = pri‸x\nb = 2\n",
        "a = 1\nx ‸\nb = 2\n",
        "a = 1\nx = private(a)‸\nb = 2\n",
        "‸",
    ],
)
def test_another_text_or_place_is_asked_for_anew(now):
    shown = offered("a = 1\nx = pri‸\nb = 2\n", "vate(a)")
    assert along(shown, *at_cursor(now)) is None


def test_another_document_is_asked_for_anew():
    shown = offered("x = pri‸", "nt(a)")
    assert along(shown, opened("x = pri"), 7) == Offer(4, 7, "print(a)")
    assert along(shown, opened("x = pri", "file:///b.py"), 7) is None
