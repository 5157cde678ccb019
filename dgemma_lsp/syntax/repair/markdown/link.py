"""Links and images of which one of `[`, `]`, `(`, `)` is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.syntax.repair.markdown import meant
from dgemma_lsp.syntax.repair.markdown.habits import Habits
from dgemma_lsp.syntax.repair.markdown.inline import DESTINATION, Inline, scan
from dgemma_lsp.syntax.repair.markdown.link_target import TARGET, target_ends
from dgemma_lsp.syntax.repair.markdown.link_text import text_starts
from dgemma_lsp.syntax.repair.markdown.passage import Passage
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Question, Trouble, cost, weigh
from dgemma_lsp.syntax.repair.markdown.weights.link import LINK
from dgemma_lsp.text.edits import Edit

_GROUP = re.compile(r"\(((?:[^\s()]|\([^\s()]*\))+)(?:\s+\"[^\"]*\")?\)")
_BARE = re.compile(r"([^\s()\[\]]+(?:\([^\s()]*\)[^\s()\[\]]*)*)(?:\s+\"[^\"]*\")?\)")
_MESSAGES = {
    "[": "this link's text has no `[` before it",
    "]": "this link's text is never closed with `]`",
    "(": "this link's target has no `(` before it",
    ")": "this link's target is never closed with `)`",
}
NEEDS = {"[": 0.65}
USUAL_NEED = 0.6


def link_trouble(passage: Passage, habits: Habits, labels: frozenset[str], deadline: float) -> Trouble | None:
    """Raises OutOfTime."""
    question = link_question(passage, habits, deadline)
    if question is None:
        return None
    kind = question.kind
    options = weigh(question.options, LINK)
    options = tuple(option for option in options if _mends(passage, kind, option, labels))
    if not options:
        return None
    start = passage.offset(question.at)
    fault = Unclosed(start, start + 1, _MESSAGES[kind])
    return Trouble(fault, options, cost(question.meant, meant.LINK), NEEDS.get(kind, USUAL_NEED))


def link_question(passage: Passage, habits: Habits, deadline: float) -> Question | None:
    """Raises OutOfTime."""
    found = _missing(passage.text, passage.inline)
    if len(found) != 1 or passage.inline.ticks:
        return None
    kind, at = found[0]
    options = []
    for place, traits in _places(passage, kind, at, habits, deadline):
        begin = passage.offset(place)
        options.append(Option((Edit(begin, begin, kind),), traits, at=place))
    return Question(kind, at, tuple(options), _meant(passage, kind, at)) if options else None


def _missing(text: str, inline: Inline) -> list[tuple[str, int]]:
    """What is missing, and where it is felt."""
    found: list[tuple[str, int]] = []
    for at in inline.close_brackets:
        target = DESTINATION.match(text, at + 1)
        if target and TARGET.match(target[0][1:].lstrip()):
            found.append(("[", at))
    for start, at in inline.brackets:
        if text[at + 1 : at + 2] == "(":
            if not DESTINATION.match(text, at + 1):
                found.append((")", at))
        elif (bare := _BARE.match(text, at + 1)) and at > start + 1 and TARGET.match(bare[1]):
            found.append(("(", at))
    if inline.open_brackets:
        for group in _GROUP.finditer(text, inline.open_brackets[0]):
            if text[group.start() - 1] != "]" and TARGET.match(group[1]) and not _held(inline, group.start()):
                found.append(("]", group.start()))
                break
    return found


def _held(inline: Inline, at: int) -> bool:
    return any(span.kind in ("code", "raw") and span.start <= at < span.stop for span in inline.spans)


def _meant(passage: Passage, kind: str, at: int) -> dict[str, float]:
    """What speaks for brackets that are meant as they are."""
    text = passage.text
    rest = text[at + 2 :]
    first = re.match(r"\S*", rest) if kind != "[" else None
    return {
        kind: 1.0,
        "no target": float(kind == ")" and not TARGET.match(rest.lstrip())),
        "empty": float(kind == ")" and not rest.strip()),
        "spaces": float(kind == ")" and bool(re.match(r"[^()\[\]]*\)", rest))),
        "code": float(bool(re.search(r"[{}=;]", (first[0] if first else "") + text[max(0, at - 20) : at]))),
    }


def _mends(passage: Passage, kind: str, option: Option, labels: frozenset[str]) -> bool:
    new = passage.text[: option.at] + kind + passage.text[option.at :]
    inline = scan(new, labels)
    links = [sum(span.kind in ("link", "image") for span in one.spans) for one in (passage.inline, inline)]
    return links[1] > links[0] and not _missing(new, inline)


def _places(
    passage: Passage, kind: str, at: int, habits: Habits, deadline: float
) -> Iterator[tuple[int, dict[str, float]]]:
    """Where the mark may have been, and what speaks for each place."""
    text = passage.text
    if kind == ")":
        yield from target_ends(text, at + 2)
    elif kind == "(":
        yield at + 1, {"open": 1.0}
    elif kind == "]":
        yield at, {"close": 1.0}
        for span in passage.inline.spans:
            if span.kind[0] in "*_" and span.stop == at:
                yield span.outer, {"close": 1.0}
        back = len(text[:at].rstrip())
        if back < at:
            yield back, {"close": 1.0, "before space": 1.0}
    else:
        yield from text_starts(passage, at, habits, deadline)
