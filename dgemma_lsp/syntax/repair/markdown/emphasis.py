"""Emphasis of which one mark is missing: `**`, `*`, `__`, `_` that are left over as text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.syntax.repair.markdown import meant
from dgemma_lsp.syntax.repair.markdown.clock import check_time
from dgemma_lsp.syntax.repair.markdown.emphasis_traits import emphasis_traits
from dgemma_lsp.syntax.repair.markdown.habits import Habits
from dgemma_lsp.syntax.repair.markdown.inline import Mark, Span, scan
from dgemma_lsp.syntax.repair.markdown.passage import Passage
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Question, Trouble, cost, weigh
from dgemma_lsp.syntax.repair.markdown.weights.emphasis import EMPHASIS
from dgemma_lsp.text.edits import Edit

_PLACE = re.compile(
    r"(?<!\s)(?=\s|\Z)|(?<!\S)(?=\S)|(?<=[^\W_])(?=[^\w\s])|(?<=[^\w\s])(?=[^\W_])|(?<=[^\w\s])(?=[^\w\s])"
)
FARTHEST = 300
"""Places of a passage that are tried, from the mark on."""
TORN_NEED = 0.6
"""Of the rest of a mark whose other half has a partner."""
NEEDS = {("**", True): 0.65, ("**", False): 0.55, ("*", True): 0.9, ("*", False): 0.85}
"""The share of a clear winner, by mark and whether it is the closer that is missing; where one mark may well be meant
as it is, or every second place would do, more.
"""


def emphasis_trouble(passage: Passage, habits: Habits, labels: frozenset[str], deadline: float) -> Trouble | None:
    """Raises OutOfTime."""
    question = emphasis_question(passage, habits, deadline)
    mark = _lone_mark(passage)
    if question is None or mark is None:
        return None
    options = weigh(question.options, EMPHASIS)
    options = tuple(option for option in options if _mends(passage, mark, option, labels))
    if not options:
        return None
    start, written = passage.offset(mark.at), question.kind
    opener = options[0].at > mark.at
    words = f"`{written}` opened here is never closed" if opener else f"`{written}` closes here what was never opened"
    fault = Unclosed(start, start + mark.count, words)
    needs = TORN_NEED if mark.count < mark.length else NEEDS["*" * min(mark.count, 2), opener]
    return Trouble(fault, options, cost(question.meant, meant.EMPHASIS), needs)


def emphasis_question(passage: Passage, habits: Habits, deadline: float) -> Question | None:
    """Raises OutOfTime."""
    mark = _lone_mark(passage)
    if mark is None or _unproved(passage, mark, habits):
        return None
    options = tuple(_options(passage, mark, habits, deadline))
    return Question(mark.char * mark.count, mark.at, options, _meant(passage, mark, habits)) if options else None


def _lone_mark(passage: Passage) -> Mark | None:
    """The one mark of a passage that could be emphasis but has no partner."""
    able = [mark for mark in passage.inline.marks if mark.opens or mark.closes]
    if len(able) != 1 or able[0].count > 3 or passage.inline.ticks:
        return None
    at, stop = able[0].at, able[0].at + able[0].count
    if passage.text[max(0, at - 1) : at].isalnum() and passage.text[stop : stop + 1].isalnum():
        return None
    return able[0]


def _unproved(passage: Passage, mark: Mark, habits: Habits) -> bool:
    """Whether a few words are all there is to tell that marks are meant as emphasis."""
    if len(passage.text.split()) >= 5:
        return False
    here = sum(span.kind[0] == mark.char for span in passage.inline.spans)
    return sum(len(shapes) for kind, shapes in habits.shapes.items() if kind[0] == mark.char) <= here


def _meant(passage: Passage, mark: Mark, habits: Habits) -> dict[str, float]:
    """What speaks for a mark that is meant as it is."""
    text = passage.text
    word = text[mark.at : mark.at + 60].split(maxsplit=1)[0]
    around = re.split(r"\s", text[max(0, mark.at - 60) : mark.at])[-1] + word
    size = min(mark.length, 2)
    kind = mark.char * size
    used = len(habits.shapes.get(kind, ()))
    one = mark.char == "*" and size == 1
    emphasis = [span for span in passage.inline.spans if span.kind[0] in "*_"]
    return {
        kind: 1.0,
        "unused": float(not used and size > 1),
        "unused one": float(not used and size == 1),
        "used often": float(used > 3),
        "number": float(re.match(r"\d", text[mark.at + mark.count :]) is not None),
        "both": float(mark.opens and mark.closes),
        "path": float(bool(re.search(r"[/\\]|\.\w|://", around))),
        "footnote": float(one and mark.closes and not mark.opens),
        "lone footnote": float(one and mark.closes and not mark.opens and not used),
        "in a word": float(one and re.match(r"[^\s\w.,:;!?)]\w", text[mark.at + 1 : mark.at + 3]) is not None),
        "in strong": float(
            one and any(len(span.kind) == 2 and span.inner <= mark.at < span.outer for span in emphasis)
        ),
        "first": float(one and mark.opens and not text[: mark.at].strip()),
        "code": float(bool(re.search(r"[(){}=<>$\[\]\\|]", around))),
        "single letter": float(len(around.strip("*_.,:;")) <= 1),
    }


def _mends(passage: Passage, mark: Mark, option: Option, labels: frozenset[str]) -> bool:
    """Whether the option leaves no mark over, and nothing else changes."""
    at, text = option.at, passage.text
    inline = scan(text[:at] + mark.char * mark.count + text[at:], labels)
    same = sum(span.kind[0] not in "*_" for span in inline.spans) == sum(
        span.kind[0] not in "*_" for span in passage.inline.spans
    )
    return same and not any(one.opens or one.closes for one in inline.marks)


def _options(passage: Passage, mark: Mark, habits: Habits, deadline: float) -> Iterator[Option]:
    text = passage.text
    written = mark.char * mark.count
    whole = [span for span in passage.inline.spans if span.kind in ("code", "raw", "link", "image")]
    home = [span for span in whole if span.inner <= mark.at < span.outer]
    kind = mark.char * min(mark.count, 2)
    places = [place.start() for place in _PLACE.finditer(text)]
    places.sort(key=lambda at: abs(at - mark.at))
    for at in places[:FARTHEST]:
        check_time(deadline)
        closes = at >= mark.at + mark.count
        if not (mark.opens if closes else mark.closes and at < mark.at):
            continue
        if any(span.start < at < span.stop for span in whole if span not in home):
            continue
        if any(not span.inner <= at <= span.outer for span in home):
            continue
        if closes:
            span = Span(kind, mark.at, mark.at + mark.count, at, at)
        else:
            span = Span(kind, at, at, mark.at, mark.at + mark.count)
        held = text[span.inner : span.outer]
        if not held.strip() or held[0].isspace() or held[-1].isspace() or text[at - 1 : at] == "\\":
            continue
        beside = _run(text, at, mark.char)
        # Before or behind a mark of the same kind is the same text.
        if text[at - 1 : at] == mark.char and at != mark.at + mark.count:
            continue
        # Of a run that is used in part, the rest belongs to one that is too short.
        if beside + mark.count > 2 >= mark.count or (mark.count < mark.length and not beside):
            continue
        place = passage.offset(at)
        yield Option((Edit(place, place, written),), emphasis_traits(passage, span, habits, closes), at=at)


def _run(text: str, at: int, char: str) -> int:
    """How many marks already stand at a place; with more than two, something else is wrong."""
    return len(text[:at]) - len(text[:at].rstrip(char)) + len(text[at:]) - len(text[at:].lstrip(char))
