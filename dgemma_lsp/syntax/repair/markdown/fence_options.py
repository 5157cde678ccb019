"""The places where a missing fence line may have been, and what speaks for each."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from dgemma_lsp.syntax.repair.markdown.block import Outline
from dgemma_lsp.syntax.repair.markdown.fence_info import Infos, language
from dgemma_lsp.syntax.repair.markdown.fence_lines import FenceLines
from dgemma_lsp.syntax.repair.markdown.trouble import Option
from dgemma_lsp.text.edits import Edit
from dgemma_lsp.text.lines import newline_style

_HASH_COMMENTS = frozenset(
    [
        "bash",
        "sh",
        "shell",
        "zsh",
        "console",
        "shell-session",
        "py",
        "python",
        "python3",
        "yaml",
        "yml",
        "rb",
        "ruby",
        "toml",
        "ini",
        "conf",
        "dockerfile",
        "makefile",
        "env",
        "r",
        "perl",
        "nix",
        "elixir",
        "powershell",
        "ps1",
        "graphql",
        "cmake",
        "properties",
    ]
)
_HEADING = re.compile(r"[ \t>]*#{1,6}[ \t]+\S")
_PROSE = re.compile(
    r"[ \t>]*(?:#{2,6}[ \t]+\S|:::|[-*+][ \t]+(?:\[|\*\*|`)|\*\*\w|\|.*\|[ \t]*$|!?\[[^\]]+\](?:\(|:[ \t])|\{/\*|<!--)"
)
_COLON = re.compile(r".*[:：][*_]{0,2}\s*\Z", re.DOTALL)
LONGEST = 600
"""Lines of code that a fence without its other line may have."""


def fence_options(view: Outline, broken: int, deadline: float) -> Iterator[Option]:
    """One fence line more at every place down to the end of the broken fence, which begins at line `broken`."""
    fences = FenceLines(view, deadline)
    infos = Infos(view)
    newline = newline_style(view.text)
    index, spent, outside = 0, 0.0, fences.start
    while index < len(fences.lines):
        opener = fences.lines[index]
        for number in range(max(outside, opener.number - LONGEST), opener.number):
            yield from _opened(fences, infos, newline, number, index, spent)
        following, cost = fences.inside(index)
        last = fences.lines[following - 1] if following > index + 1 else opener
        stop = last.number if last.closes(opener) and last is not opener else fences.count
        yield from _closed(fences, newline, index, stop, spent)
        if opener.number >= broken:
            return
        index, spent, outside = following, spent + cost, stop + 1


def _opened(fences: FenceLines, infos: Infos, newline: str, number: int, index: int, spent: float) -> Iterator[Option]:
    """An opening line before line `number`, of a fence that the fence line of that index closes."""
    closer = fences.lines[index]
    body = fences.body(number)
    if not closer.bare or fences.blank(number) or _quotes(body) != _quotes(closer.prefix):
        return
    above = fences.body(number - 1) if number > fences.start else ""
    further = fences.body(number - 2) if number > fences.start + 1 else ""
    apart = not above.strip(" \t>")
    traits = {
        "opens": 1.0,
        "rest": _squash(-spent - fences.rest(index + 1)),
        "own": _squash(fences.between(number, closer.number)),
        "own lines": _mean(fences, number, closer.number),
        "first": _nearby(fences, number, 1),
        "above": _nearby(fences, number - 1, -1),
        "after blank": float(apart),
        "after colon": float(_COLON.match(further if apart else above) is not None),
        "after heading": float(_HEADING.match(above) is not None),
        "first is prose": float(_PROSE.match(body) is not None),
        "starts indented": float(_indent(body) > len(closer.prefix)),
        "lines of code": min(closer.number - number, 30) / 10,
    }
    start = fences.outline.lines[number].start
    if infos.is_name(body.strip()) and number + 1 < closer.number:
        at = start + _indent(body)
        yield Option((Edit(at, at, closer.marker),), traits | {"name alone": 1.0})
        return
    code = [fences.body(line) for line in range(number, min(closer.number, number + 40))]
    for info, share in infos.guesses(code):
        edit = Edit(start, start, f"{closer.prefix}{closer.marker}{info}{newline}")
        yield Option((edit,), traits | {"info": share})


def _closed(fences: FenceLines, newline: str, index: int, stop: int, spent: float) -> Iterator[Option]:
    """A closing line after each line before number `stop`, of the fence that the fence line of that index opens."""
    opener = fences.lines[index]
    margin = re.sub(r"[^ \t>]", " ", opener.prefix)
    hashes = language(opener.info) in _HASH_COMMENTS
    following, nested, prose = index + 1, 0, 0
    for number in range(opener.number + 1, min(stop, opener.number + LONGEST)):
        while following < len(fences.lines) and fences.lines[following].number <= number:
            nested += fences.lines[following].nests_in(opener)
            following += 1
        if nested > 1:
            return
        if fences.blank(number):
            continue
        body = fences.body(number)
        prose += _PROSE.match(body) is not None and not (hashes and body.lstrip().startswith("# "))
        edit = _closing(fences, number, f"{margin}{opener.marker}", newline)
        traits = _closed_traits(fences, index, number, following, margin, hashes)
        far = {"rest": _squash(-spent - fences.rest(following)), "nested": float(nested), "prose inside": min(prose, 3)}
        yield Option((edit,), traits | far)


def _closing(fences: FenceLines, number: int, written: str, newline: str) -> Edit:
    line = fences.outline.lines[number]
    if line.next == line.end:
        return Edit(line.end, line.end, newline + written)
    return Edit(line.next, line.next, written + newline)


def _closed_traits(
    fences: FenceLines, index: int, number: int, following: int, margin: str, hashes: bool
) -> dict[str, float]:
    """What speaks for an end after line `number`; `following` is the index of the next fence line."""
    first, below = fences.lines[index].number + 1, number + 1
    quoted = ">" in margin and below < fences.count and _quotes(fences.body(below)) != _quotes(margin)
    apart = below == fences.count or quoted or fences.blank(below)
    further = below
    while further < fences.count and fences.blank(further):
        further += 1
    beyond = fences.body(further) if further < fences.count else None
    stretch = fences.lines[following].number if following < len(fences.lines) else fences.count
    comment = hashes and beyond is not None and beyond.lstrip().startswith("# ")
    return {
        "closes": 1.0,
        "own": _squash(fences.between(first, below)),
        "own lines": _mean(fences, first, below),
        "left": -_squash(fences.between(below, stretch)),
        "left lines": -_mean(fences, below, stretch),
        "last": _nearby(fences, number, -1),
        "next": -_nearby(fences, further, 1),
        "before blank": float(apart),
        "before a fence": float(further == stretch < fences.count),
        "before prose": float(beyond is not None and not comment and _PROSE.match(beyond) is not None),
        "before indented": float(beyond is not None and _indent(beyond) > len(margin)),
        "indented last": float(_indent(fences.body(number)) > len(margin)),
        "open brackets": float(_open_brackets(fences, first, below)),
        "lines": min(below - first, 30) / 10,
        "beyond blank": float(any(fences.blank(line) for line in range(max(first, number - 60), number))),
    }


def _squash(score: float) -> float:
    """Far away much may be misread: what a score says grows slower and slower."""
    return math.copysign(math.log1p(abs(score) / 3), score)


def _mean(fences: FenceLines, first: int, stop: int) -> float:
    return fences.between(first, stop) / max(1.0, (stop - first) ** 0.5)


def _nearby(fences: FenceLines, number: int, step: int) -> float:
    """The score of the nearest lines with text, up to a blank one, from line `number` on or back."""
    while 0 <= number < fences.count and fences.blank(number):
        number += step
    score = 0.0
    for _ in range(6):
        if not fences.start <= number < fences.count or fences.blank(number):
            break
        score += fences.between(number, number + 1)
        number += step
    return score


def _indent(body: str) -> int:
    return len(body) - len(body.lstrip())


def _quotes(prefix: str) -> int:
    """How deep in quotes a line is."""
    lead = re.match(r"[ \t>]*", prefix)
    return lead[0].count(">") if lead else 0


def _open_brackets(fences: FenceLines, first: int, stop: int) -> bool:
    counts = Counter(
        char for line in range(max(first, stop - 100), stop) for char in fences.body(line) if char in "()[]{}"
    )
    return counts["("] > counts[")"] or counts["["] > counts["]"] or counts["{"] > counts["}"]
