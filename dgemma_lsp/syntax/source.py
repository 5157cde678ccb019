"""A text as the parser sees it: UTF-8 bytes, and the way back to characters."""

from __future__ import annotations

import re

import attrs

from dgemma_lsp.text.ends import common_end, common_start

_LONE_RETURN = re.compile(r"\r(?!\n)")


@attrs.frozen
class Source:
    """A text and its bytes. Offsets of the parser are bytes, everybody else's are characters.

    A lone `\\r` ends a line for editors and languages, but not for grammars: they are given a `\\n`.
    """

    text: str
    data: bytes

    @classmethod
    def of(cls, text: str) -> Source:
        """A lone surrogate, which UTF-8 does not have, is read as a question mark."""
        read = _LONE_RETURN.sub("\n", text) if "\r" in text else text
        try:
            return cls(text, read.encode())
        except UnicodeEncodeError:
            return cls(text, read.encode(errors="replace"))

    def to_byte(self, offset: int) -> int:
        if len(self.data) == len(self.text):
            return offset
        return len(self.text[:offset].encode(errors="replace"))

    def to_char(self, byte: int) -> int:
        """A byte inside of a character belongs to the character's start."""
        if len(self.data) == len(self.text):
            return byte
        return len(self.data[:byte].decode(errors="ignore"))

    def point(self, byte: int) -> tuple[int, int]:
        """Row and column as tree-sitter counts them: `\\n` alone ends a row, columns are bytes."""
        return self.data.count(b"\n", 0, byte), byte - (self.data.rfind(b"\n", 0, byte) + 1)


@attrs.frozen
class Splice:
    """What turns one source into another: the old bytes [start, end) became [start, stop) of the new one."""

    start: int
    end: int
    stop: int

    @classmethod
    def between(cls, old: bytes, new: bytes) -> Splice:
        """The smallest splice between two texts, found by halving."""
        prefix = common_start(old, new)
        room = min(len(old), len(new)) - prefix
        suffix = common_end(old, new, room)
        return cls(prefix, len(old) - suffix, len(new) - suffix)

    @property
    def grown(self) -> int:
        """By how many bytes the new source is longer."""
        return self.stop - self.end

    def moved(self, byte: int) -> int | None:
        """Where a byte offset of the old source is in the new one; None when it was replaced."""
        if byte <= self.start:
            return byte
        return byte + self.grown if byte >= self.end else None
