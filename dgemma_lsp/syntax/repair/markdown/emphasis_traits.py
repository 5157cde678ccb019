"""What speaks for and against a span of emphasis."""

from __future__ import annotations

import re

from dgemma_lsp.syntax.repair.markdown.habits import Habits, Shapes, shape
from dgemma_lsp.syntax.repair.markdown.inline import Span
from dgemma_lsp.syntax.repair.markdown.passage import Passage
from dgemma_lsp.syntax.repair.markdown.words import edge, word_after, word_before

_NOTHING = Shapes()
_PARTS = re.compile(r"[.!?](?=\s)|:|,(?=\s)|\s[-–—](?=\s)|\(")
_PART_NAMES = {".": "sentence", "!": "sentence", "?": "sentence", ":": "colon", ",": "comma", "(": "bracket"}


def emphasis_traits(passage: Passage, span: Span, habits: Habits, closes: bool) -> dict[str, float]:
    """`closes` says that the mark to be added is the closer. Openers and closers have weights of their own."""
    text = passage.text
    held = text[span.inner : span.outer]
    words = held.split()
    before, after = text[: span.start], text[span.stop :]
    next_char, last = after[:1], held[-1]
    start, end = not before.strip(), not after.strip()
    side = "closer" if closes else "opener"
    size = "one" if len(span.kind) == 1 else "two"
    home = passage.home
    traits = {
        "any": 1.0,
        "words": min(len(words), 20) / 5,
        f"{min(len(words), 6)} words": 1.0,
        f"{size}, {min(len(words), 6)} words": 1.0,
        f"{size}, words": min(len(words), 20) / 5,
        f"{'at' if start else 'after'} start of {home}": 1.0,
        f"{'at' if end else 'before'} end of {home}": 1.0,
        "whole": float(start and end),
        f"{size}, whole": float(start and end),
        f"before {edge(next_char)}": 1.0,
        f"last {edge(last)}": 1.0,
        f"{edge(last)} before {edge(next_char)}": 1.0,
        f"first {edge(held[0])}": 1.0,
        f"after {edge(before[-1:])}": 1.0,
        f"first word {word_after(held, 0)}": 1.0,
        f"last word {word_before(held, len(held))}": 1.0,
        f"next word {word_after(after, 0)}": 1.0,
        f"previous word {word_before(before, len(before))}": 1.0,
        "capitals": sum(word[:1].isupper() for word in words) / len(words) if len(words) > 1 else 0.0,
        "next capital": float(bool(re.match(r"\s*[A-Z]", after))),
        "emphasised before": float(habits.emphasised[held] > 0),
        "lines": float(held.count("\n")),
        "ends a sentence": float(last in ".!?" and bool(re.match(r"\s|\Z", after))),
        "colon next": float(next_char == ":" or last == ":"),
        "dash next": float(bool(re.match(r"\s+[-–—]", after))),
        "parenthesis next": float(bool(re.match(r"\s*\(", after))),
        "brackets": float(any(held.count(a) != held.count(b) for a, b in ("()", "[]"))),
        "quotes": float(held.count('"') % 2),
        "joins": float(next_char in ("*", "_") or before[-1:] in ("*", "_")),
        "ends with a span": float(any(other.stop == span.outer for other in passage.inline.spans)),
        "is a span": float(
            any(other.start == span.inner and other.stop == span.outer for other in passage.inline.spans)
        ),
        "begins a line": float(before[-1:] == "\n"),
        "ends a line": float(next_char == "\n"),
    }
    traits |= _part_traits(held, after)
    fits = habits.shapes.get(span.kind, _NOTHING).traits(passage.offset(span.start), shape(passage, span))
    return {f"{side}: {name}": value for name, value in (traits | fits).items() if value}


def _part_traits(held: str, after: str) -> dict[str, float]:
    """What of the parts of a sentence ends with the span, and what goes on in it."""
    traits: dict[str, float] = {}
    for part in _PARTS.finditer(held):
        name = _PART_NAMES.get(part[0], "dash")
        traits[f"{name} {'ends it' if part.end() == len(held) else 'inside'}"] = 1.0
    if following := _PARTS.match(after):
        name = _PART_NAMES.get(following[0], "dash")
        if f"{name} inside" not in traits:
            traits[f"first {name} follows"] = 1.0
    return traits
