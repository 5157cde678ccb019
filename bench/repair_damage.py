"""Damage to a json or markdown text, of kinds that people make; the undamaged text is what a repair should come to."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence

from attrs import frozen
from markdown_it import MarkdownIt

from bench.repair_files import Sample

JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')

Place = tuple[int, int]
"""Characters [start, stop) that are deleted."""


@frozen
class Case:
    """A damaged text. `lines` are the first and the last damaged line, from 0, in the damaged text."""

    sample: Sample
    kind: str
    text: str
    lines: tuple[int, int]


def cases(sample: Sample, seed: int) -> list[Case]:
    """One of each kind that the text has a place for, always the same ones."""
    kinds = JSON_KINDS if sample.language == "json" else MARKDOWN_KINDS
    found = []
    for kind, damage in kinds.items():
        rng = random.Random(f"{seed} {kind} {sample.name}")
        case = damage(sample, kind, rng)
        if case is not None:
            found.append(case)
    return found


def rendered(text: str) -> str:
    """What a reader of the markdown sees."""
    return _PARSER.render(text)


_PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def _without(sample: Sample, kind: str, places: Sequence[Place]) -> Case:
    text, gone = sample.text, 0
    at = []
    for start, stop in sorted(places):
        text = text[: start - gone] + text[stop - gone :]
        at.append(start - gone)
        gone += stop - start
    return Case(sample, kind, text, (text.count("\n", 0, at[0]), text.count("\n", 0, at[-1])))


def _json_places(text: str) -> dict[str, list[int]]:
    """Offsets of the structural characters, by what they are."""
    places: dict[str, list[int]] = {
        name: [] for name in ("opening bracket", "closing bracket", "quote", "comma", "colon")
    }
    names = {"{": "opening bracket", "[": "opening bracket", "}": "closing bracket", "]": "closing bracket"}
    names |= {",": "comma", ":": "colon"}
    for token in JSON_TOKEN.finditer(text):
        if token[0][0] == '"':
            places["quote"] += [token.start(), token.end() - 1]
        elif token[0] in names:
            places[names[token[0]]].append(token.start())
    return places


def _one_of(kind_of: str) -> Callable[[Sample, str, random.Random], Case | None]:
    def damage(sample: Sample, kind: str, rng: random.Random) -> Case | None:
        places = _json_places(sample.text)[kind_of]
        at = rng.choice(places) if places else None
        return None if at is None else _without(sample, kind, [(at, at + 1)])

    return damage


def _three(sample: Sample, kind: str, rng: random.Random) -> Case | None:
    places = [at for some in _json_places(sample.text).values() for at in some]
    if len(places) < 8:
        return None
    case = _without(sample, kind, [(at, at + 1) for at in rng.sample(places, 3)])
    return None if _is_json(case.text) else case


def _closers_at_the_end(sample: Sample, kind: str, rng: random.Random) -> Case | None:
    """The text ends before one of the closing brackets at its end."""
    run = re.search(r"[\]}\s]+\Z", sample.text)
    closers = [at for at in range(run.start(), run.end()) if sample.text[at] in "]}"] if run else []
    if not closers:
        return None
    at = rng.choice(closers)
    start = len(sample.text[:at].rstrip())
    return _without(sample, kind, [(start, len(sample.text))])


def _trailing_comma(sample: Sample, kind: str, rng: random.Random) -> Case | None:
    text = sample.text
    places = [at for at in _json_places(text)["closing bracket"] if text[:at].rstrip()[-1] not in "[{"]
    if not places:
        return None
    at = len(text[: rng.choice(places)].rstrip())
    line = text.count("\n", 0, at)
    return Case(sample, kind, f"{text[:at]},{text[at:]}", (line, line))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


JSON_KINDS: dict[str, Callable[[Sample, str, random.Random], Case | None]] = {
    "one opening bracket": _one_of("opening bracket"),
    "one closing bracket": _one_of("closing bracket"),
    "one quote": _one_of("quote"),
    "one comma": _one_of("comma"),
    "one colon": _one_of("colon"),
    "three of them": _three,
    "closers at the end": _closers_at_the_end,
    "a comma too many": _trailing_comma,
}


def _prose(text: str) -> list[tuple[int, str]]:
    """Lines of paragraphs, headings and cells with their offsets: where markdown's inline marks mean something."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    numbers = sorted(
        {
            number
            for token in _PARSER.parse(text)
            if token.type == "inline" and token.map
            for number in range(*token.map)
            if number < len(lines)
        }
    )
    return [(starts[number], lines[number]) for number in numbers]


def _inline(pattern: str, *groups: int) -> Callable[[Sample, str, random.Random], Case | None]:
    """One of the marks that the groups of a pattern match is deleted, where that can be seen."""
    matcher = re.compile(pattern)

    def damage(sample: Sample, kind: str, rng: random.Random) -> Case | None:
        places = [
            (start + match.start(group), start + match.end(group))
            for start, line in _prose(sample.text)
            for match in matcher.finditer(line)
            for group in groups
        ]
        return _seen(sample, kind, places, rng)

    return damage


def _rows(
    sample: Sample, kind: str, rng: random.Random, type_: str, row: Callable[[int, int], int], is_: str
) -> Case | None:
    lines = sample.text.splitlines(keepends=True)
    places = []
    for token in _PARSER.parse(sample.text):
        if token.type == type_ and token.map:
            number = row(*token.map)
            if number < len(lines) and re.fullmatch(is_, lines[number].strip()):
                start = sum(map(len, lines[:number]))
                places.append((start, start + len(lines[number])))
    return _seen(sample, kind, places, rng)


def _fence(sample: Sample, kind: str, rng: random.Random) -> Case | None:
    return _rows(sample, kind, rng, "fence", lambda first, last: last - 1, r"(?:>\s*)*(?:`{3,}|~{3,})")


def _delimiter_row(sample: Sample, kind: str, rng: random.Random) -> Case | None:
    return _rows(sample, kind, rng, "table_open", lambda first, last: first + 1, r"[|:\-\s]+")


def _seen(sample: Sample, kind: str, places: list[Place], rng: random.Random) -> Case | None:
    rng.shuffle(places)
    whole = rendered(sample.text)
    for place in places[:3]:
        case = _without(sample, kind, [place])
        if rendered(case.text) != whole:
            return case
    return None


_LINK = r"(?<!\\)\[[^\[\]\n]+(\])(?:\([^()\s]+(\)))"
MARKDOWN_KINDS: dict[str, Callable[[Sample, str, random.Random], Case | None]] = {
    "closing fence": _fence,
    "backtick of inline code": _inline(r"(?<![`\\])(`)[^`\n]+(`)(?!`)", 1, 2),
    "`**` of emphasis": _inline(r"(?<![*\\])(\*\*)[^*\s](?:[^*\n]*[^*\s])?(\*\*)(?!\*)", 1, 2),
    "`)` of a link": _inline(_LINK, 2),
    "`]` of a link": _inline(_LINK, 1),
    "delimiter row of a table": _delimiter_row,
}
