"""Text deltas: what is sent as a change is filled as if it had been sent whole."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_engine import windows, wire
from dgemma_engine.errors import EngineError
from dgemma_engine.windows import Windows

HOLE = wire.Hole(4)


def whole(id: int, *parts: str | wire.Hole, document: str | None = "a.py") -> wire.Fill:
    return wire.Fill(id, wire.MaskedText(parts), document=document)


def delta(id: int, base: int, start: int, stop: int, insert: str, *at: int, document: str | None = "a.py") -> wire.Fill:
    places = tuple(wire.Place(offset, HOLE) for offset in at or (0,))
    return wire.Fill(id, wire.TextDelta(base, start, stop, insert, places), document=document)


def parts(request: wire.Fill | wire.Warm) -> tuple[str | wire.Hole, ...]:
    assert isinstance(request.text, wire.MaskedText)
    return request.text.parts


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (delta(2, 1, 3, 3, "X", 4), ("abcX", HOLE, "def")),
        (delta(2, 1, 0, 6, "", 0), (HOLE,)),
        (delta(2, 1, 6, 6, "\r\n𝄞", 9), ("abcdef\r\n𝄞", HOLE)),
        (delta(2, 1, 0, 0, "", 0, 6), (HOLE, "abcdef", HOLE)),
        (delta(2, 1, 1, 5, "-", 1, 1, 2), ("a", HOLE, HOLE, "-", HOLE, "f")),
    ],
)
def test_a_delta_is_the_text_it_stands_for(edit, expected):
    sent = Windows()
    sent.resolve(whole(1, "abc", HOLE, "", "def"))
    assert parts(sent.resolve(edit)) == expected


@pytest.mark.parametrize(
    ("edit", "code", "complaint"),
    [
        (delta(2, 9, 0, 0, "x"), "text-unknown", "text of request 9 is not here any more; send the whole text"),
        (delta(2, 1, 0, 0, "x", document="b.py"), "text-unknown", "send the whole text"),
        (delta(2, 1, 0, 0, "x", document=None), "request", "needs the name of its document"),
        (delta(2, 1, 4, 3, "x"), "request", r"replaces characters \[4, 3\) of a text of 6"),
        (delta(2, 1, 6, 7, "x"), "request", r"replaces characters \[6, 7\) of a text of 6"),
        (delta(2, 1, 0, 0, "x", 8), "request", "a hole at 8 after one at 0 in a text of 7 characters"),
        (delta(2, 1, 0, 0, "x", 3, 2), "request", "a hole at 2 after one at 3"),
        (delta(2, 1, 0, 2**63, "x"), "request", "replaces characters"),
    ],
)
def test_a_delta_that_does_not_fit_is_refused_and_changes_nothing(edit, code, complaint):
    sent = Windows()
    sent.resolve(whole(1, "abc", HOLE, "def"))
    with pytest.raises(EngineError, match=complaint) as caught:
        sent.resolve(edit)
    assert caught.value.code == code
    assert parts(sent.resolve(delta(3, 1, 0, 3, "", 0))) == (HOLE, "def")


def test_every_text_takes_the_place_of_the_one_before():
    sent = Windows()
    sent.resolve(whole(1, "abc", HOLE))
    sent.resolve(delta(2, 1, 3, 3, "d", 4))
    assert parts(sent.resolve(delta(3, 2, 4, 4, "e", 5))) == ("abcde", HOLE)
    with pytest.raises(EngineError, match="text of request 1"):
        sent.resolve(delta(4, 1, 0, 0, ""))
    sent.resolve(whole(5, "new", HOLE))
    assert parts(sent.resolve(delta(6, 5, 0, 0, "a ", 5))) == ("a new", HOLE)


def test_documents_have_a_text_each_and_what_has_no_document_has_none():
    sent = Windows()
    sent.resolve(whole(1, "a", HOLE, document="a"))
    sent.resolve(whole(2, "b", HOLE, document="b"))
    sent.resolve(whole(1, "nothing", HOLE, document=None))
    assert parts(sent.resolve(delta(3, 1, 1, 1, "1", 2, document="a"))) == ("a1", HOLE)
    assert parts(sent.resolve(delta(4, 2, 1, 1, "2", 2, document="b"))) == ("b2", HOLE)


def test_a_warm_up_leaves_a_text_too_and_keeps_its_options():
    sent = Windows()
    sent.resolve(wire.Warm(1, wire.MaskedText(("abc", HOLE)), document="a.py"))
    edit = attrs.evolve(delta(2, 1, 3, 3, "d", 4), passes=3, drafts=True)
    found = sent.resolve(edit)
    assert parts(found) == ("abcd", HOLE)
    assert attrs.evolve(found, text=edit.text) == edit


def known(sent: Windows, document: str, base: int) -> bool:
    try:
        sent.resolve(delta(base, base, 0, 0, "", document=document))
    except EngineError as error:
        return error.code != "text-unknown"
    return True


def test_the_document_that_was_unused_the_longest_leaves():
    sent = Windows()
    for number in range(windows.MAX_DOCUMENTS):
        sent.resolve(whole(number, HOLE, document=str(number)))
    assert known(sent, "0", 0)
    sent.resolve(whole(99, HOLE, document="one more"))
    assert known(sent, "0", 0)
    assert known(sent, "2", 2)
    assert not known(sent, "1", 1)


def test_large_texts_leave_earlier_and_the_newest_stays_whatever_its_size(monkeypatch):
    monkeypatch.setattr(windows, "MAX_CHARACTERS", 10)
    sent = Windows()
    sent.resolve(whole(1, "a" * 6, HOLE, document="a"))
    sent.resolve(whole(2, "b" * 4, HOLE, document="b"))
    assert known(sent, "a", 1)
    sent.resolve(delta(3, 2, 0, 0, "b", document="b"))
    assert not known(sent, "a", 1)
    sent.resolve(whole(4, "c" * 11, HOLE, document="c"))
    assert not known(sent, "b", 3)
    assert known(sent, "c", 4)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(TEXT, st.data())
def test_a_sequence_of_deltas_yields_what_whole_texts_yield(text, data):
    """One connection sends every edit whole, the other as a change; both may send other documents in between."""
    one, other = Windows(), Windows()
    one.resolve(whole(0, text, HOLE))
    other.resolve(whole(0, text, HOLE))
    for id in range(1, data.draw(st.integers(1, 6)) + 1):
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        insert = data.draw(TEXT)
        text = text[:start] + insert + text[stop:]
        at = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=3)))
        cuts = [0, *at, len(text)]
        pieces = [text[left:right] for left, right in itertools.pairwise(cuts)]
        mixed: list[str | wire.Hole] = [pieces[0]]
        for piece in pieces[1:]:
            mixed += [HOLE, piece]
        sent_whole = one.resolve(whole(id, *(part for part in mixed if part != "")))
        sent_as_change = other.resolve(delta(id, id - 1, start, stop, insert, *at))
        assert sent_as_change == sent_whole
        if data.draw(st.booleans()):
            other.resolve(whole(id, data.draw(TEXT), HOLE, document="b.py"))
