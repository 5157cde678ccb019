"""A damaged JSON text as tokens: read from any place, since an inserted quote makes other tokens of what follows."""

from __future__ import annotations

import re

import attrs

_BLANK = re.compile(r"[ \t\n\r]*")
_BLANK_OR_COMMENT = re.compile(r"(?:[ \t\n\r]+|//[^\n\r]*|/\*(?:(?!\*/)[\s\S])*\*/)*")
_TOKEN = re.compile(
    r"""
    (?P<mark>[{}\[\]:,])
    | (?P<s>"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")
    | (?P<u>"(?:[^"\\\n\r]|\\[^\n\r])*"?)
    | (?P<n>-?(?:0(?![0-9])|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<l>true|false|null)
    | (?P<c>//[^\n\r]*|/\*(?:(?!\*/)[\s\S])*\*/)
    | (?P<x>[^ \t\n\r{}\[\]:,"]+)
    """,
    re.VERBOSE,
)
_TYPES = {"s": "s", "n": "n", "true": "b", "false": "b", "null": "z", "{": "o", "[": "a"}
# Content that begins or ends like this, or has this in its midst, was more often two strings and what stood between.
_ODD_START = re.compile(r'"\s*[:,}\]]')
_ODD_END = re.compile(r"[:,{\[]\s*\"$")
_ODD_MIDST = re.compile(r"\\?\"\s*[:,]|[\]}]\s*,|,\s*[\[{]|:\s*[\[{]")
SAME_LINE = -1
NO_GAP = ("", SAME_LINE)


@attrs.define(eq=False)
class Token:
    """One token and the gap before it.

    `kind`: a mark itself; `s`tring, `n`umber, `l`iteral; `u`nterminated or malformed string, `c`omment where none may
    be, `x` anything else; `$` the end. `gap` names the shape of the white space, `column` is the indentation in
    characters when the token begins a line, else `SAME_LINE`. `odd`: nats for content that looks like a lexing mistake.
    `learned` and `gap_learned` are the contexts in which habits were learned from this token and its gap.
    """

    kind: str
    start: int
    end: int
    following: int
    gap: str
    column: int
    text: str
    type: str
    odd: float = 0.0
    learned: tuple[str, str] | None = None
    gap_learned: tuple[str, str, bool] | None = None

    def with_gap(self, gap: tuple[str, int]) -> Token:
        return attrs.evolve(self, gap=gap[0], column=gap[1], gap_learned=None)


def gap_shape(white: str) -> tuple[str, int]:
    """The shape of white space (and comments) between two tokens, and the column after it."""
    if not white:
        return NO_GAP
    if "\n" not in white and "\r" not in white:
        return (white if len(white) < 4 else "long") if white.isspace() else "comment", SAME_LINE
    lines = white.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    column = len(lines[-1])
    if lines[-1].strip():
        return "comment", SAME_LINE
    if any(lines[:-1]):
        return ("trailing" if white.isspace() else "commented"), column
    return ("line" if len(lines) == 2 else "lines"), column


def splits(white: str) -> list[int]:
    """Where a token may be put in a gap: at its ends and before each of its line ends."""
    places = {0, len(white)} | {match.start() for match in re.finditer(r"\r\n|\n|\r", white)}
    return sorted(places)[:8] if len(places) > 8 else sorted(places)


class Lexer:
    """The tokens of a document by where they begin; each is read once."""

    def __init__(self, document: str, comments: bool) -> None:
        self.document = document
        self.comments = comments
        self.first = self._skip(1 if document.startswith("\ufeff") else 0)
        self._tokens: dict[int, Token] = {}

    def _skip(self, at: int) -> int:
        match = (_BLANK_OR_COMMENT if self.comments else _BLANK).match(self.document, at)
        return match.end() if match else at

    def at(self, start: int, before: int) -> Token:
        """The token at `start`, where the one before ended at `before`."""
        token = self._tokens.get(start)
        if token is None:
            token = self._tokens[start] = self._read(start, before)
        return token

    def white_before(self, at: int) -> int:
        """Where the white space before a place begins."""
        return len(self.document[max(0, at - 1000) : at].rstrip(" \t\n\r")) + max(0, at - 1000)

    def _read(self, start: int, before: int) -> Token:
        document = self.document
        gap, column = gap_shape(document[before:start]) if start > before else NO_GAP
        match = _TOKEN.match(document, start)
        if match is None:
            if start >= len(document):
                return Token("$", start, start, start, gap, column, "", "")
            return Token("x", start, start + 1, self._skip(start + 1), gap, column, document[start], "")
        kind, end, text = match.lastgroup or "x", match.end(), match[0]
        if kind == "mark":
            return Token(text, start, end, self._skip(end), gap, column, text, _TYPES.get(text, ""))
        if kind == "s":
            return Token("s", start, end, self._skip(end), gap, column, text[1:-1], "s", oddness(text))
        value = _TYPES.get(text if kind == "l" else kind, "")
        return Token(kind, start, end, self._skip(end), gap, column, text, value)

    def string(self, start: int, before: int, open_at: int | None, close_at: int | None) -> Token | None:
        """The string that a missing quote would make: opened at `start` or, when it stands there already, closed at
        `close_at`; None when it would not be one."""
        document = self.document
        if open_at is not None:
            match = _TOKEN.match('"' + document[open_at : open_at + 20_000])
            if match is None or match.lastgroup != "s":
                return None
            text, end = match[0], open_at + match.end() - 1
        else:
            text, end = document[start:close_at] + '"', close_at or start
            match = _TOKEN.fullmatch(text)
            if match is None or match.lastgroup != "s":
                return None
        gap, column = gap_shape(document[before:start]) if start > before else NO_GAP
        return Token("s", start, end, self._skip(end), gap, column, text[1:-1], "s", oddness(text))


def oddness(text: str) -> float:
    """How little a string with its quotes looks like one that somebody wrote, in nats."""
    odd = 0.0
    if len(text) > 2:
        odd += 4.0 * bool(_ODD_START.match(text))
        odd += 2.5 * bool(_ODD_END.search(text))
        odd += 1.5 * bool(_ODD_MIDST.search(text, 1, len(text) - 1))
    return odd
