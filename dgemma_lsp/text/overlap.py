"""Where a fill meets the text around it: what it repeats is cut, and closers that stand there already are replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import attrs

from dgemma_lsp.text.hunks import replaced
from dgemma_lsp.text.lines import NEWLINE
from dgemma_lsp.text.marks import around, count_alone

WINDOW = 16_000
"""Characters on either side of the cursor that are read; a bracket whose partner lies further off counts as alone."""

LINE_WINDOW = 2_000
"""Characters of the cursor's line that are read, on either side of it."""

NEARBY = 800
"""Characters before the cursor within which an open bracket waits for its closer, even if there is none below."""

MOST_JOINS = 16
"""Ways to join that are compared. Source text offers a handful; a page of closers would offer thousands."""

TELLING = 3
"""Characters in words from which on a repetition is no coincidence."""

_CLOSER = re.compile(r"[ \t]*[)\]}]|\"{3}|'{3}|`{3}|[\"'`]")
_IDENTIFIER_AT_END = re.compile(r"[^\W\d]\w*\Z")
_LINE = re.compile(r"[^\r\n]+")
_TAG = re.compile(r"</?[A-Za-z][\w.-]*")
_NO_QUOTES = dict.fromkeys(map(ord, "\"'`"))


@attrs.frozen
class Offer:
    """`insert` in place of the offsets [start, end) of a document; both lie on the cursor's line."""

    start: int
    end: int
    insert: str

    def applied(self, document: str) -> str:
        """The document with the offer accepted."""
        return replaced(document, self.start, self.end, self.insert)


def offer(document: str, cursor: int, word_start: int, filled: str) -> Offer | None:
    """What to offer at `cursor` when `filled`, with the document's line ends, was made for a hole there; or None.

    The offer starts at `word_start` and repeats the word that is being typed. It leaves out what stands before and
    after the cursor already, and it replaces closers after the cursor, and the rest of the line, where the fill
    brings them itself and goes on. Of all ways to join fill and text the one is taken that leaves the fewest
    brackets, quotes and tags alone: a closer that an outer bracket needs stays.
    """
    before, after = document[max(0, cursor - WINDOW) : cursor], document[cursor : cursor + WINDOW]
    line = before[max(before.rfind("\n"), before.rfind("\r")) + 1 :][-LINE_WINDOW:]
    rest = NEWLINE.split(after, maxsplit=1)[0][:LINE_WINDOW]
    filled = filled[_repeated_head(line, filled) :]

    joins = list(islice(_joins(line, filled, rest.rstrip(), after[len(rest) :]), MOST_JOINS))
    if len(joins) > 1:
        lines = before if len(before) <= NEARBY else max(before[-NEARBY:].partition("\n")[2], line, key=len)
        above, below = around(before[: len(before) - len(lines)], after[len(rest) :])

        def rank(join: _Join) -> tuple[int, ...]:
            joined = filled[: join.kept] + rest[join.grown :]
            inside_strings = (line + joined).translate(_NO_QUOTES)
            alone = count_alone(above + lines + joined + below), count_alone(inside_strings)
            return not join.sure, *alone, join.weak, join.kept - join.grown, join.grown

        joins.sort(key=rank)
    kept, grown = joins[0].kept, joins[0].grown
    # Closers that were cut are replaced instead, so that acceptance leaves the cursor behind them.
    while (closer := _CLOSER.match(rest, grown)) and filled.startswith(closer[0], kept):
        kept, grown = kept + len(closer[0]), closer.end()

    insert = filled[:kept] if rest[grown:].strip() else filled[:kept].rstrip()
    found = Offer(word_start, cursor + grown, document[word_start:cursor] + insert)
    return found if insert.strip() and found.insert != document[found.start : found.end] else None


@attrs.frozen
class _Join:
    """The first `kept` characters of a fill in place of the first `grown` characters after the cursor."""

    kept: int
    grown: int
    sure: bool = False
    """What is left out can only be a repetition."""
    weak: bool = False
    """It is so little that something has to be gained by it."""


def _joins(line: str, filled: str, rest: str, below: str) -> Iterator[_Join]:
    lines_below = [text for _, text in _visible(below)]
    yield from _overruns(filled, rest)
    for grown in _growths(filled, rest):
        yield _Join(len(filled), grown, weak=grown > 0)
        yield from _line_cuts(line, filled, rest[grown:], lines_below, grown)
        yield from _partial_cuts(filled, rest[grown:], grown)


def _growths(filled: str, after: str) -> Iterator[int]:
    """How far closers go after the cursor, where an editor puts them, that the fill has as well in this order."""
    yield 0
    marks, end = iter(filled), 0
    while (closer := _CLOSER.match(after, end)) and closer[0][-1] in marks:
        end = closer.end()
        yield end


def _overruns(filled: str, rest: str) -> Iterator[_Join]:
    """A fill that has the `rest` of the cursor's line at the end of its first line, and goes on."""
    first, *more = NEWLINE.split(filled, maxsplit=1)
    first = first.rstrip()
    if more and rest and first.endswith(rest):
        within = _inseparable(first, len(first) - len(rest))
        yield _Join(len(filled), len(rest), weak=within or _is_weak(rest, ":>"))


def _line_cuts(line: str, filled: str, rest: str, below: list[str], grown: int) -> Iterator[_Join]:
    """A fill that comes to the whole `rest` of the cursor's line, and then to lines that stand below."""
    ours = _visible(line + filled)
    # The first of the repeated lines may be the cursor's own only where nothing stands on it.
    for first in range(1 if line.strip() else 0, len(ours) + 1):
        repeated = [text for _, text in ours[first : first + len(below) + 1]]
        end, last = ours[first - 1] if first else (0, "")
        kept = max(0, end - len(line)) - len(rest)
        if kept >= 0 and last.endswith(rest) and (rest or repeated) and repeated == below[: len(repeated)]:
            words = len(re.findall(r"\w", _TAG.sub("", filled[kept:])))
            within = rest != "" and _inseparable(filled, kept)
            weak = words < TELLING and (within or _is_weak(filled[kept:], ",;:.>"))
            yield _Join(kept, grown, sure=words >= TELLING, weak=weak)


def _partial_cuts(filled: str, rest: str, grown: int) -> Iterator[_Join]:
    """A fill that ends with what the `rest` of the cursor's line begins with."""
    for size in range(1, min(len(rest), len(filled) + 1)):
        kept = len(filled) - size
        if filled.endswith(rest[:size]) and not _inseparable(filled, kept) and not _inseparable(rest, size):
            yield _Join(kept, grown, weak=_is_weak(rest[:size], ",;"))


def _visible(text: str) -> list[tuple[int, str]]:
    """The lines that are not blank, without white space at their end, and where that leaves their end."""
    lines = ((line.start(), line[0].rstrip()) for line in _LINE.finditer(text))
    return [(start + len(line), line) for start, line in lines if line]


def _is_weak(repeated: str, separators: str) -> bool:
    """One mark may well follow itself, as in `//`, `**` and `))`, other than these `separators`."""
    mark = repeated.strip()
    return not mark or (len(mark) == 1 and mark not in separators and not mark.isalnum())


def _inseparable(text: str, at: int) -> bool:
    """Whether an offset lies within a word, or within a run such as `----`."""
    pair = text[max(0, at - 1) : at + 1]
    return len(pair) == 2 and (pair[0] == pair[1] or all(each.isalnum() or each == "_" for each in pair))


def _repeated_head(line: str, filled: str) -> int:
    """How much of the fill only says again what stands before the cursor: the line, or the word being typed."""
    for head in (line.lstrip(), "".join(_IDENTIFIER_AT_END.findall(line))):
        if len(head.rstrip()) >= TELLING and re.search(r"[^\W\d]", head) and filled.startswith(head):
            return len(head)
    return 0
