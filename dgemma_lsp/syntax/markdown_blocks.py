"""Markdown that swallows what follows it: fences, comments, raw HTML, code spans and links without an end, tables
without a header.

Every text is valid markdown and its grammar never yields an error, so that harm shows only in what becomes of the
rest. A scan of the lines finds it in a hundredth of the time that the grammar needs. Offsets are in characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from dgemma_lsp.syntax.faults import Fault
from dgemma_lsp.syntax.pairs import Opener

# One set of first characters lets the search skip the rest of the text at ten times the speed of an alternation.
_OPENER = re.compile(r"[`~<](?:(?<=`)``+|(?<=~)~~+|(?<=<)!--|(?<=<)(?:script|pre|style|textarea)(?=[\s>]))")
_REST = re.compile(r"[^\r\n]*")
_COMMENT_END = re.compile("-->")
_CONTAINER = re.compile(r"(?:[ \t]|>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t]))*")
"""What may stand before a block on its line."""
_DELIMITER_ROW = re.compile(r"[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_BLANK = re.compile(r"[ \t>]*")
_CELLS = re.compile(r"\\.|`[^`]*`|(\|)")
_INLINE = re.compile(r"\\.|(`+)|(\]\()", re.DOTALL)
_DESTINATION = re.compile(
    r"\s*(?:<[^<>\n]*>|[^\s()]*(?:\((?:[^\s()]|\([^\s()]*\))*\)[^\s()]*)*)"
    r"(?:\s+(?:\"[^\"]*\"|'[^']*'|\([^)]*\)))?\s*\)"
)


@attrs.frozen
class Block:
    """Text that is not markdown: from `start`, its opener, to `stop`; `closed` unless it runs to the end."""

    kind: str
    start: int
    content: int
    stop: int
    opener: str
    closed: bool

    @property
    def closer(self) -> str:
        if self.kind == "comment":
            return "-->"
        return f"\n{self.opener}\n" if self.kind == "fence" else f"</{self.opener[1:]}>"


def blocks(text: str) -> list[Block]:
    """Fences, comments and raw HTML in the order of the text."""
    found: list[Block] = []
    at = 0
    while opener := _next_opener(text, at, len(text)):
        block = _block(text, opener)
        found.append(block)
        at = max(block.stop, opener.end())
    return found


def _next_opener(text: str, start: int, stop: int) -> re.Match[str] | None:
    while opener := _OPENER.search(text, start, stop):
        line = text.rfind("\n", 0, opener.start()) + 1
        line = max(line, text.rfind("\r", line, opener.start()) + 1)
        inline = opener[0][0] == "`" and "`" in _info(text, opener)
        if not inline and _CONTAINER.fullmatch(text, line, opener.start()):
            return opener
        start = opener.end()
    return None


def _info(text: str, opener: re.Match[str]) -> str:
    """The rest of an opener's line: a fence's language."""
    found = _REST.match(text, opener.end())
    return found[0] if found else ""


def _block(text: str, opener: re.Match[str]) -> Block:
    written = opener[0]
    if written[0] in "`~":
        kind = "fence"
        closer = re.compile(rf"^[ \t>]*{re.escape(written[0])}{{{len(written)},}}[ \t]*(?=[\r\n]|\Z)", re.MULTILINE)
    elif written == "<!--":
        kind, closer = "comment", _COMMENT_END
    else:
        kind, closer = "raw", re.compile(f"</{written[1:]}>", re.IGNORECASE)
    end = closer.search(text, opener.end())
    return Block(kind, opener.start(), opener.end(), end.end() if end else len(text), written, end is not None)


def markdown_faults(text: str, start: int, stop: int) -> list[Fault]:
    """The blocks that are not closed or hold what looks like another's opener; and of the lines around [start, stop),
    up to the next blank ones, what is wrong with tables, code spans and links."""
    found = list[Fault]()
    own = blocks(text)
    for block in own:
        if not block.closed:
            found.append(Fault(f"{_NAMES[block.kind]} that is never closed", block.start, block.stop, unfinished=True))
        elif swallowed := _swallowed(text, block):
            found.append(Fault(f"{_NAMES[block.kind]} that swallows another", block.start, swallowed, unfinished=True))
    first, last = _cluster(text, start, stop)
    hidden = [block for block in own if block.start < last and block.stop > first]
    for begin, end in _gaps(first, last, hidden):
        found.extend(_table_faults(text, begin, end))
        found.extend(_inline_faults(text, begin, end))
    return found


_NAMES = {"fence": "a code fence", "comment": "a comment", "raw": "an HTML element"}


def _swallowed(text: str, block: Block) -> int | None:
    """Where inside of a block another one of its kind seems to begin."""
    at = block.content
    while inner := _next_opener(text, at, block.stop):
        at = inner.end()
        fence = block.kind == "fence" and inner[0].startswith(block.opener) and _info(text, inner).strip()
        if fence or (block.kind == "comment" and inner[0] == "<!--"):
            return inner.start()
    return None


def _cluster(text: str, start: int, stop: int) -> tuple[int, int]:
    """The lines around [start, stop) up to blank ones."""
    first = text.rfind("\n", 0, start) + 1
    while first > 0:
        above = text.rfind("\n", 0, first - 1) + 1
        if _BLANK.fullmatch(text[above:first].rstrip("\r\n")):
            break
        first = above
    last = stop
    while last < len(text):
        end = text.find("\n", last) + 1 or len(text)
        if last > stop and _BLANK.fullmatch(text[last:end].rstrip("\r\n")):
            break
        last = end
    return first, last


def _gaps(first: int, last: int, hidden: list[Block]) -> Iterator[tuple[int, int]]:
    for block in hidden:
        if block.start > first:
            yield first, block.start
        first = max(first, block.stop)
    if first < last:
        yield first, last


def _table_faults(text: str, begin: int, end: int) -> Iterator[Fault]:
    """Rows of dashes below a line of another number of cells (GFM, 4.10)."""
    above: str | None = None
    at = begin
    for line in text[begin:end].splitlines(keepends=True):
        body = line.rstrip("\r\n")
        if (
            "|" in body
            and "-" in body
            and _DELIMITER_ROW.fullmatch(body)
            and (above is None or _cells(above) != _cells(body))
        ):
            yield Fault("a table without its header", at, at + len(body))
        above = body
        at += len(line)


def _cells(row: str) -> int:
    row = row.lstrip(" \t>").rstrip()
    bars = [found.start(1) for found in _CELLS.finditer(row) if found[1]]
    return len(bars) + 1 - (0 in bars) - (len(row) - 1 in bars)


def _inline_faults(text: str, begin: int, end: int) -> Iterator[Fault]:
    """Runs of backticks without a partner, and link targets without a closing parenthesis, paragraph by paragraph."""
    for paragraph in re.finditer(r"(?:(?![ \t>]*\r?$)[^\n]*(?:\n|\Z))+", text[begin:end], re.MULTILINE):
        if not paragraph[0]:
            continue
        base, body = begin + paragraph.start(), paragraph[0]
        at = 0
        while token := _INLINE.search(body, at):
            at = token.end()
            if run := token[1]:
                partner = re.compile(rf"(?<!`){run}(?!`)").search(body, at)
                if partner is None:
                    yield Fault(
                        "a code span that is never closed", base + token.start(), base + len(body), unfinished=True
                    )
                else:
                    at = partner.end()
            elif token[2] and not _DESTINATION.match(body, at):
                yield Fault("a link that is never closed", base + token.start(), base + len(body), unfinished=True)


def left_open(text: str) -> list[Opener]:
    """What a piece of markdown opens and does not close, outermost first."""
    found = [Opener(block.start, block.opener, block.closer) for block in blocks(text) if not block.closed]
    if not found:
        for fault in _inline_faults(text, _cluster(text, len(text), len(text))[0], len(text)):
            run = re.match(r"`+|\]\(", text[fault.start :])
            if run:
                found.append(Opener(fault.start, run[0], ")" if run[0] == "](" else run[0]))
    return found
