"""What is sent instead of a whole text stands for exactly that text."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_engine import wire
from dgemma_lsp.engine_client.texts import DELTA_COST, MOST_DOCUMENTS, SentTexts

LINES = "".join(f"line {number}\n" for number in range(20))


def fill(id: int, *parts: str | wire.Hole, document: str | None = "a.py") -> wire.Fill:
    return wire.Fill(id, wire.MaskedText(parts), document=document)


def pinned(text: wire.MaskedText) -> str:
    return "".join(part for part in text.parts if isinstance(part, str))


def applied(delta: wire.TextDelta, before: str) -> tuple[str | wire.Hole, ...]:
    """The parts a delta stands for."""
    after = before[: delta.start] + delta.insert + before[delta.stop :]
    marks = [0, *(place.at for place in delta.places), len(after)]
    texts = [after[start:stop] for start, stop in itertools.pairwise(marks)]
    holes = [*(place.hole for place in delta.places), None]
    return tuple(part for pair in zip(texts, holes, strict=True) for part in pair if part)


def test_typing_on_sends_the_letters():
    texts = SentTexts()
    first = fill(3, LINES + "retu", wire.Hole(4), "\nend")
    assert texts.shortened(first) is first
    texts.sent(first)
    shorter = texts.shortened(fill(5, LINES + "return", wire.Hole(4, "x", 0.5), "\nend"))
    at = len(LINES) + 4
    place = wire.Place(at + 2, wire.Hole(4, "x", 0.5))
    assert isinstance(shorter, wire.Fill)
    assert (shorter.id, shorter.text) == (5, wire.TextDelta(3, at, at, "rn", (place,)))


PARTS = st.lists(
    st.one_of(st.text("ab\n", max_size=40), st.builds(wire.Hole, st.integers(1, 9))), min_size=1, max_size=6
).filter(lambda parts: any(isinstance(part, wire.Hole) for part in parts))


@given(PARTS, PARTS, st.text("ab\n", min_size=60, max_size=90), st.booleans())
def test_a_delta_is_its_text(one, other, common, ahead):
    texts = SentTexts()
    before = fill(1, *([common, *one] if ahead else [*one, common]))
    after = fill(2, *([common, *other] if ahead else [*other, common]))
    texts.sent(before)
    shorter = texts.shortened(after)
    assert isinstance(shorter, wire.Fill)
    assert isinstance(before.text, wire.MaskedText)
    assert isinstance(after.text, wire.MaskedText)
    if isinstance(shorter.text, wire.TextDelta):
        assert len(shorter.text.insert) + DELTA_COST < len(pinned(after.text))
        found = wire.MaskedText(applied(shorter.text, pinned(before.text)))
        assert (pinned(found), found.holes) == (pinned(after.text), after.text.holes)
    else:
        assert shorter is after


@pytest.mark.parametrize(
    "later",
    [
        fill(2, LINES + "x", wire.Hole(4), document="b.py"),
        fill(2, LINES + "x", wire.Hole(4), document=None),
        fill(2, "x" * 200, wire.Hole(4)),
        fill(2, "short", wire.Hole(4)),
        wire.Score(2, LINES, ("a",), document="a.py"),
        attrs.evolve(fill(2, "x", wire.Hole(1)), text=wire.TextDelta(1, 0, 0, "", (wire.Place(0, wire.Hole(1)),))),
    ],
)
def test_what_has_no_shorter_form_stays_as_it_is(later):
    texts = SentTexts()
    texts.sent(fill(1, LINES, wire.Hole(4)))
    assert texts.shortened(later) is later


def test_only_the_last_text_of_a_document_counts():
    texts = SentTexts()
    for id in (1, 2):
        texts.sent(wire.Warm(id, wire.MaskedText((LINES, wire.Hole(1))), document="a.py"))
    shorter = texts.shortened(fill(3, LINES, wire.Hole(2)))
    assert isinstance(shorter, wire.Fill)
    assert isinstance(shorter.text, wire.TextDelta)
    assert shorter.text.base == 2
    texts.forget(shorter)
    again = fill(4, LINES, wire.Hole(2))
    assert texts.shortened(again) is again


def test_documents_that_are_not_used_are_forgotten():
    texts = SentTexts()
    for number in range(MOST_DOCUMENTS + 1):
        texts.sent(fill(number, LINES, wire.Hole(1), document=f"{number}.py"))
    first, second = (fill(99, LINES, wire.Hole(1), document=f"{number}.py") for number in (0, 1))
    assert texts.shortened(first) is first
    assert texts.shortened(second) is not second
