"""From a document to its diagnosis: blocks first, then what stands in their lines."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from dgemma_lsp.syntax.repair.diagnosis import CLEAN, Candidate, Diagnosis, Unclosed
from dgemma_lsp.syntax.repair.markdown.block import Outline
from dgemma_lsp.syntax.repair.markdown.clock import OutOfTime, check_time
from dgemma_lsp.syntax.repair.markdown.code_span import code_span_trouble
from dgemma_lsp.syntax.repair.markdown.comment import comment_trouble
from dgemma_lsp.syntax.repair.markdown.delimiter_row import table_troubles
from dgemma_lsp.syntax.repair.markdown.emphasis import emphasis_trouble
from dgemma_lsp.syntax.repair.markdown.fence import fence_trouble
from dgemma_lsp.syntax.repair.markdown.front_matter import front_matter_trouble
from dgemma_lsp.syntax.repair.markdown.habits import habits
from dgemma_lsp.syntax.repair.markdown.link import link_trouble
from dgemma_lsp.syntax.repair.markdown.outline import outline
from dgemma_lsp.syntax.repair.markdown.passage import passages
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Trouble
from dgemma_lsp.text.edits import Edit, apply_edits

DOUBT = 0.25
"""Something below this share is not a fault: it is more likely meant as it is."""
MOST_BLOCKS = 6
"""Faults of blocks mended one after the other; a document with more is left alone."""
MOST_CANDIDATES = 8
LARGEST = 500_000
"""Characters; more cannot be read in the time of a save."""


@attrs.frozen
class _State:
    """A text on the way to a clean one: its edits, in terms of the original, and what they cost."""

    text: str
    edits: tuple[Edit, ...] = ()
    cost: float = 0.0


def diagnose_markdown(document: str, deadline: float) -> Diagnosis:
    """The faults of a document and the ways to mend them; `deadline` is an instant of `time.monotonic`.

    Never raises. Past the deadline the faults found so far are returned, nothing is settled, and a reason is given.
    """
    if len(document) > LARGEST:
        return Diagnosis(reason="the document is too long to be looked through on save")
    faults: list[Unclosed] = []
    try:
        return _diagnose(document, deadline, faults)
    except OutOfTime:
        return Diagnosis(tuple(faults), (), None, "the document could not be read in time")


def _diagnose(document: str, deadline: float, faults: list[Unclosed]) -> Diagnosis:
    states = [_State(document)]
    sure = True
    view: Outline | None = None
    for _ in range(MOST_BLOCKS + 1):
        view = outline(states[0].text, deadline)
        trouble = next(_block_troubles(view, deadline), None)
        if trouble is None:
            break
        faults.append(_moved(trouble.fault, states[0]))
        sure = sure and trouble.sure
        states = _extended(states, trouble, states[0])
    else:
        return Diagnosis(tuple(faults), (), None, "more is broken than can be told apart")
    inline = list(_inline_troubles(view, deadline))
    faults += [_moved(trouble.fault, states[0]) for trouble in inline]
    if not faults:
        return CLEAN
    base = states[0]
    for trouble in inline:
        sure = sure and trouble.sure
        states = _extended(states, trouble, base)
    faults.sort(key=lambda fault: fault.start)
    every = [Candidate(tuple(sorted(state.edits, key=lambda edit: edit.start)), state.cost) for state in states]
    if sure and _clean(document, every[0], deadline):
        return Diagnosis(tuple(faults), tuple(every), every[0])
    whole = tuple(candidate for candidate in every if _clean(document, candidate, deadline))
    reason = "it could be mended in several places" if whole else "nothing that was tried mends it"
    return Diagnosis(tuple(faults), whole, None, reason)


def _block_troubles(view: Outline, deadline: float) -> Iterator[Trouble]:
    """What is wrong with the blocks, the one that swallows most first; only the first is of use."""
    if (trouble := front_matter_trouble(view.text)) is not None:
        yield trouble
    if (trouble := fence_trouble(view, deadline)) is not None and trouble.options:
        yield trouble
    if (trouble := comment_trouble(view)) is not None and trouble.share >= DOUBT:
        yield trouble
    yield from (trouble for trouble in table_troubles(view, deadline) if trouble.share >= DOUBT)


def _inline_troubles(view: Outline, deadline: float) -> Iterator[Trouble]:
    every = list(passages(view, deadline))
    known = None
    for passage in every:
        inline = passage.inline
        if not (inline.ticks or inline.marks or inline.brackets or inline.open_brackets or inline.close_brackets):
            continue
        known = habits(every) if known is None else known
        check_time(deadline)
        for find in (code_span_trouble, link_trouble, emphasis_trouble):
            trouble = find(passage, known, view.labels, deadline)
            if trouble is not None:
                if trouble.share >= DOUBT:
                    yield trouble
                break


def _extended(states: list[_State], trouble: Trouble, view: _State) -> list[_State]:
    """Every option added to the first state, and the likeliest to the others; the trouble is in terms of `view`."""
    first, *rest = [_with(states[0], option, view) for option in trouble.options]
    rest += [_with(other, trouble.options[0], view) for other in states[1:]]
    return [first, *sorted(rest, key=lambda state: state.cost)[: MOST_CANDIDATES - 1]]


def _with(state: _State, option: Option, view: _State) -> _State:
    """The state with an option's edits, which are insertions into the text of `view`."""
    moved = tuple(Edit(at, at, edit.text) for edit in option.edits for at in (_back(view, edit.start),))
    return _State(apply_edits(view.text, option.edits), (*state.edits, *moved), state.cost + option.cost)


def _back(state: _State, at: int) -> int:
    """The place in the document of one in the state's text."""
    shift = 0
    for edit in sorted(state.edits, key=lambda edit: edit.start):
        begin = edit.start + shift
        if at <= begin:
            break
        shift += min(len(edit.text), at - begin)
    return at - shift


def _moved(fault: Unclosed, state: _State) -> Unclosed:
    return Unclosed(_back(state, fault.start), _back(state, fault.stop), fault.message)


def _clean(document: str, winner: Candidate, deadline: float) -> bool:
    """Whether nothing is left to mend after the winner."""
    view = outline(apply_edits(document, winner.edits), deadline)
    return next(_block_troubles(view, deadline), None) is None and next(_inline_troubles(view, deadline), None) is None
