"""Single deletions in markdown: of every mark that opens or closes something, and of whole lines."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator

from attrs import frozen

from dgemma_lsp.syntax.repair.markdown.block import Block, Outline
from dgemma_lsp.syntax.repair.markdown.outline import outline
from dgemma_lsp.syntax.repair.markdown.passage import Passage, passages

CODE_SPANS = ("opening `", "closing `")
LINKS = tuple(f"`{mark}` of {what}" for what in ("a link", "an image") for mark in "[]()")
EMPHASIS = tuple(f"{side} {mark}" for mark in ("`**`", "`*`", "half of `**`") for side in ("opening", "closing"))
FENCES = ("opening fence line", "closing fence line", "marks of an opening fence", "marks of a closing fence")
OTHERS = ("delimiter row", "end of front matter", "end of a comment")
KINDS = (*CODE_SPANS, *LINKS, *EMPHASIS, *FENCES, *OTHERS)


@frozen
class Deletion:
    """`text` is what is left when `gone` is taken from offset `at`."""

    kind: str
    text: str
    at: int
    gone: str


def deletions(text: str, kinds: Collection[str], most: int, rng: random.Random) -> Iterator[Deletion]:
    """At most so many of each kind; the page may still look as before."""
    places: dict[str, list[tuple[int, int]]] = {kind: [] for kind in kinds}
    for kind, start, stop in _places(outline(text, math.inf)):
        if kind in places:
            places[kind].append((start, stop))
    for kind in sorted(places):
        for start, stop in rng.sample(places[kind], min(most, len(places[kind]))):
            yield Deletion(kind, text[:start] + text[stop:], start, text[start:stop])


def _places(view: Outline) -> Iterator[tuple[str, int, int]]:
    for block in view.blocks:
        yield from _block_places(view, block)
    for passage in passages(view, math.inf):
        yield from _inline_places(passage)


def _block_places(view: Outline, block: Block) -> Iterator[tuple[str, int, int]]:
    lines = view.lines
    first, last = lines[block.first], lines[block.stop - 1]
    if block.kind == "fence" and block.closed and block.stop - block.first > 2:
        yield "closing fence line", last.start, last.next
        yield "marks of a closing fence", *block.rows[-1]
        if not block.prefix.strip(" \t>"):
            start = first.start + len(block.prefix)
            yield "opening fence line", first.start, first.next
            yield "marks of an opening fence", start, start + len(block.marker)
    elif block.kind == "front":
        yield "end of front matter", last.start, last.next
    elif block.kind == "comment" and block.closed and (at := view.text.find("-->", first.start, last.end)) >= 0:
        yield "end of a comment", at, at + 3
    elif block.kind == "table":
        row = lines[block.first + 1]
        yield "delimiter row", row.start, row.next


def _inline_places(passage: Passage) -> Iterator[tuple[str, int, int]]:
    for span in passage.inline.spans:
        start, inner, outer, stop = map(passage.offset, (span.start, span.inner, span.outer, span.stop))
        if span.kind == "code" and inner - start == 1:
            yield "opening `", start, inner
            yield "closing `", outer, outer + 1
        elif span.kind in ("link", "image") and passage.text.startswith("](", span.outer):
            what = "a link" if span.kind == "link" else "an image"
            yield f"`[` of {what}", inner - 1, inner
            yield f"`]` of {what}", outer, outer + 1
            yield f"`(` of {what}", outer + 1, outer + 2
            yield f"`)` of {what}", stop - 1, stop
        elif span.kind[0] in "*_":
            mark = "`**`" if len(span.kind) == 2 else "`*`"
            yield f"opening {mark}", start, inner
            yield f"closing {mark}", outer, outer + len(span.kind)
            if len(span.kind) == 2:
                yield "opening half of `**`", start, start + 1
                yield "closing half of `**`", outer, outer + 1
