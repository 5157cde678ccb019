"""Where the text of a link may begin whose `[` is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from dgemma_lsp.syntax.repair.markdown.clock import check_time
from dgemma_lsp.syntax.repair.markdown.habits import Habits, Shapes, shape, slug
from dgemma_lsp.syntax.repair.markdown.inline import DESTINATION, Span
from dgemma_lsp.syntax.repair.markdown.passage import Passage
from dgemma_lsp.syntax.repair.markdown.words import edge, word_after, word_before

_START = re.compile(r"(?<!\S)(?=\S)|(?<=\W)(?=\w)|(?<=\W)(?=[^\w\s])|(?<=\w)(?=`)")
_WORD = re.compile(r"[A-Za-z0-9]+")
_PICTURE = re.compile(r"\.(?:png|svg|jpe?g|gif|webp|ico)\b|shields\.io|badge", re.I)
_NOTHING = Shapes()
MOST_PLACES = 120
FARTHEST = 2000
"""Characters before the `]`."""


@attrs.frozen
class _Target:
    """What follows the text; `tail` are the words of its last part, `squashed` all of it without signs."""

    written: str
    words: frozenset[str]
    tail: tuple[str, ...]
    squashed: str
    kind: str


def text_starts(passage: Passage, at: int, habits: Habits, deadline: float) -> Iterator[tuple[int, dict[str, float]]]:
    """The places for a `[` before the `]` at `at`, and what speaks for each; raises OutOfTime."""
    text = passage.text
    target = _target(text, at + 1)
    places = [start.start() for start in _START.finditer(text, max(0, at - FARTHEST), at)][-MOST_PLACES:]
    inner = [span for span in passage.inline.spans if span.stop <= at]
    whole = [span for span in inner if span.kind in ("code", "raw", "link", "image")]
    # An image may have no text, and `[!alt](src)` is a link until its image has its bracket back.
    places += [span.inner + 1 for span in inner if span.kind == "link" and text.startswith("!", span.inner)]
    if text.endswith("!", 0, at):
        places.append(at)
    for place in sorted(set(places)):
        check_time(deadline)
        if text[place - 2 : place] == "[!" or not any(span.start < place < span.stop for span in whole):
            yield place, _traits(passage, place, at, target, inner, habits)


def _target(text: str, at: int) -> _Target:
    found = DESTINATION.match(text, at)
    written = found[0] if found else ""
    bare = written[1:-1].split(" ")[0].strip("/").lower()
    kind = "anchor" if bare.startswith("#") else "address" if "://" in bare else "path"
    tail = re.split(r"[/#?=]", re.sub(r"\.(?:html?|mdx?|php|git)\b", "", bare))[-1]
    return _Target(written, frozenset(_WORD.findall(bare)), tuple(_WORD.findall(tail)), slug(bare), kind)


def _traits(
    passage: Passage, place: int, at: int, target: _Target, inner: list[Span], habits: Habits
) -> dict[str, float]:
    text = passage.text
    held, before = text[place:at], text[max(0, place - 60) : place]
    words = tuple(_WORD.findall(held.lower()))
    count = len(held.split())
    image = before.endswith("!")
    start = not text[:place].strip()
    traits = {
        "text": 1.0,
        "words": min(count, 20) / 5,
        f"{min(count, 6)} words": 1.0,
        f"{'at' if start else 'after'} start of {passage.home}": 1.0,
        f"{'at' if start else 'after'} start, {target.kind}": 1.0,
        f"previous {word_before(text, place)}": 1.0,
        f"first {word_after(held, 0)}": 1.0,
        f"after {edge(before[-1:])}": 1.0,
        f"begins with {edge(held[:1])}": 1.0,
        "whole": float(start and at + 1 + len(target.written) >= len(text.rstrip())),
        "begins a line": float(before.endswith("\n")),
        "after emphasis": float(before[-1:] in ("*", "_")),
        "after dash": float(bool(re.search(r"(?:\s[-–—]|[:(,])\s?\Z", before))),
        "span": float(any(span.start == place and span.stop == at for span in inner)),
        "begins with a span": float(any(span.start == place for span in inner)),
        "image first": float(held.startswith("![")),
        "sentence": float(bool(re.search(r"[.!?:] ", held))),
        "comma": float(", " in held),
        "brackets": float(any(held.count(a) != held.count(b) for a, b in ("()", "[]"))),
        "quotes": float(held.count('"') % 2),
        "emphasis": float(held.count("*") % 2 or held.count("_") % 2),
        "lines": float(held.count("\n")),
        "run of capitals": float(_begins_a_run(held, before)),
        "amid capitals": float(held[:1].isupper() and bool(re.search(r"\b[A-Z]\w*\s\Z", before))),
        "lower after capital": float(held[:1].islower() and bool(re.search(r"\b[A-Z]\w*\s\Z", before))),
        "image": float(image),
        "image of a picture": float(image and bool(_PICTURE.search(target.written))),
        "image apart": float(image and held[:1] not in (" ", "") and not before[:-1].strip()[-1:].isalnum()),
    }
    traits |= _slug_traits(words, before, target)
    traits["linked"] = float(habits.linked[held] > 0 and len(held) > 2)
    traits["linked so"] = float(habits.texts.get(target.written) == held)
    traits["a heading"] = float(target.kind == "anchor" and slug(held) == target.squashed)
    traits["names a heading"] = float(target.kind == "anchor" and habits.headings[slug(held)] > 0)
    span = Span("image" if image else "link", place, place, at, at + 1 + len(target.written))
    traits |= habits.shapes.get(span.kind, _NOTHING).traits(passage.offset(place), shape(passage, span))
    return traits


def _slug_traits(words: tuple[str, ...], before: str, target: _Target) -> dict[str, float]:
    """How far the text's words are those of its target."""
    known = sum(word in target.words for word in words)
    previous = _WORD.findall(before[-40:].lower())[-1:]
    squashed = "".join(words)
    return {
        "in target": known / max(1, len(words)),
        "all in target": float(bool(words) and known == len(words)),
        "squashed in target": float(len(squashed) > 3 and squashed in target.squashed),
        "is the tail": float(bool(words) and words == target.tail),
        "is the squashed tail": float(bool(words) and squashed == "".join(target.tail)),
        "has the tail": sum(word in words for word in target.tail) / max(1, len(target.tail)),
        "begins in target": float(bool(words) and words[0] in target.words),
        "begins as the tail": float(bool(words) and words[:1] == target.tail[:1]),
        "previous in target": float(bool(previous) and previous[0] in target.words and len(previous[0]) > 3),
        "previous little in target": float(bool(previous) and previous[0] in target.words and len(previous[0]) < 4),
    }


def _begins_a_run(held: str, before: str) -> bool:
    """Whether all words of the text are capitalised, and the one before is not."""
    words = held.split()
    every = all(not word[:1].isalpha() or word[0].isupper() for word in words)
    return every and held[:1].isupper() and not re.search(r"\b[A-Z][\w.-]*\s\Z", before)
