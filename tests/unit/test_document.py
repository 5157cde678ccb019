"""The document against a slow model that walks, and the places where others went wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.text.document import LONGEST_WORD, Change, Document, Encoding, Position

FAMILY = "👩🏽‍👩🏻‍👧"
PIECES = ["\n", "\r\n", "\r", "\n\r", "\f", "\v", "\u2028", "\x85", "\t", "\0", "\ufeff", "a", "b ", "é", "e\u0301"]
PIECES += ["ß", "漢", "𝛼", "🎉", FAMILY, "\ufffd"]

TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)
SHORT = st.lists(st.sampled_from(PIECES), max_size=3).map("".join)
SENT = st.lists(st.sampled_from([*PIECES, "\ud83d", "\ude00"]), max_size=20).map("".join)
ENCODINGS = st.sampled_from(Encoding)
POSITIONS = st.builds(
    Position, st.integers(-1, 12), st.one_of(st.integers(-1, 30), st.sampled_from([-(2**31), 2**31 - 1, 2**64]))
)
CHANGES = st.builds(Change, SHORT, st.none() | POSITIONS, st.none() | POSITIONS) | st.builds(
    Change, SHORT, POSITIONS, POSITIONS
)

UTF_8, UTF_16, UTF_32 = Encoding


def opened(text: str, encoding: Encoding = UTF_16) -> Document:
    return Document.opened("file:///a.txt", "text", 1, text, encoding)


def units(character: str, encoding: Encoding) -> int:
    return {
        UTF_8: len(character.encode()),
        UTF_16: 1 + (character > "\uffff"),
        UTF_32: 1,
    }[encoding]


def places(text: str, encoding: Encoding) -> dict[int, Position]:
    """Every offset that has a position, found by walking through the text."""
    found, offset, line, character = {}, 0, 0, 0
    while offset < len(text):
        found[offset] = Position(line, character)
        if text[offset] in "\r\n":
            offset += 2 if text[offset : offset + 2] == "\r\n" else 1
            line, character = line + 1, 0
        else:
            character += units(text[offset], encoding)
            offset += 1
    found[offset] = Position(line, character)
    return found


def place(text: str, encoding: Encoding, position: Position) -> int:
    """The offset of any position: of those on its line the last one that is not past it, else the first."""
    line = max(0, position.line)
    on_line = [(at.character, offset) for offset, at in places(text, encoding).items() if at.line == line]
    if not on_line:
        return len(text)
    return max((pair for pair in on_line if pair[0] <= position.character), default=on_line[0])[1]


def changed(text: str, encoding: Encoding, change: Change) -> str:
    if change.start is None:
        return change.text
    ends = (place(text, encoding, position) for position in (change.start, change.end or change.start))
    start, end = sorted(ends)
    return text[:start] + change.text + text[end:]


def line_ranges(document: Document) -> list[tuple[int, int]]:
    return [document.line_range(line) for line in range(document.line_count)]


@given(TEXTS, ENCODINGS, st.lists(CHANGES, max_size=8), st.booleans())
def test_any_changes_leave_the_text_and_the_lines_of_the_model(text, encoding, changes, at_once):
    document, model = opened(text, encoding), text
    for change in changes:
        model = changed(model, encoding, change)
        if not at_once:
            document = document.apply([change], document.version + 1)
    if at_once:
        document = document.apply(changes, 1 + len(changes))
    assert document.text == model
    assert document.version == 1 + len(changes)
    assert line_ranges(document) == line_ranges(opened(model, encoding))


@given(TEXTS, ENCODINGS)
def test_offsets_and_positions_are_those_of_the_model(text, encoding):
    document, found = opened(text, encoding), places(text, encoding)
    assert {offset: document.position_at(offset) for offset in found} == found
    assert {document.offset_at(position): position for position in found.values()} == found
    assert document.line_count == 1 + found[len(text)].line
    assert [document.line_at(offset) for offset in found] == [position.line for position in found.values()]


@given(TEXTS, ENCODINGS)
def test_a_line_is_what_lies_between_its_first_and_its_last_position(text, encoding):
    document, found = opened(text, encoding), places(text, encoding)
    for line in range(document.line_count):
        offsets = [offset for offset, position in found.items() if position.line == line]
        assert document.line_range(line) == (offsets[0], offsets[-1])
        assert document.line_text(line) == text[offsets[0] : offsets[-1]]


@given(TEXTS, ENCODINGS, POSITIONS, st.integers())
def test_an_impossible_place_is_the_nearest_possible_one(text, encoding, position, offset):
    document, found = opened(text, encoding), places(text, encoding)
    assert document.offset_at(position) == place(text, encoding, position)
    assert document.position_at(offset) == found[max(at for at in found if at <= max(0, offset))]
    line, column = document.line_range(offset)[0], document.word_start(offset)
    assert 0 <= line <= len(text)
    assert 0 <= column <= len(text)


@given(SENT, SENT, ENCODINGS, POSITIONS)
def test_a_document_can_always_be_encoded_and_keeps_its_units(text, inserted, encoding, position):
    """Halves of pairs that come one by one are as long as the pair that the editor makes of them."""
    for document in (opened(text, encoding), opened("a", encoding).apply([Change(inserted, position)], 2)):
        document.text.encode()
    utf_16 = opened("").apply([Change(half, Position(10**6, 10**6)) for half in text], 2)
    assert len(utf_16.text.encode("utf-16-le")) == len(text.encode("utf-16-le", "surrogatepass"))


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("a\ud83db", "a\ufffdb"),
        ("\ude00", "\ufffd"),
        ("x\ud83d", "x\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d\ud83d\ude00\ude00", "\ufffd😀\ufffd"),
        ("\0\ufeff", "\0\ufeff"),
    ],
)
def test_a_lone_surrogate_is_a_replacement_character(sent, text):
    assert opened(sent).text == text
    assert opened("").apply([Change(sent)], 2).text == text


@pytest.mark.parametrize(
    ("text", "line", "character", "offset"),
    [
        ("x = 1\x0cy\nz", 1, 0, 8),
        ("a\u2028b", 0, 2, 2),
        ("a\u2028b", 1, 0, 3),
        ("abc", 0, 99, 3),
        ("abc\r\nd", 0, 99, 3),
        ("abc\r\nd", 0, 4, 3),
        ("abc\rd", 0, 4, 3),
        ("abc\nd", 7, 3, 5),
        ("", 0, 0, 0),
        ("", 3, 3, 0),
        ("a🎉b", 0, 1, 1),
        ("a🎉b", 0, 2, 1),
        ("a🎉b", 0, 3, 2),
        ("ab\ncd", -1, 1, 1),
        ("ab\ncd", 1, -1, 3),
        ("\ufeffab", 0, 1, 1),
    ],
)
def test_where_others_went_wrong_an_offset_is(text, line, character, offset):
    position = Position(line, character)
    assert opened(text).offset_at(position) == offset
    assert opened(text).apply([Change("INS", position)], 2).text == text[:offset] + "INS" + text[offset:]


@pytest.mark.parametrize(
    ("text", "offset", "line", "character"),
    [("abc", 3, 0, 3), ("", 0, 0, 0), ("a\n", 2, 1, 0), ("a\r\nb", 2, 0, 1), ("🎉", 9, 0, 2), ("a\u2028b", 3, 0, 3)],
)
def test_where_others_went_wrong_a_position_is(text, offset, line, character):
    assert opened(text).position_at(offset) == Position(line, character)


@pytest.mark.parametrize(
    ("encoding", "characters"),
    [(UTF_8, [0, 1, 5, 8, 9]), (UTF_16, [0, 1, 3, 4, 5]), (UTF_32, [0, 1, 2, 3, 4])],
)
def test_each_encoding_counts_its_own_units(encoding, characters):
    document = opened("\na𝛼漢b", encoding)
    assert [document.position_at(offset).character for offset in range(1, 6)] == characters


@pytest.mark.parametrize(
    ("text", "edit", "left", "lines"),
    [
        ("a\rb", Change("\n", Position(1, 0)), "a\r\nb", 2),
        ("a\nb", Change("\r", Position(0, 1)), "a\r\nb", 2),
        ("a\rb\nc", Change("", Position(1, 0), Position(1, 1)), "a\r\nc", 2),
        ("a\r\nb", Change("", Position(0, 1), Position(1, 0)), "ab", 1),
        ("a\r\nb", Change("\r", Position(0, 1)), "a\r\r\nb", 3),
        ("a\n", Change("", Position(1, 0), Position(0, 0)), "", 1),
        ("abc", Change("X", Position(0, 2), Position(0, 1)), "aXc", 1),
        ("abc", Change("X"), "X", 1),
    ],
)
def test_line_breaks_that_a_change_makes_or_splits(text, edit, left, lines):
    document = opened(text).apply([edit], 2)
    assert (document.text, document.line_count) == (left, lines)


def test_an_older_version_stays_as_it_was():
    first = opened("a\nb")
    second = first.apply([Change("x\n", Position(1, 0))], 7)
    assert (first.version, first.text, line_ranges(first)) == (1, "a\nb", [(0, 1), (2, 3)])
    assert (second.version, second.text, line_ranges(second)) == (7, "a\nx\nb", [(0, 1), (2, 3), (4, 5)])
    assert second.apply([], 8).version == 8


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("print", "print"),
        ("x.pri", "pri"),
        ("x = ", ""),
        ("", ""),
        ("\t\tself.__na", "__na"),
        ("$scope", "$scope"),
        ("data-id", "id"),
        ("größe2", "größe2"),
        ("e\u0301te\u0301", "e\u0301te\u0301"),
        ("(漢字", "漢字"),
        ("🎉", ""),
        ("a" * (LONGEST_WORD + 1), "a" * LONGEST_WORD),
    ],
)
@pytest.mark.parametrize("above", ["", "word\n", "word\r", "word\r\n"])
def test_the_word_before_an_offset(above, line, word):
    document = opened(above + line + " rest\n")
    offset = len(above + line)
    assert document.text[document.word_start(offset) : offset] == word
