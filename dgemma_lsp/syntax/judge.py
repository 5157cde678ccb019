"""The judgement of one edit, from the faults of the texts with and without it."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import attrs

from dgemma_lsp.syntax.completions import Completion, completions
from dgemma_lsp.syntax.faults import Fault, Placed, error_nodes
from dgemma_lsp.syntax.misfit import Misfit
from dgemma_lsp.syntax.pairs import Opener, closing, openers, pairs
from dgemma_lsp.syntax.trial import Trial, Variant
from dgemma_lsp.syntax.verdicts import Judgement

OUTER = 2
"""Openers from before the edit that a completion may close, where the document lacks closers already."""

NEAR = 200
"""Bytes after an edit within which an error made in it comes to light."""

EFFORT = 400_000
"""Bytes to parse in search of a completion: in a document with errors every trial costs as much as a parse."""

FAULT = 10_000
"""Bytes of sound text that take as long to parse as an error."""

LINE = 400
"""Characters before the edit in which its line is looked for."""

SEPARATOR = ","
"""Text that lacks nothing but this is wrong, not unfinished: its author did not see that something follows."""

VERBATIM = {
    '"""': '"""', "'''": "'''", "`": "`", '"': '"', "'": "'", "/*": "*/", "<!--": "-->", "#include <": ">",
}  # fmt: skip
"""What opens text that is no code, and what closes it."""


@attrs.frozen
class Finding:
    """A judgement and what led to it. All offsets are those of the edited text as the parser has it.

    `faults` got worse. `misfit` is the first token that cannot stand where it stands. `opened` is what the edit opens
    and does not close, `surplus` where it closes what it has not opened.
    """

    judgement: Judgement
    faults: tuple[Fault, ...] = ()
    misfit: Misfit | None = None
    opened: tuple[Opener, ...] = ()
    surplus: tuple[int, ...] = ()
    completion: str = ""


CLEAN = Finding(Judgement.CLEAN)


@attrs.frozen
class Outlook:
    """The document without the edit as its author might complete it there: its faults then, and how he would do it."""

    known: list[Placed]
    completion: Completion | None
    open: list[Opener]


def judge(trial: Trial, old: Variant, new: Variant, inserted: str, lagging: bool) -> Finding:
    """Whether `new`, with `inserted` as its middle, is worse than `old`; for `lagging` see Rules.

    The steps: an edit without faults of its own is clean. One with a token that cannot stand where it stands is
    broken. So is one that cannot be completed, by closing what it opens or by an operand that it lacks; else it is
    incomplete. Where the document itself waits to be completed at the edit, it is compared as completed.
    """
    common = old.shapes() if lagging else frozenset()
    outlook = None
    worse = _worse(new, old.placed, common)
    if not worse:
        if not any(_covers(fault, new) for fault in new.faults):
            return CLEAN
        # A fault around the edit may hide others. It hides nothing where the author's own completion would mend it.
        outlook = _outlook(trial, old)
        worse = _worse(new, outlook.known, common)
        if outlook.completion is None or not worse:
            return CLEAN
    misfit = trial.misfit(old, new)
    if misfit is not None and new.parsed.source.data[misfit.at : new.frame.stop].strip():
        return _unclosed(trial, old, new, inserted, worse) or Finding(Judgement.BROKEN, tuple(worse), misfit)

    outlook = outlook or _outlook(trial, old)
    inside, surplus = pairs(trial.prefix(new, inserted), new.frame.start)
    found = Finding(Judgement.BROKEN, tuple(worse), misfit, tuple(inside), tuple(surplus))
    line = _last_line(trial.before[-LINE:] + inserted)
    tried = completions(trial.grammar.name, inside, outlook.open, OUTER if old.faults else 0, line)
    for completion in itertools.islice(tried, _trials(new)):
        whole = trial.variant(new, inserted + completion.text) if completion.text else new
        if all(_goes_on(fault, new) for fault in _worse(whole, outlook.known, common)):
            needed = outlook.completion
            if needed is not None and not inside and not completion.filler and completion.closes <= needed.closes:
                return CLEAN
            return attrs.evolve(found, judgement=Judgement.INCOMPLETE, completion=completion.text)
    if misfit is not None and not inside and not trial.variant(new, inserted + SEPARATOR).worse_than(outlook.known):
        return found
    hopeless = _near(old) > 0 and outlook.completion is None
    if not (surplus or hopeless) and (inside or (misfit and _dangles(trial, new, inserted, outlook.open))):
        return attrs.evolve(found, judgement=Judgement.INCOMPLETE)
    if old.faults and not (surplus or inside or misfit or outlook.completion) and len(new.faults) <= len(old.faults):
        return CLEAN
    return _unclosed(trial, old, new, inserted, worse) or found


def _worse(variant: Variant, known: list[Placed], common: Collection[str]) -> list[Fault]:
    return [fault for fault in variant.worse_than(known) if fault.shape not in common]


def _covers(fault: Fault, variant: Variant) -> bool:
    return fault.start < variant.frame.start and fault.stop > variant.frame.stop


def _goes_on(fault: Fault, new: Variant) -> bool:
    """Whether a fault is only that what was opened in the edit goes on after it."""
    return fault.unfinished and new.frame.start <= fault.start and fault.stop >= new.frame.stop


def _last_line(text: str) -> str:
    return text.rpartition("\n")[2]


def _unclosed(trial: Trial, old: Variant, new: Variant, inserted: str, worse: list[Fault]) -> Finding | None:
    """Whether all that is wrong is a string or comment opened in the edit and not closed, and what is around it."""
    for opener, closer in VERBATIM.items():
        if opener in inserted:
            inside, _ = pairs(trial.prefix(new, inserted + closer), new.frame.start)
            completion = closer + closing(inside)
            if not trial.variant(new, inserted + completion).worse_than(old.placed):
                at = new.frame.start + len(inserted[: inserted.rfind(opener)].encode(errors="replace"))
                opened = (*inside, Opener(at, opener, closer))
                return Finding(Judgement.INCOMPLETE, tuple(worse), None, opened, (), completion)
    return None


def _outlook(trial: Trial, old: Variant) -> Outlook:
    open_before = openers(trial.prefix(old, ""), old.frame.start)
    best, needed = old, None
    if _near(old):
        line = _last_line(trial.before[-LINE:])
        tried = completions(trial.grammar.name, [], open_before, OUTER, line)
        for completion in itertools.islice(tried, _trials(old)):
            if completion.text:
                whole = trial.variant(old, completion.text)
                if (_near(whole), len(whole.faults)) < (_near(best), len(best.faults)):
                    best, needed = whole, completion
                    if not whole.faults:
                        break
    return Outlook(best.placed, needed, open_before)


def _trials(variant: Variant) -> int:
    return max(4, EFFORT // (1 + len(variant.parsed.source.data) + FAULT * len(variant.faults)))


def _near(variant: Variant) -> int:
    """How many faults there are at the middle or shortly after it."""
    start, stop = variant.frame.start, variant.frame.stop + NEAR
    return sum(fault.start <= stop and fault.stop >= start for fault in variant.faults)


def _dangles(trial: Trial, new: Variant, inserted: str, before: list[Opener]) -> bool:
    """Whether a text without open brackets, at the end of its line, stops in the middle of something."""
    if trial.after.partition("\n")[0].strip():
        return False
    for end in ("", ";"):
        closed = trial.prefix(new, inserted + end + closing(before))
        if not any(node.end_byte >= new.frame.start for node in error_nodes(closed.root)):
            return False
    return True
