"""The choices that the weights decide: where a deleted mark had been, and the places it could have been."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping

from attrs import frozen

from bench.markdown_damage import CODE_SPANS, EMPHASIS, FENCES, LINKS, Deletion, deletions
from bench.repair_damage import rendered
from bench.repair_files import Sample
from dgemma_lsp.syntax.repair.markdown import meant
from dgemma_lsp.syntax.repair.markdown.code_line import traits
from dgemma_lsp.syntax.repair.markdown.code_span import code_span_question
from dgemma_lsp.syntax.repair.markdown.emphasis import emphasis_question
from dgemma_lsp.syntax.repair.markdown.fence import broken_fence
from dgemma_lsp.syntax.repair.markdown.fence_options import fence_options
from dgemma_lsp.syntax.repair.markdown.habits import Habits, habits
from dgemma_lsp.syntax.repair.markdown.link import link_question
from dgemma_lsp.syntax.repair.markdown.outline import outline
from dgemma_lsp.syntax.repair.markdown.passage import Passage, passages
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Question, cost
from dgemma_lsp.text.edits import apply_edits

NEAR = 80
"""Characters; a fence line elsewhere may mend the page as well, if only blank lines are between."""


@frozen
class Choice:
    """In a file of the package `source`: `rows` are the traits of the options, `right` tells which mend the page.

    `leave` is what it is worth in nats to do nothing, where that can be chosen; `leaving` says that it is right.
    """

    source: str
    kind: str
    rows: tuple[Mapping[str, float], ...]
    right: tuple[bool, ...]
    leave: float | None = None
    leaving: bool = False


@frozen
class _Family:
    """What asks the questions of a table of weights; `most` are deletions of each kind in a file."""

    kinds: tuple[str, ...]
    ask: Callable[[Passage, Habits, float], Question | None]
    meant: Mapping[str, float]
    most: int


INLINE = {
    "CODE_SPAN": _Family(CODE_SPANS, code_span_question, meant.CODE_SPAN, 3),
    "LINK": _Family(LINKS, link_question, meant.LINK, 2),
    "EMPHASIS": _Family(EMPHASIS, emphasis_question, meant.EMPHASIS, 4),
}


def inline_choices(table: str, sample: Sample) -> Iterator[Choice]:
    """What the file leaves open as it is, and what each of some deletions does."""
    family = INLINE[table]
    yield from _asked(family, sample, sample.text, None)
    for deletion in deletions(sample.text, family.kinds, family.most, random.Random(sample.name)):
        yield from _asked(family, sample, deletion.text, deletion)


def _asked(family: _Family, sample: Sample, text: str, deletion: Deletion | None) -> Iterator[Choice]:
    every = list(passages(outline(text, math.inf), math.inf))
    known: Habits | None = None
    for passage in every:
        if deletion and not passage.origins[0] <= deletion.at <= passage.offset(len(passage.text)):
            continue
        known = habits(every) if known is None else known
        question = family.ask(passage, known, math.inf)
        if question is None:
            continue
        rows = tuple(option.traits for option in question.options)
        leave = -cost(question.meant, family.meant)
        if deletion is None:
            yield Choice(sample.group, "none", rows, (False,) * len(rows), leave, leaving=True)
        else:
            right = tuple(_mends(passage, option, deletion, text) for option in question.options)
            yield Choice(sample.group, deletion.kind, rows, right, leave)


def _mends(passage: Passage, option: Option, deletion: Deletion, text: str) -> bool:
    (edit,) = option.edits
    if abs(edit.start - deletion.at) > len(deletion.gone) + 1:
        return False
    whole = deletion.text[: deletion.at] + deletion.gone + deletion.text[deletion.at :]
    mended = apply_edits(text, option.edits)
    if mended == whole:
        return True
    stop = passage.offset(len(passage.text)) + len(deletion.gone)
    return rendered(mended[passage.origins[0] : stop]) == rendered(whole[passage.origins[0] : stop])


def fence_choices(sample: Sample) -> Iterator[Choice]:
    for deletion in deletions(sample.text, FENCES, 1, random.Random(sample.name)):
        view = outline(deletion.text, math.inf)
        block = broken_fence(view)
        if block is None:
            continue
        options = list(fence_options(view, block.first, math.inf))
        page = rendered(sample.text)
        right = []
        for option in options:
            mended = (
                apply_edits(deletion.text, option.edits) if abs(option.edits[0].start - deletion.at) <= NEAR else ""
            )
            right.append(mended == sample.text or (mended != "" and rendered(mended) == page))
        yield Choice(sample.group, deletion.kind, tuple(option.traits for option in options), tuple(right))


def lines(text: str) -> Iterator[tuple[dict[str, float], bool]]:
    """The traits of the lines with text, and whether they are code of a fence."""
    view = outline(text, math.inf)
    for block in view.blocks:
        fence = block.kind == "fence"
        if block.kind == "front":
            continue
        for line in view.lines[block.first + fence : block.stop - (fence and block.closed)]:
            written = text[line.start : line.end]
            if written.strip():
                yield {"any": 1.0, **dict.fromkeys(traits(written), 1.0)}, fence
