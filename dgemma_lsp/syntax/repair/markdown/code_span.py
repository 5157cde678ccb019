"""Code spans of which one backtick is missing.

A backtick without a partner pairs with the next ones of its paragraph and turns code and prose around. Every place for
one more is tried; each reading is weighed by what would be in its spans, and what out of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.syntax.repair.markdown import meant
from dgemma_lsp.syntax.repair.markdown.clock import check_time
from dgemma_lsp.syntax.repair.markdown.habits import Habits
from dgemma_lsp.syntax.repair.markdown.inline import scan
from dgemma_lsp.syntax.repair.markdown.passage import Passage
from dgemma_lsp.syntax.repair.markdown.trouble import Option, Question, Trouble, cost, weigh
from dgemma_lsp.syntax.repair.markdown.weights.code_span import CODE_SPAN
from dgemma_lsp.text.edits import Edit

_SIGN = re.compile(r"[_()={}<>:$#@\"'\[\]/\\]|\w\.\w|--|[a-z][A-Z]|\.\w")
_CODEY = re.compile(r"\w_\w|\w\(\)?|[a-z][A-Z]|^[.$@-]\w|\w\.\w|^--|/\w|[{}<>=]|\w\d|[A-Z]{2,}_|::")
_LITTLE = re.compile(
    r"\b(?:the|is|are|you|to|of|that|this|can|will|your|a|an|and|or|with|it|be|by|when|which|we|use|also|not|if)\b"
)
_TOKEN = re.compile(r"\S+")
_COMMAND = re.compile(
    r"\$|(?:npm|npx|yarn|pnpm|bun|bunx|node|deno|git|gh|pip|pip3|pipx|uv|python|python3|cargo|go|docker|kubectl|make|cmake|"
    r"brew|apt|apt-get|cd|sudo|curl|ssh|systemctl|import|export|const|let|return|await|new|static|async|typeof|"
    r"SELECT|if|for|while)(?=\s)"
)
_LAST_WORD = re.compile(r"([^\s`]+)[ \n]\Z")
_PLACE = re.compile(
    r"(?<=\s)(?=\S)|(?<=\S)(?=\s|\Z)|(?<=\w)(?=[^\w\s])|(?<=[^\w\s])(?=\w)|^(?=\S)|(?<=[^\w\s])(?=[^\w\s])"
)
NEEDS = 0.7
FARTHEST = 600
"""How many places of a passage are tried at most."""
LONGEST = 400
"""Characters; what is longer is no code span that lost its end."""


def code_span_trouble(passage: Passage, habits: Habits, labels: frozenset[str], deadline: float) -> Trouble | None:
    """Raises OutOfTime."""
    question = code_span_question(passage, habits, deadline)
    if question is None:
        return None
    options = weigh(question.options, CODE_SPAN)
    options = tuple(option for option in options if _mends(passage, option, labels))
    if not options:
        return None
    start = passage.offset(question.at)
    fault = Unclosed(start, start + 1, "a backtick of this text has no partner: code and text are mixed up")
    return Trouble(fault, options, cost(question.meant, meant.CODE_SPAN), NEEDS)


def code_span_question(passage: Passage, habits: Habits, deadline: float) -> Question | None:
    """Raises OutOfTime."""
    ticks = passage.inline.ticks
    if len(ticks) != 1 or ticks[0][1] != 1:
        return None
    options = tuple(_options(passage, habits, deadline))
    return Question("`", ticks[0][0], options, _meant(passage, habits)) if options else None


def _meant(passage: Passage, habits: Habits) -> dict[str, float]:
    """What speaks for a backtick that is meant as it is."""
    text, (at, _) = passage.text, passage.inline.ticks[0]
    around = text[max(0, at - 1) : at], text[at + 1 : at + 2]
    return {
        "any": 1.0,
        "unproved": float(sum(habits.codes.values()) < 2 and len(text.split()) < 5),
        "alone": float(not any(span.kind == "code" for span in passage.inline.spans)),
        "apart": float(not around[0].strip() and not around[1].strip()),
        "quoted": float(around[0] in "'\"" and around[1] in "'\"" and around[0] != ""),
        "long": float(len(text) > 600),
        "lines": float(text.count("\n") > 5),
        "template": float("${" in text or "import " in text),
    }


def _mends(passage: Passage, option: Option, labels: frozenset[str]) -> bool:
    return not scan(passage.text[: option.at] + "`" + passage.text[option.at :], labels).ticks


def _options(passage: Passage, habits: Habits, deadline: float) -> Iterator[Option]:
    text = passage.text
    runs = [run.start() for run in re.finditer(r"(?<![`\\])`(?!`)", text)]
    if len(runs) % 2 == 0:
        return
    reader = _Reader(text, habits)
    places = [place.start() for place in _PLACE.finditer(text)]
    for number, at in enumerate(places[:FARTHEST]):
        if number % 32 == 0:
            check_time(deadline)
        if text[at - 1 : at] == "\\" or "`" in text[max(0, at - 1) : at + 1]:
            continue
        before = [run for run in runs if run < at]
        after = runs[len(before) :]
        # In the places after the new backtick, every mark but the new one moves by one: pairs are (opener, closer) with
        # `closer` exclusive of its own mark.
        pairs: list[tuple[int, int]] = []
        marks = [(run, 1) for run in before] + [(at, 0)] + [(run, 1) for run in after]
        for (opener, width), (closer, _) in zip(marks[::2], marks[1::2], strict=True):
            pairs.append((opener + width, closer))
        traits = reader.traits(pairs, marks)
        if traits is None:
            continue
        place = passage.offset(at)
        yield Option((Edit(place, place, "`"),), traits, at=at)


class _Reader:
    """The traits of readings of one paragraph."""

    def __init__(self, text: str, habits: Habits):
        self.text = text
        self.habits = habits
        self.known: dict[tuple[int, int], dict[str, float] | None] = {}
        codes, words = habits.codes, habits.words
        self.loose = [0.0] * (len(text) + 1)
        self.seen = [0.0] * (len(text) + 1)
        loose, seen = [0] * (len(text) + 1), [0] * (len(text) + 1)
        for token in _TOKEN.finditer(text):
            bare = token[0].strip("`.,;:!?()\"'*")
            loose[token.start()] = int(bool(_CODEY.search(bare)) and "](" not in token[0] and "://" not in token[0])
            seen[token.start()] = int(bool(bare) and codes[bare] > words[bare])
        for at in range(len(text)):
            self.loose[at + 1] = self.loose[at] + loose[at]
            self.seen[at + 1] = self.seen[at] + seen[at]

    def traits(self, pairs: list[tuple[int, int]], marks: list[tuple[int, int]]) -> dict[str, float] | None:
        total: dict[str, float] = {}
        for inner, outer in pairs:
            if (inner, outer) not in self.known:
                self.known[inner, outer] = self.span(inner, outer, marks)
            one = self.known[inner, outer]
            if one is None:
                return None
            for name, value in one.items():
                total[name] = total.get(name, 0.0) + value
        at = 0
        loose = seen = 0.0
        for inner, outer in pairs:
            loose += self.loose[inner] - self.loose[at]
            seen += self.seen[inner] - self.seen[at]
            at = outer
        total["loose"] = loose + self.loose[-1] - self.loose[at]
        total["seen loose"] = seen + self.seen[-1] - self.seen[at]
        return total

    def span(self, inner: int, outer: int, marks: list[tuple[int, int]]) -> dict[str, float] | None:
        text, codes = self.text, self.habits.codes
        if outer - inner > LONGEST:
            return None
        held = text[inner:outer]
        if not held.strip() or held.strip("`") == "":
            return None
        opener = inner - 1 if text[inner - 1 : inner] == "`" else inner
        closer = outer + 1 if text[outer : outer + 1] == "`" else outer
        before = text[opener - 1 : opener] if opener else " "
        after = text[closer : closer + 1] or " "
        words = held.split()
        return {
            "spans": 1.0,
            "two words": float(len(words) == 2),
            "three words": float(len(words) == 3),
            "many words": float(len(words) > 3),
            "words": min(len(words), 20) / 5,
            "space at an end": float(held[0].isspace() != held[-1].isspace()),
            "space at both ends": float(held[0].isspace() and held[-1].isspace()),
            "sign": float(bool(_SIGN.search(held))),
            "codes": float(codes[held] > 0),
            "command first": float(len(words) > 1 and bool(_COMMAND.match(held))),
            "first of others": float(len(words) > 1 and self.habits.commands[words[0]] > 0),
            **self._torn(held, words, opener, closer),
            "first in codes": float(len(words) > 1 and codes[words[0]] > 0),
            "prose word": float(len(words) == 1 and self.habits.words[held] > codes[held]),
            "little words": float(len(_LITTLE.findall(held))),
            "sentence": float(bool(re.search(r"[a-z)][.,;:!?] ", held))),
            "ends in a mark": float(held[-1] in ".,;:!?"),
            "ends in a quote": float(held[-1] in ")\"'" and held.count("(") < held.count(")")),
            "begins in a mark": float(held[0] in ",;:!?)*]|"),
            "ends open": float(held[-1] in "(*[|"),
            "brackets": float(any(held.count(a) != held.count(b) for a, b in ("()", "[]", "{}", "<>"))),
            "quotes": float(held.count('"') % 2 or held.count("'") % 2),
            "before space": float(after.isspace()),
            "before a mark": float(after in ".,;:!?)]"),
            "before a word": float(after.isalnum()),
            "before s": float(after == "s"),
            "before another": float(not after.isspace() and not after.isalnum() and after not in ".,;:!?)]"),
            "after space": float(before.isspace()),
            "after a bracket": float(before in "([\"'*"),
            "after a word": float(before.isalnum()),
            "after another": float(not before.isspace() and not before.isalnum() and before not in "([\"'*"),
            "lines": float(held.count("\n")),
            "capital": float(held[0].isupper() and held[1:].islower()),
            "lower": float(held.isalpha() and held.islower()),
            "cut": float(bool(re.match(r"[\w.(/:=]", after)) and bool(re.search(r"[\w./:=(]$", held))),
            "cut before": float(bool(re.search(r"[\w./:=$@-]$", before)) and bool(re.match(r"[\w./:=]", held))),
            "link": float("](" in held or ("://" in held and "](" in held)),
        }

    def _torn(self, held: str, words: list[str], opener: int, closer: int) -> dict[str, float]:
        """Whether the span is rather a part of a command that begins before it or goes on after it."""
        text, commands = self.text, self.habits.commands
        last = _LAST_WORD.search(text, max(0, opener - 40), opener)
        alone = len(words) == 1
        following = text[closer + 1 : closer + 40] if text[closer : closer + 1] == " " else ""
        return {
            "after a command": float(last is not None and _COMMAND.match(last[1] + " ") is not None),
            "after a first word": float(last is not None and commands[last[1]] > 0),
            "a command alone": float(alone and bool(_COMMAND.match(held + " "))),
            "a first word alone": float(alone and commands[held] > self.habits.codes[held]),
            "before a flag": float(bool(re.match(r"--?\w|<\w|\[", following))),
            "before a little word": float(bool(_LITTLE.match(following))),
            "before a colon": float(bool(re.match(r"[:=-]\s|[-–—]\s", following))),
        }
