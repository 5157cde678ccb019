"""What a paragraph consists of: code spans, links and emphasis, and the marks that found no partner (CommonMark 6).

Offsets are in characters of the paragraph.
"""

from __future__ import annotations

import re
import unicodedata

import attrs

from dgemma_lsp.syntax.repair.markdown.outline import normal_label

_TOKEN = re.compile(
    r"\\[!-/:-@\[-`{-~]|(`+)|(<[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*>|<[\w.+-]+@[\w.-]+>|"
    r"</?[A-Za-z][A-Za-z0-9-]*(?:\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*(?:[^\s\"'=<>`]+|'[^']*'|\"[^\"]*\"))?)*\s*/?>|"
    r"<!--(?:[^-]|-(?!->))*-->)|(\*+|_+)|(!?\[)|(\])"
)
_SPECIAL = re.compile(r"[`*_\[\]<]")
DESTINATION = re.compile(
    r"\(\s*(?:<(?:[^<>\n\\]|\\.)*>|(?:[^\s()<\\]|\\.|\((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*\))"
    r"(?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*\))*)?"
    r"(?:\s+(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\)))?\s*\)",
    re.DOTALL,
)
"""What follows a link's text: a target that may hold pairs of parentheses, and perhaps a title."""
_LABEL = re.compile(r"\[((?:[^\[\]\\]|\\.)*)\]")


@attrs.frozen
class Span:
    """[start, stop) with its marks; what they hold is [inner, outer)."""

    kind: str
    start: int
    inner: int
    outer: int
    stop: int


@attrs.define
class Mark:
    """A run of `*` or `_` of which `count` characters from `at` are still literal."""

    at: int
    char: str
    count: int
    opens: bool
    closes: bool
    length: int
    active: bool = True


@attrs.define
class Inline:
    """`spans` are code, link, image, raw, and emphasis as its own marks (`*`, `**`, `_`, `__`)."""

    spans: list[Span] = attrs.Factory(list)
    ticks: list[tuple[int, int]] = attrs.Factory(list)
    marks: list[Mark] = attrs.Factory(list)
    brackets: list[tuple[int, int]] = attrs.Factory(list)
    open_brackets: list[int] = attrs.Factory(list)
    close_brackets: list[int] = attrs.Factory(list)


def scan(text: str, labels: frozenset[str]) -> Inline:
    found = Inline()
    if not _SPECIAL.search(text):
        return found
    runs: list[Mark] = []
    brackets: list[tuple[int, int, bool, int]] = []
    links_off = -1
    lengths: dict[int, list[int]] | None = None
    at = 0
    while token := _TOKEN.search(text, at):
        begin, at = token.span()
        if token[1]:
            if lengths is None:
                lengths = _tick_runs(text)
            size = at - begin
            partner = _next(lengths[size], at) if size in lengths else None
            if partner is None:
                found.ticks.append((begin, size))
            else:
                found.spans.append(Span("code", begin, at, partner, partner + size))
                at = partner + size
        elif token[2]:
            found.spans.append(Span("raw", begin, begin, at, at))
        elif token[3]:
            runs.append(_mark(text, begin, at))
        elif token[4]:
            brackets.append((begin, at, token[4][0] == "!", len(runs)))
        elif token[5]:
            if not brackets:
                found.close_brackets.append(begin)
                continue
            start, inner, image, below = brackets.pop()
            target = DESTINATION.match(text, at) if at < len(text) and text[at] == "(" else None
            stop = target.end() if target else _reference(text, inner, begin, at, labels)
            if not stop or (not image and start < links_off):
                found.brackets.append((start, begin))
                continue
            found.spans.append(Span("image" if image else "link", start, inner, begin, stop))
            _pair(runs[below:], found)
            del runs[below:]
            if not image:
                links_off = start
            at = stop
    _pair(runs, found)
    found.open_brackets = [start for start, *_ in brackets]
    return found


def _tick_runs(text: str) -> dict[int, list[int]]:
    lengths: dict[int, list[int]] = {}
    for run in reversed(list(re.finditer("`+", text))):
        lengths.setdefault(run.end() - run.start(), []).append(run.start())
    return lengths


def _next(starts: list[int], at: int) -> int | None:
    """The first of the falling `starts` that is not before `at`; those before it are dropped."""
    while starts and starts[-1] < at:
        starts.pop()
    return starts[-1] if starts else None


def _reference(text: str, inner: int, outer: int, at: int, labels: frozenset[str]) -> int:
    """The end of a reference link, or 0."""
    if not labels:
        return 0
    label = _LABEL.match(text, at)
    if label and label[1].strip():
        return label.end() if normal_label(label[1]) in labels else 0
    if normal_label(text[inner:outer]) in labels:
        return label.end() if label else at
    return 0


def _mark(text: str, begin: int, at: int) -> Mark:
    """A run and on which sides it may hold emphasis (CommonMark 6.2, flanking)."""
    before = text[begin - 1] if begin else " "
    after = text[at] if at < len(text) else " "
    space_before, space_after = before.isspace(), after.isspace()
    mark_before, mark_after = _punctuation(before), _punctuation(after)
    left = not space_after and (not mark_after or space_before or mark_before)
    right = not space_before and (not mark_before or space_after or mark_after)
    if text[begin] == "_":
        left, right = left and (not right or mark_before), right and (not left or mark_after)
    return Mark(begin, text[begin], at - begin, left, right, at - begin)


def _punctuation(char: str) -> bool:
    if char < "\x80":
        return not char.isalnum() and not char.isspace()
    return unicodedata.category(char)[0] in "PS"


def _pair(runs: list[Mark], found: Inline) -> None:
    """Pairs openers and closers, innermost first (CommonMark, "process emphasis"); what is left is literal."""
    bottoms: dict[tuple[str, int, bool], int] = {}
    openers: list[Mark] = []
    for closer in runs:
        while closer.closes and closer.count:
            key = (closer.char, closer.length % 3, closer.opens)
            floor = bottoms.get(key, 0)
            depth = len(openers)
            while depth > floor:
                opener = openers[depth - 1]
                odd = (opener.closes or closer.opens) and (opener.length + closer.length) % 3 == 0
                odd = odd and (opener.length % 3 != 0 or closer.length % 3 != 0)
                if opener.char == closer.char and not odd:
                    break
                depth -= 1
            if depth <= floor:
                bottoms[key] = len(openers)
                break
            opener = openers[depth - 1]
            size = 2 if opener.count >= 2 and closer.count >= 2 else 1
            opener.count -= size
            start = opener.at + opener.count
            found.spans.append(Span(closer.char * size, start, start + size, closer.at, closer.at + size))
            closer.at += size
            closer.count -= size
            found.marks += openers[depth:]
            del openers[depth if opener.count else depth - 1 :]
            for key, value in bottoms.items():
                if value > len(openers):
                    bottoms[key] = len(openers)
        if closer.count:
            if closer.opens:
                openers.append(closer)
            else:
                found.marks.append(closer)
    found.marks += openers
