"""One open document as the editor has it, and the positions by which an editor names places in it."""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable

import attrs

from dgemma_lsp.text.hunks import replaced
from dgemma_lsp.text.lines import NEWLINE

LONGEST_WORD = 128
"""Characters; what is longer is data, and the search for the start of a word must not walk through all of it."""


class Encoding(enum.Enum):
    """What an editor counts in a line; the values are the protocol's names."""

    UTF_8 = "utf-8"
    UTF_16 = "utf-16"
    UTF_32 = "utf-32"

    def units(self, text: str) -> int:
        """How many units `text` takes."""
        if text.isascii() or self is Encoding.UTF_32:
            return len(text)
        codec, width = _UNITS[self]
        return len(text.encode(codec)) // width

    def head(self, text: str, units: int) -> int:
        """How many whole characters of `text` fit into its first `units` units."""
        # No character takes less than one unit: what lies further on cannot count.
        text = text[:units]
        if text.isascii() or self is Encoding.UTF_32:
            return len(text)
        codec, width = _UNITS[self]
        return len(text.encode(codec)[: units * width].decode(codec, "ignore"))


_UNITS = {Encoding.UTF_8: ("utf-8", 1), Encoding.UTF_16: ("utf-16-le", 2)}
"""Codec, and bytes a unit."""


@attrs.frozen
class Position:
    """A place as the protocol names it: `line` from 0, `character` from 0 in units of the session's encoding.

    (`lines.Position` is how people count: both from 1, in characters.)
    """

    line: int
    character: int


@attrs.frozen
class Change:
    """`text` in place of [start, end); without an end it is inserted, without a start it is the whole document."""

    text: str
    start: Position | None = None
    end: Position | None = None


@attrs.frozen(eq=False)
class Document:
    """A document at one version. It never changes: whoever holds it holds a snapshot.

    Offsets are in characters (code points) of `text`. Only `\\n`, `\\r\\n` and `\\r` end a line. No offset, line or
    position is an error; an impossible one means the nearest possible place:

    - past the end of a line its end, before the line break, as the protocol says; past the last line the end of
      the text; a negative number is 0;
    - in the middle of a character (of a surrogate pair, of a UTF-8 sequence) the start of it. Of that the protocol
      says nothing;
    - an offset between `\\r` and `\\n` is the end of that line, since the protocol has no position for it.

    `text` can always be encoded. A lone surrogate, which JSON can carry, is U+FFFD here: it takes as many units in
    each encoding, and so positions stay those of the editor. A byte-order mark and NUL are characters like others.
    """

    uri: str
    language: str
    version: int
    text: str = attrs.field(repr=False)
    encoding: Encoding
    _starts: list[int] = attrs.field(repr=False)
    """Offsets at which lines start; shared between versions and never written to."""

    @classmethod
    def opened(cls, uri: str, language: str, version: int, text: str, encoding: Encoding = Encoding.UTF_16) -> Document:
        """A document with the text an editor sent."""
        text = _well_formed(text)
        return cls(uri, language, version, text, encoding, _line_starts(text))

    def apply(self, changes: Iterable[Change], version: int) -> Document:
        """The document after `changes`, each of which names places in what the ones before it left.

        A change whose end lies before its start is taken the other way round.
        """
        document = self
        for change in changes:
            document = document._changed(change, version)
        return document if document is not self else attrs.evolve(self, version=version)

    def offset_at(self, position: Position) -> int:
        """The offset of a position."""
        line = max(0, position.line)
        if line >= self.line_count:
            return len(self.text)
        start, end = self.line_range(line)
        character = max(0, position.character)
        return start + self.encoding.head(self.text[start : min(end, start + character)], character)

    def position_at(self, offset: int) -> Position:
        """The position of an offset."""
        line = self.line_at(offset)
        start, end = self.line_range(line)
        return Position(line, self.encoding.units(self.text[start : max(start, min(offset, end))]))

    @property
    def line_count(self) -> int:
        """One more than there are line breaks."""
        return len(self._starts)

    def line_at(self, offset: int) -> int:
        """The line an offset lies on, from 0."""
        return max(0, bisect_right(self._starts, offset) - 1)

    def line_range(self, line: int) -> tuple[int, int]:
        """The offsets at which a line starts and ends, its line break left out."""
        line = max(0, min(line, self.line_count - 1))
        start = self._starts[line]
        if line + 1 == self.line_count:
            return start, len(self.text)
        end = self._starts[line + 1] - 1
        return start, end - (start < end and self.text[end - 1 : end + 1] == "\r\n")

    def line_text(self, line: int) -> str:
        """A line without its line break."""
        start, end = self.line_range(line)
        return self.text[start:end]

    def word_start(self, offset: int) -> int:
        """Where the identifier that ends at an offset starts; the offset itself where none does.

        Identifiers are Unicode's, and `$` is part of one, as it is in most editors.
        """
        start = min(max(0, offset), len(self.text))
        first = max(self.line_range(self.line_at(start))[0], start - LONGEST_WORD)
        while start > first and _in_word(self.text[start - 1]):
            start -= 1
        return start

    def _changed(self, change: Change, version: int) -> Document:
        text = _well_formed(change.text)
        if change.start is None:
            starts = _line_starts(text)
        else:
            start, end = sorted((self.offset_at(change.start), self.offset_at(change.end or change.start)))
            inserted, text = text, replaced(self.text, start, end, text)
            starts = self._starts_after(text, start, end, len(inserted))
        return Document(self.uri, self.language, version, text, self.encoding, starts)

    def _starts_after(self, text: str, start: int, end: int, inserted: int) -> list[int]:
        """The line starts of `text`, which is this one with `inserted` characters in place of [start, end)."""
        # The line of the character before the change is read again, since that may be a `\r` that now meets a `\n`.
        first = self.line_at(start - 1)
        # The break that ends the last line touched is after the change: where it ends, a line still starts.
        below = self._starts[self.line_at(end) + 1 :]
        shift = inserted - (end - start)
        last = below[0] + shift if below else len(text)
        touched = _line_starts(text, self._starts[first], last)
        return [*self._starts[:first], *touched, *(at + shift for at in below[1:])]


def _line_starts(text: str, start: int = 0, end: int | None = None) -> list[int]:
    """`start`, and where lines start in (start, end]."""
    return [start, *(newline.end() for newline in NEWLINE.finditer(text, start, len(text) if end is None else end))]


def _well_formed(text: str) -> str:
    """`text` with surrogates joined where they make a pair and replaced by U+FFFD where they are alone."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _in_word(character: str) -> bool:
    return character == "$" or ("_" + character).isidentifier()
