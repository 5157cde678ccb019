"""How a file uses inline markup: what a new piece of it is compared with."""

from __future__ import annotations

import bisect
import math
import re
from collections import Counter
from collections.abc import Iterable

import attrs

from dgemma_lsp.syntax.repair.markdown.inline import DESTINATION, Span
from dgemma_lsp.syntax.repair.markdown.passage import Passage
from dgemma_lsp.syntax.repair.markdown.words import word_after, word_before

_WORD = re.compile(r"[\w$@./-]*\w")
_MANY = 6
"""Words from which on a span is just long."""

Shape = dict[str, str]


@attrs.define
class Shapes:
    """Where the spans of one kind stand in a file, and what they hold."""

    places: list[int] = attrs.Factory(list)
    found: list[Shape] = attrs.Factory(list)
    counts: Counter[tuple[str, str]] = attrs.Factory(Counter)

    def __len__(self) -> int:
        return len(self.found)

    def add(self, at: int, shape: Shape) -> None:
        self.places.append(at)
        self.found.append(shape)
        self.counts.update(shape.items())

    def traits(self, at: int, shape: Shape) -> dict[str, float]:
        """How well a new span at offset `at` fits: log shares of what it has in common with all, and the nearest."""
        if not self.found:
            return {}
        every = len(self.found) + 1.0
        traits = {f"habit {name}": math.log((self.counts[name, kind] + 0.5) / every) for name, kind in shape.items()}
        for name in ("begins", "home"):
            like = [one for one in self.found if one[name] == shape[name]][-60:]
            same = sum(one["edges"] == shape["edges"] for one in like)
            traits[f"habit edges by {name}"] = math.log((same + 0.5) / (len(like) + 1.0))
        nearest = self._nearest(at)
        traits |= {f"nearest {name}": float(all(one[name] == kind for one in nearest)) for name, kind in shape.items()}
        return traits

    def _nearest(self, at: int) -> list[Shape]:
        index = bisect.bisect_left(self.places, at)
        return self.found[max(0, index - 1) : index + 1]


@attrs.define
class Habits:
    """What the file's code spans hold, the words outside of them, and the shapes of its emphasis and links by kind.

    `commands` are the first words of code of several words, `texts` those of links by their target.
    """

    codes: Counter[str] = attrs.Factory(Counter)
    commands: Counter[str] = attrs.Factory(Counter)
    words: Counter[str] = attrs.Factory(Counter)
    shapes: dict[str, Shapes] = attrs.Factory(dict)
    emphasised: Counter[str] = attrs.Factory(Counter)
    linked: Counter[str] = attrs.Factory(Counter)
    texts: dict[str, str] = attrs.Factory(dict)
    headings: Counter[str] = attrs.Factory(Counter)


def habits(every: Iterable[Passage]) -> Habits:
    found = Habits()
    for passage in every:
        text, inline = passage.text, passage.inline
        if passage.kind == "heading":
            found.headings[slug(text)] += 1
        at = 0
        for span in sorted(inline.spans, key=lambda span: span.start):
            held = text[span.inner : span.outer]
            if span.kind == "code":
                if not inline.ticks:
                    found.codes[held] += 1
                    if " " in held.strip():
                        found.commands[held.split()[0]] += 1
                found.words.update(_WORD.findall(text, at, span.start))
                at = max(at, span.stop)
                continue
            if span.kind == "raw":
                continue
            found.shapes.setdefault(span.kind, Shapes()).add(passage.offset(span.start), shape(passage, span))
            if span.kind[0] in "*_":
                found.emphasised[held] += 1
            elif target := DESTINATION.match(text, span.outer + 1):
                found.linked[held] += 1
                found.texts[target[0]] = held
        found.words.update(_WORD.findall(text, at))
    return found


def slug(text: str) -> str:
    """A text as it would be in the target of a link to it."""
    return "".join(re.findall(r"[a-z0-9]+", text.lower()))


def shape(passage: Passage, span: Span) -> Shape:
    """What a file tends to repeat of where a span stands and what it holds."""
    text = passage.text
    held = text[span.inner : span.outer]
    first, last = not text[: span.start].strip(), not text[span.stop :].strip()
    begins = "start" if first else _kind(text[span.start - 1])
    ends = "end" if last else _kind(text[span.stop])
    return {
        "home": passage.home,
        "begins": begins,
        "ends": ends,
        "edges": f"{_kind(held[-1:])} {ends}",
        "whole": str(first and last),
        "words": str(min(len(held.split()), _MANY)),
        "case": str(held[:1].isupper()),
        "first": word_after(held, 0),
        "before": "start" if first else word_before(text, span.start),
    }


def _kind(char: str) -> str:
    return "word" if char.isalnum() else "space" if char.isspace() else char
