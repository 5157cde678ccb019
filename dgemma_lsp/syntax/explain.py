"""A finding in words, and the parts of the inserted text to write anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from dgemma_lsp.syntax.judge import Finding
from dgemma_lsp.syntax.verdicts import Judgement, Span, Verdict

_TOKEN = re.compile(r"\w+|\S")
_LAST_TOKEN = re.compile(r"(\w+|\S)\s*\Z")
_LINE_END = re.compile(r"[\r\n]")
SHOWN = 30
"""Characters of a token that a reason quotes."""


def verdict_of(finding: Finding, text: str, start: int, stop: int, to_char: Callable[[int], int]) -> Verdict:
    """The verdict on the characters [start, stop) that were inserted in `text`; `to_char` reads a finding's offsets."""
    if finding.judgement in (Judgement.CLEAN, Judgement.UNGATED):
        return Verdict(finding.judgement)
    marks = [*_marks(finding, text, start, stop, to_char)]
    spans = merged([(max(begin, start) - start, min(end, stop) - start) for begin, end in marks])
    return Verdict(
        finding.judgement,
        reason=_reason(finding, text, stop, to_char),
        spans=spans or ((0, stop - start),),
        places=merged([(to_char(fault.start), to_char(fault.stop)) for fault in finding.faults]),
        completion=finding.completion,
    )


def merged(spans: list[Span]) -> tuple[Span, ...]:
    """Spans in order, joined where they touch; empty ones stay where nothing touches them."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return tuple(found)


def _marks(finding: Finding, text: str, start: int, stop: int, to_char: Callable[[int], int]) -> Iterator[Span]:
    """Whole lines around what is wrong: its cause is rarely the token where it comes to light."""
    if finding.misfit is not None:
        at = to_char(finding.misfit.at)
        token = _TOKEN.search(text, at)
        yield _lines(text, min(max(at, start), stop), min(max(token.end() if token else at, start), stop))
    for opener in finding.opened:
        yield _lines(text, to_char(opener.at), stop)
    for closer in finding.surplus:
        yield _lines(text, to_char(closer), to_char(closer))
    if finding.misfit is None and not finding.opened and not finding.surplus:
        for fault in finding.faults:
            begin, end = to_char(fault.start), to_char(fault.stop)
            if begin <= stop and end >= start:
                yield _lines(text, max(begin, start), min(end, stop))


def _lines(text: str, begin: int, end: int) -> Span:
    """The lines that [begin, end] touches, without the last one's line end."""
    first = text.rfind("\n", 0, begin) + 1
    first = max(first, text.rfind("\r", first, begin) + 1)
    last = _LINE_END.search(text, max(end, first))
    return first, last.start() if last else len(text)


def _reason(finding: Finding, text: str, stop: int, to_char: Callable[[int], int]) -> str:
    if finding.opened:
        opener = finding.opened[0].text.strip()
        return f"`{_short(opener)}` opened here is never closed"
    if finding.misfit is not None:
        at = to_char(finding.misfit.at)
        token, previous = _TOKEN.search(text, at), _LAST_TOKEN.search(text, max(0, at - SHOWN), at)
        here = f"`{_short(token[0])}`" if token else "the end"
        there = f" after `{_short(previous[1])}`" if previous else ""
        if token is None or token.start() >= stop:
            return f"it does not join what follows: {here}{there}"
        return f"{here} cannot stand{there}"
    if finding.surplus:
        at = to_char(finding.surplus[0])
        return f"`{_short(text[at : at + 1])}` closes what this text did not open"
    kinds = [fault.kind for fault in finding.faults]
    named = next((kind for kind in kinds if kind != "error"), "a syntax error")
    return f"it leaves {named}" if not named.startswith("missing ") else f"`{named[8:]}` is missing"


def _short(token: str) -> str:
    return token if len(token) <= SHOWN else token[: SHOWN - 1] + "…"
