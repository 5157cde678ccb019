"""What of a large document decides about an edit: all but the statements that are whole and far from it.

A parser that has taken a few statements after the edit as it took them before takes all the others so, too. Without
those an edit in ten thousand lines is judged as fast as one in a hundred.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import attrs
import tree_sitter

from dgemma_lsp.syntax.source import Source
from dgemma_lsp.syntax.trees import Parsed

NEAR = 3
"""Siblings on either side of the edit that stay."""

NEAR_AMONG_ERRORS = 30
"""The same where the parser has lost its way: tokens are siblings of statements there."""

HEAD, TAIL = 2, 2
"""Siblings that stay where their parent begins and ends: what opens and closes it is among them."""

SMALL = 1_000
"""Bytes of a node that stays as it is."""

WORTH = 200
"""Bytes that are left out at least."""

_SPACE = b" \t\f\r"

Range = tuple[int, int]


@attrs.frozen
class Excerpt:
    """A document without some whole lines; the edit is at [start, end) of `text`. Offsets count characters."""

    text: str
    start: int
    end: int
    left_out: tuple[Range, ...] = ()

    def to_document(self, offset: int) -> int:
        """Where a character of the text is in the document; at a gap, behind it."""
        for begin, stop in self.left_out:
            if offset < begin:
                break
            offset += stop - begin
        return offset

    def edited(self, offset: int, grown: int) -> int:
        """The same when the edit made text and document longer by `grown`."""
        return self.to_document(offset) if offset <= self.start else self.to_document(offset - grown) + grown


def excerpt(parsed: Parsed, document: str, start: int, end: int) -> Excerpt:
    """What matters to an edit of the characters [start, end) of a document that was parsed."""
    source = parsed.source
    distant = sorted(_distant(parsed.root, source, source.to_byte(start), source.to_byte(end)))
    ranges = [(source.to_char(begin), source.to_char(stop)) for begin, stop in distant]
    parts, at, before = [], 0, 0
    for begin, stop in ranges:
        parts.append(document[at:begin])
        at = stop
        before += (stop - begin) * (stop <= start)
    return Excerpt("".join([*parts, document[at:]]), start - before, end - before, tuple(ranges))


def _distant(root: tree_sitter.Node, source: Source, start: int, stop: int) -> Iterator[Range]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.end_byte - node.start_byte < SMALL:
            continue
        children = node.children
        first = bisect.bisect_left(children, start, key=lambda child: child.end_byte)
        last = bisect.bisect_right(children, stop, key=lambda child: child.start_byte)
        near = NEAR_AMONG_ERRORS if node.is_error else NEAR
        before = range(HEAD, max(HEAD, first - near))
        after = range(last + near, max(last + near, len(children) - TAIL))
        left: set[int] = set()
        for side in (before, after):
            for run in _sound(children, side, node.is_error, source.data):
                whole = _whole_lines(children, run, source.data)
                if whole is not None and whole[1] - whole[0] >= WORTH:
                    left.update(run)
                    yield whole
        waiting += [child for index, child in enumerate(children) if index not in left]


def _sound(children: Sequence[tree_sitter.Node], side: range, among_errors: bool, data: bytes) -> Iterator[range]:
    """Runs of children without errors. Among errors, only statements that are whole by themselves are known to be."""
    begin = side.start
    for index in side:
        child = children[index]
        bad = child.has_error or child.is_missing or child.is_error
        if not bad and among_errors:
            bad = not child.is_named or child.child_count == 0 or _lines(child, child, data) is None
        if bad:
            yield range(begin, index)
            begin = index + 1
    yield range(begin, side.stop)


def _whole_lines(children: Sequence[tree_sitter.Node], run: range, data: bytes) -> Range | None:
    """The lines of a run, but for those that it shares with its neighbours."""
    first = next((index for index in run if _begins_line(children[index], data)), None)
    last = next((index for index in reversed(run) if _ends_line(children[index], data)), None)
    if first is None or last is None or last < first:
        return None
    return _lines(children[first], children[last], data)


def _lines(first: tree_sitter.Node, last: tree_sitter.Node, data: bytes) -> Range | None:
    if not (_begins_line(first, data) and _ends_line(last, data)):
        return None
    stop = data.find(b"\n", last.end_byte - (data[last.end_byte - 1 : last.end_byte] == b"\n")) + 1
    return data.rfind(b"\n", 0, first.start_byte) + 1, stop or len(data)


def _begins_line(node: tree_sitter.Node, data: bytes) -> bool:
    line = data.rfind(b"\n", 0, node.start_byte) + 1
    return not data[line : node.start_byte].strip(_SPACE)


def _ends_line(node: tree_sitter.Node, data: bytes) -> bool:
    """Some grammars count the line's end to the node."""
    end = node.end_byte
    if data[end - 1 : end] == b"\n":
        return True
    stop = data.find(b"\n", end)
    return stop >= 0 and not data[end:stop].strip(_SPACE)
