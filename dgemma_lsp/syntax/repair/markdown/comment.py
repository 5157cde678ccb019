"""HTML comments without an end."""

from __future__ import annotations

import re

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.syntax.repair.markdown.block import Block, Outline
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Trouble, weigh
from dgemma_lsp.text.edits import Edit
from dgemma_lsp.text.lines import newline_style

LEAVE = 3.0
_MARKDOWN = re.compile(r"[ \t>]*(?:#{1,6}[ \t]|```|~~~|\||!?\[[^\]]+\]\(|<[a-zA-Z!])")

WEIGHTS = {
    "first line": 1.5,
    "before blank": 2.0,
    "before markdown": 2.0,
    "holds markdown": -4.0,
    "holds blank": -2.5,
    "bare opener": -6.0,
    "line": -0.3,
}


def comment_trouble(outline: Outline) -> Trouble | None:
    """The first comment that runs to the end of what it is in, or over the beginning of another."""
    text = outline.text
    for block in outline.blocks:
        if block.kind != "comment":
            continue
        start = text.index("<!--", block.rows[0][0])
        swallows = "<!--" in text[start + 4 : block.rows[-1][1]].split("-->", 1)[0]
        if block.closed and not swallows:
            continue
        fault = Unclosed(start, start + 4, "this comment is never closed: what stands below it is not shown")
        return Trouble(fault, weigh(_options(outline, block, start), WEIGHTS), leave=LEAVE)
    return None


def _options(outline: Outline, block: Block, start: int) -> list[Option]:
    text = outline.text
    options = []
    alone = not text[start + 4 : block.rows[0][1]].strip()
    holds_markdown = holds_blank = 0.0
    for index, (begin, end) in enumerate(block.rows[:60]):
        body = text[begin:end]
        if index and not body.strip():
            holds_blank = 1.0
            continue
        if index and _MARKDOWN.match(body):
            holds_markdown += 1.0
        if index and "<!--" in body:
            break
        below = text[slice(*block.rows[index + 1])] if index + 1 < len(block.rows) else ""
        traits = {
            "first line": float(index == 0),
            "before blank": float(not below.strip()),
            "before markdown": float(bool(_MARKDOWN.match(below))),
            "holds markdown": min(holds_markdown, 2.0),
            "holds blank": holds_blank,
            "bare opener": float(alone and index == 0),
            "line": float(min(index, 10)),
        }
        if alone:
            line = outline.lines[block.first + index]
            prefix = text[line.start : begin] + body[: len(body) - len(body.lstrip())] if index == 0 else ""
            newline = newline_style(text)
            written = f"{prefix}-->{newline}" if line.next > line.end else f"{newline}{prefix}-->"
            options.append(Option((Edit(line.next, line.next, written),), traits))
        else:
            written = "-->" if body.endswith((" ", "\t")) or text[start + 4] not in " \t" else " -->"
            options.append(Option((Edit(end, end, written),), traits))
    return options
