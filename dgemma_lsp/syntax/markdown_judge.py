"""The judgement of an edit of markdown."""

from __future__ import annotations

import attrs

from dgemma_lsp.syntax.faults import Fault, Frame, Placed, fresh
from dgemma_lsp.syntax.judge import CLEAN, Finding
from dgemma_lsp.syntax.markdown_blocks import left_open, markdown_faults
from dgemma_lsp.syntax.pairs import Opener, closing
from dgemma_lsp.syntax.verdicts import Judgement


def judge_markdown(before: str, old: str, inserted: str, after: str) -> Finding:
    """Whether `inserted` in the place of `old` makes the text swallow more; offsets are in characters.

    An edit that mends as many faults as it brings is clean: without its opening line, a fence swallows the wrong half.
    """
    known = _placed(before, old, after)
    text, frame = _framed(before, inserted, after)
    faults = markdown_faults(text, frame.start, frame.stop)
    worse = _worse(faults, frame, known)
    if not worse or len(faults) < len(known):
        return CLEAN
    opened = [Opener(len(before) + one.at, one.text, one.closer) for one in left_open(inserted)]
    if opened:
        completion = closing(opened)
        text, frame = _framed(before, inserted + completion, after)
        if not _worse(markdown_faults(text, frame.start, frame.stop), frame, known):
            return Finding(Judgement.INCOMPLETE, tuple(worse), None, tuple(opened), (), completion)
    return Finding(Judgement.BROKEN, tuple(worse), None, tuple(opened))


def _framed(before: str, middle: str, after: str) -> tuple[str, Frame]:
    text = before + middle + after
    return text, Frame(len(before), len(before) + len(middle), len(text))


def _placed(before: str, middle: str, after: str) -> list[Placed]:
    """Where the faults begin, which tells them apart: how much they swallow changes with every edit."""
    text, frame = _framed(before, middle, after)
    return [frame.placed(_opening(fault)) for fault in markdown_faults(text, frame.start, frame.stop)]


def _worse(faults: list[Fault], frame: Frame, known: list[Placed]) -> list[Fault]:
    return fresh([_opening(fault) for fault in faults], frame, known)


def _opening(fault: Fault) -> Fault:
    return attrs.evolve(fault, stop=fault.start)
