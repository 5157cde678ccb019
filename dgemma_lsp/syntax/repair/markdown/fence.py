"""Fences of which one line is missing.

Such a fence shows by what it swallows: it runs to the end of its container, or holds the opening line of another. The
missing line may be anywhere above: every place is tried, and what the rest of the document becomes is priced by how
much its lines look like code where they would be code.
"""

from __future__ import annotations

import math

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.syntax.repair.markdown.block import Block, Outline
from dgemma_lsp.syntax.repair.markdown.code_line import code_score
from dgemma_lsp.syntax.repair.markdown.fence_info import language
from dgemma_lsp.syntax.repair.markdown.fence_lines import NESTING, FenceLine
from dgemma_lsp.syntax.repair.markdown.fence_options import fence_options
from dgemma_lsp.syntax.repair.markdown.outline import outline
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Trouble, weigh
from dgemma_lsp.syntax.repair.markdown.weights.fence import FENCE
from dgemma_lsp.text.edits import apply_edits

NEEDS, PROSE_NEEDS = 0.55, 0.9
"""The share that a clear winner has; more where the fence is of a language whose code reads as prose does."""
PROSE = -2.0
"""The code score from which on down a line is prose beyond doubt."""


def fence_trouble(view: Outline, deadline: float) -> Trouble | None:
    """The first broken fence; raises OutOfTime."""
    block = broken_fence(view)
    if block is None:
        return None
    start = view.lines[block.first].start + len(block.prefix)
    fault = Unclosed(start, start + len(block.marker), _message(block))
    options = weigh(fence_options(view, block.first, deadline), FENCE)
    options = tuple(option for option in options if _mends(view, option, deadline)) or options
    return Trouble(fault, options, leave=_elsewhere(options), needs=PROSE_NEEDS if _prose(block) else NEEDS)


def broken_fence(view: Outline) -> Block | None:
    """The first fence that runs to the end of what it is in, or that swallows the opening line of another."""
    fences = [block for block in view.blocks if block.kind == "fence"]
    for block in fences:
        if block.closed:
            if _swallows(view, block):
                return block
        elif block.info or len(fences) > 1 or _holds_prose(view, block):
            return block
    return None


def _prose(block: Block) -> bool:
    return block.info.startswith("{") or language(block.info) in NESTING


def _holds_prose(view: Outline, block: Block) -> bool:
    return any(code_score(view.text[begin:end]) <= PROSE for begin, end in block.rows[:1000])


def _swallows(view: Outline, block: Block) -> bool:
    """Whether one of a fence's lines is rather the opening line of another."""
    opener = FenceLine(block.first, block.prefix, block.marker, block.info)
    for begin, end in block.rows[:-1]:
        line = view.text[begin:end].strip()
        if not line.startswith(block.marker):
            continue
        info = line.lstrip(block.marker[0])
        if "`" not in info and FenceLine(0, "", line[: len(line) - len(info)], info.strip()).nests_in(opener):
            return True
    return False


def _message(block: Block) -> str:
    if block.closed:
        return f"the fence {block.marker} opened here swallows the beginning of another one"
    return f"the fence {block.marker} opened here is never closed: everything below it is shown as code"


def _mends(view: Outline, option: Option, deadline: float) -> bool:
    """Whether no fence is broken after the option."""
    return broken_fence(outline(apply_edits(view.text, option.edits), deadline)) is None


def _elsewhere(options: tuple[Option, ...]) -> float:
    """The cost of all info strings that a missing opening line may have had and the file does not know."""
    share = options[0].traits.get("info") if options else None
    if share is None:
        return math.inf
    known = min(math.exp(share), 0.99)
    return options[0].cost - math.log((1 - known) / known)
