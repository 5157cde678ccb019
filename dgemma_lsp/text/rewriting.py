"""A selection written anew, as the least changes of the document."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import attrs

from dgemma_lsp.text.alignment import common
from dgemma_lsp.text.edits import Edit
from dgemma_lsp.text.lines import NEWLINE, newline_style, with_newlines

MOST_TOKENS = 2_000
"""Tokens on either side of a hunk that is compared word by word."""

LEAST_COMMON = 0.3
"""The share of a hunk's characters that must stay for it to be read word by word."""

SHORT_GAP = 3
"""Characters without a letter between two changes that are read as one."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
_TOKEN = re.compile(r"\w+|\r\n|\s|[^\w\s]")
_FENCED = re.compile(r"\s*(`{3,}|~{3,})[^\r\n]*(?:\r\n|\n|\r)(.*?)(?:\r\n|\n|\r)?\1\s*\Z", re.DOTALL)
_INDENT = re.compile(r"[ \t]*")


@attrs.frozen
class Hunk:
    """Lines [start, end) of a document that become `text`, or as many of them as lie in the selection.

    `edits` do the same, word by word. Offsets count characters.
    """

    start: int
    end: int
    text: str
    edits: tuple[Edit, ...]


def hunks(document: str, start: int, end: int, text: str) -> tuple[Hunk, ...]:
    """The changes that make the characters [start, end) of a document `text`, in order, with as few lines as can be.

    None of them reaches out of [start, end).
    """
    old, new = _LINE.findall(document[start:end]), _LINE.findall(text)
    found = []
    at, line = start, 0
    for lines, written in _changes(old, new):
        at += sum(map(len, old[line : lines.start]))
        line = lines.stop
        gone, come = "".join(old[lines.start : lines.stop]), "".join(new[written.start : written.stop])
        found.append(Hunk(at, at + len(gone), come, tuple(_words(at, gone, come))))
        at += len(gone)
    return tuple(found)


def fitted(document: str, start: int, end: int, written: str) -> str:
    """What a model wrote for [start, end) of a document, in the document's own form.

    Its line ends, its unit of indentation, the selection's depth, and a line end at the end where there was one. A
    code fence that the model put around its answer goes.
    """
    old = document[start:end]
    fence = _FENCED.match(written)
    if fence and not _FENCED.match(old):
        written = fence[2]
    lines = with_newlines(written, "\n").split("\n")
    if old.strip():
        lines = _indented(lines, document[_line_start(document, start) : end], whole=not _typed(document, start))
    text = with_newlines("\n".join(lines), newline_style(document))
    ending = _line_end(old)
    return text.rstrip("\r\n") + ending if text.strip() else text


def _changes(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[range, range]]:
    """Lines that went and lines that came in their place."""
    pairs = [(-1, -1), *common(old, new), (len(old), len(new))]
    breaks = [(range(one[0] + 1, other[0]), range(one[1] + 1, other[1])) for one, other in itertools.pairwise(pairs)]
    breaks = [(gone, come) for gone, come in breaks if gone or come]
    following = [*(gone.start for gone, _ in breaks[1:]), len(old)]
    for (gone, come), stop in zip(breaks, following, strict=False):
        yield _slid(old, new, gone, come, stop - gone.stop)


def _slid(old: Sequence[str], new: Sequence[str], gone: range, come: range, room: int) -> tuple[range, range]:
    """Lines that only came, or only went, moved down at most `room` lines: behind those that they repeat."""
    lines, moving = (new, come) if not gone else (old, gone)
    steps = 0
    if not (gone and come):
        while steps < room and lines[moving.start + steps] == lines[moving.stop + steps]:
            steps += 1
    return range(gone.start + steps, gone.stop + steps), range(come.start + steps, come.stop + steps)


def _words(at: int, gone: str, come: str) -> list[Edit]:
    """The edits that turn the text `gone` at an offset into `come`."""
    whole = [_trimmed(at, gone, come)]
    old, new = _TOKEN.findall(gone), _TOKEN.findall(come)
    if not old or not new or max(len(old), len(new)) > MOST_TOKENS:
        return whole
    pairs = common(old, new)
    if sum(len(old[one]) for one, _ in pairs if old[one].strip()) < LEAST_COMMON * len(gone.strip()):
        return whole
    edits: list[Edit] = []
    offsets = [0, *itertools.accumulate(map(len, old))]
    for one, other in itertools.pairwise([(-1, -1), *pairs, (len(old), len(new))]):
        first, last = offsets[one[0] + 1], offsets[other[0]]
        text = "".join(new[one[1] + 1 : other[1]])
        if first == last and not text:
            continue
        edit = Edit(at + first, at + last, text)
        if edits and _is_short(gone[edits[-1].end - at : first]):
            between = gone[edits[-1].end - at : first]
            edit = Edit(edits[-1].start, edit.end, edits.pop().text + between + text)
        edits.append(edit)
    return edits


def _trimmed(at: int, gone: str, come: str) -> Edit:
    """One edit, without the white space that begins or ends both texts."""
    most = min(len(gone), len(come))
    lead = next((index for index in range(most) if gone[index] != come[index] or not gone[index].isspace()), most)
    if gone[:lead].endswith("\r"):
        lead -= 1
    pairs = zip(reversed(gone[lead:]), reversed(come[lead:]), strict=False)
    trail = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1] and pair[0].isspace(), pairs))
    # The protocol has no place between the two characters of a line end.
    if trail and gone[-trail] == "\n" and "\r" in (gone[-trail - 1 : -trail], come[-trail - 1 : -trail]):
        trail -= 1
    return Edit(at + lead, at + len(gone) - trail, come[lead : len(come) - trail])


def _is_short(gap: str) -> bool:
    return len(gap) < SHORT_GAP and not any(char.isalnum() or char in "\r\n" for char in gap)


def _indented(lines: list[str], old: str, *, whole: bool) -> list[str]:
    """The lines at the depth of the old text, with its unit of indentation; `whole` when it begins a line."""
    unit = "\t" if _tabs(old) else None
    if unit and not any(line.startswith("\t") for line in lines):
        step = min((len(_indent_of(line)) for line in lines if line.startswith(" ")), default=0)
        lines = [_retabbed(line, step) for line in lines]
    wanted, found = _depth(_LINE.findall(old)), _depth(lines if whole else lines[1:])
    if not whole:
        wanted = _depth(_LINE.findall(old)[1:])
    if wanted is None or found is None or wanted == found:
        return lines
    begin = 0 if whole else 1
    if wanted.startswith(found):
        more = wanted[len(found) :]
        return [*lines[:begin], *(more + line if line.strip() else line for line in lines[begin:])]
    if found.startswith(wanted):
        less = len(found) - len(wanted)
        return [*lines[:begin], *(line[less:] if line.strip() else line for line in lines[begin:])]
    return lines


def _depth(lines: Sequence[str]) -> str | None:
    """The indentation that all lines share that are not blank; None when all are."""
    indents = [_indent_of(line) for line in lines if line.strip()]
    if not indents:
        return None
    first, last = min(indents), max(indents)
    return next((first[:at] for at, char in enumerate(first) if char != last[at]), first)


def _indent_of(line: str) -> str:
    found = _INDENT.match(line)
    return found[0] if found else ""


def _retabbed(line: str, step: int) -> str:
    indent = _indent_of(line)
    if not step or "\t" in indent:
        return line
    return "\t" * (len(indent) // step) + " " * (len(indent) % step) + line[len(indent) :]


def _tabs(text: str) -> bool:
    """Whether lines are indented by tabs."""
    return any(line.startswith("\t") for line in _LINE.findall(text))


def _line_start(document: str, offset: int) -> int:
    return max(document.rfind("\n", 0, offset), document.rfind("\r", 0, offset)) + 1


def _typed(document: str, offset: int) -> bool:
    """Whether a line has begun before an offset of it, be it by its indentation."""
    return _line_start(document, offset) < offset


def _line_end(text: str) -> str:
    found = [*NEWLINE.finditer(text[-2:])]
    return found[-1][0] if found and text.endswith(found[-1][0]) else ""
