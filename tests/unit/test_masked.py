"""From a position in a file to masked text and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_engine.wire import Hole
from dgemma_lsp.text.lines import (
    Position,
    PositionError,
    newline_style,
    offset_at,
    parse_position,
    with_newlines,
)
from dgemma_lsp.text.masked import hole_tokens, infill, window

# Line ends, what only looks like one, wide characters, and few enough others for collisions.
DOCUMENTS = st.lists(
    st.sampled_from(["\n", "\r\n", "\r", "\f", "\v", "\u2028", "\x85", "a", "b ", "é", "🎉", "\t"]),
    max_size=30,
).map("".join)


def lines_of(text: str) -> list[str]:
    return re.split("\r\n|\r|\n", text)


@st.composite
def places(draw, document: str) -> int:
    """An offset a cursor can have: anywhere but inside a CRLF."""
    offset = draw(st.integers(0, len(document)))
    return offset + 1 if document[offset - 1 : offset + 1] == "\r\n" and offset else offset


@pytest.mark.parametrize(
    ("spec", "line", "column"),
    [("1:1", 1, 1), ("12:5", 12, 5), (" 3:4 ", 3, 4), ("999999999:1", 999_999_999, 1)],
)
def test_a_position_is_line_and_column(spec, line, column):
    assert parse_position(spec) == Position(line, column)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "12",
        "12:",
        ":5",
        "0:1",
        "1:0",
        "-1:2",
        "1:-2",
        "1.5:2",
        "a:b",
        "1:2:3",
        "1,2",
        "+1:1",
        "٣:١",
        "1" * 10 + ":1",
    ],
)
def test_what_is_no_position_is_refused_with_an_example(spec):
    with pytest.raises(PositionError, match="write LINE:COL, both counted from 1, such as 12:5"):
        parse_position(spec)


@given(DOCUMENTS)
def test_offsets_follow_lines_and_columns(document):
    """Positions in order give every offset but the one inside a CRLF."""
    offsets = [
        offset_at(document, Position(number, column))
        for number, line in enumerate(lines_of(document), 1)
        for column in range(1, len(line) + 2)
    ]
    inside = [match.start() + 1 for match in re.finditer("\r\n", document)]
    assert offsets == [offset for offset in range(len(document) + 1) if offset not in inside]


@pytest.mark.parametrize(
    ("document", "spec", "complaint"),
    [
        ("", "2:1", "line 2 is past the end; the only line is 1"),
        ("", "1:2", "column 2 is past the end of line 1; the only column is 1"),
        ("a\nb\n", "4:1", "line 4 is past the end; lines are 1 to 3"),
        ("a\nb\n", "3:2", "column 2 is past the end of line 3; the only column is 1"),
        ("ab\r\nc", "1:4", "column 4 is past the end of line 1; columns are 1 to 3"),
        ("a\fb\u2028c", "2:1", "line 2 is past the end; the only line is 1"),
        ("🎉", "1:3", "column 3 is past the end of line 1; columns are 1 to 2"),
    ],
)
def test_a_position_outside_says_how_far_the_text_goes(document, spec, complaint):
    with pytest.raises(PositionError) as caught:
        offset_at(document, parse_position(spec))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("document", "style"),
    [
        ("", "\n"),
        ("a", "\n"),
        ("a\n", "\n"),
        ("a\r\nb\r\nc\n", "\r\n"),
        ("a\r\nb\n\n", "\n"),
        ("a\rb\rc\n", "\r"),
        ("a\r\nb\n", "\r\n"),
        ("a\nb\r\n", "\n"),
        ("a\fb\u2028c", "\n"),
    ],
)
def test_the_newline_style_is_what_most_lines_have(document, style):
    assert newline_style(document) == style


@given(DOCUMENTS, st.sampled_from(["\n", "\r\n", "\r"]))
def test_newlines_are_converted_without_touching_the_lines(document, style):
    assert lines_of(with_newlines(document, style)) == lines_of(document)
    assert with_newlines(document, style).replace(style, "").count("\n") == 0


@given(st.data(), DOCUMENTS)
def test_an_infill_pins_what_stands_around_the_hole(data, document):
    start, end = sorted((data.draw(places(document)), data.draw(places(document))))
    made = infill(document, start, end, max_tokens=5)
    before, after = (with_newlines(part, "\n") for part in (document[:start], document[end:]))
    assert made.text.parts == tuple(part for part in (before, Hole(5), after) if part != "")
    assert (made.start, made.end) == (start, end)


@pytest.mark.parametrize(
    ("document", "filled", "replacement"),
    [
        ("a\r\nb\r\n", "x\ny", "x\r\ny"),
        ("a\r\nb\r\n", "x\r\ny", "x\r\ny"),
        ("a\nb\n", "x\r\ny\n", "x\ny\n"),
        ("a\rb\r", "x\ny", "x\ry"),
        ("", "x\ny", "x\ny"),
    ],
)
def test_a_replacement_has_the_line_ends_of_the_document(document, filled, replacement):
    assert infill(document, 0, 0, max_tokens=1).replacement(filled) == replacement


@given(st.data(), DOCUMENTS)
def test_a_window_is_bounded_and_whole(data, document):
    start, end = sorted((data.draw(places(document)), data.draw(places(document))))
    low, high = window(document, start, end, before=8, after=5, block=4)
    assert 0 <= low <= start <= end <= high <= len(document)
    assert start - low <= 8
    assert high - end <= 5
    for cut in (low, high):
        assert document[max(0, cut - 1) : cut + 1] != "\r\n"
    if start <= 8:
        assert low == 0
    if len(document) - end <= 5:
        assert high == len(document)


@given(st.data(), DOCUMENTS)
def test_a_window_starts_at_a_line_when_one_is_near(data, document):
    start = data.draw(places(document))
    low, _ = window(document, start, start, before=8, after=5, block=4)
    line_starts = {0, *(match.end() for match in re.finditer("\r\n|\r|\n", document))}
    near = [at for at in line_starts if low <= at <= low + 4 and at <= start]
    assert low in line_starts or not near


@given(st.data(), DOCUMENTS, st.text("xyz\n", max_size=20))
def test_typing_moves_the_window_only_in_blocks(data, document, typed):
    """Of `n` keystrokes at most one in `block` moves the start, and it only moves forward."""
    start = data.draw(places(document))
    lows = []
    for count in range(len(typed) + 1):
        text = document[:start] + typed[:count] + document[start:]
        lows.append(window(text, start + count, start + count, before=16, after=5, block=8)[0])
    assert lows == sorted(lows)
    assert len(set(lows)) - 1 <= len(typed) // 8 + 1


@pytest.mark.parametrize(("replaced", "least"), [("", 1), ("x", 1), ("total = sum(values)", 7), ("\n" * 100, 40)])
def test_a_hole_has_room_for_what_it_replaces(replaced, least):
    assert hole_tokens(replaced) >= least
