"""Holes in real files as people have them, the beginnings of texts that go on, and damage."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import tree_sitter
from attrs import frozen

from dgemma_lsp.syntax import languages

COMPLETE = ("rest of line", "closers", "argument", "identifier", "line", "block")
BEGINNINGS = ("first line", "piece")

_OPEN, _CLOSE = "([{", ")]}"
_TRIES = 20


@frozen
class Hole:
    """The characters [start, end) are taken out of a file and `text` is put in: what was there, or its beginning."""

    kind: str
    start: int
    end: int
    text: str


def holes(language: str, text: str, rng: random.Random) -> Iterator[Hole]:
    """One hole of each kind, where the file has a place for it."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    if sum(bool(line.strip()) for line in lines) < 8:
        return
    for kind in COMPLETE:
        for _ in range(_TRIES):
            number = rng.randrange(len(lines))
            span = _PLACES[kind](lines, number, rng)
            if span and span[1] > span[0]:
                start, end = starts[number] + span[0], starts[number] + span[1]
                yield Hole(kind, start, end, text[start:end])
                break
    yield from _beginnings(language, text, rng)


def _rest(lines: list[str], number: int, rng: random.Random) -> tuple[int, int] | None:
    body = lines[number].rstrip()
    indent = len(body) - len(body.lstrip())
    return (rng.randrange(indent + 1, len(body)), len(body)) if len(body) - indent >= 3 else None


def _closers(lines: list[str], number: int, rng: random.Random) -> tuple[int, int] | None:
    found = re.search(r"[\])}>\"'`;,:]+$", lines[number].rstrip())
    return found.span() if found and found.start() else None


def _argument(lines: list[str], number: int, rng: random.Random) -> tuple[int, int] | None:
    found = list(re.finditer(r"[(\[{]([^()\[\]{}\n]+)[)\]}]", lines[number]))
    return rng.choice(found).span(1) if found else None


def _identifier(lines: list[str], number: int, rng: random.Random) -> tuple[int, int] | None:
    found = list(re.finditer(r"[A-Za-z_]\w+", lines[number]))
    return rng.choice(found).span() if found else None


def _line(lines: list[str], number: int, rng: random.Random) -> tuple[int, int] | None:
    body = lines[number].rstrip()
    return len(body) - len(body.lstrip()), len(body)


def _block(lines: list[str], number: int, rng: random.Random) -> tuple[int, int] | None:
    body = "".join(lines[number : number + rng.randint(2, 5)]).rstrip()
    first = lines[number].rstrip()
    return (len(first) - len(first.lstrip()), len(body)) if first and "\n" in body else None


_PLACES: dict[str, Callable[[list[str], int, random.Random], tuple[int, int] | None]] = {
    "rest of line": _rest,
    "closers": _closers,
    "argument": _argument,
    "identifier": _identifier,
    "line": _line,
    "block": _block,
}


def _beginnings(language: str, text: str, rng: random.Random) -> Iterator[Hole]:
    """Something of two to eight lines is not there yet, and its first line, or a piece of it, is offered."""
    grammar = languages.grammar_of(language)
    loaded = languages.load(grammar) if grammar else None
    if loaded is None or not text.isascii():
        return
    waiting = [tree_sitter.Parser(loaded).parse(text.encode()).root_node]
    found: list[tree_sitter.Node] = []
    while waiting and len(found) < 600:
        node = waiting.pop()
        waiting.extend(node.named_children)
        rows = node.end_point[0] - node.start_point[0]
        line = text.rfind("\n", 0, node.start_byte) + 1
        alone = not text[line : node.start_byte].strip() and text[node.end_byte : node.end_byte + 1] in "\r\n;,"
        if node.parent is not None and 1 <= rows <= 7 and alone and not node.has_error and node.type != "comment":
            found.append(node)
    rng.shuffle(found)
    for node in found[:1]:
        whole = text[node.start_byte : node.end_byte]
        cuts = [token.end() for token in re.finditer(r"\w+|[^\w\s]+", whole)][:-1]
        if len(cuts) > 1:
            yield Hole("first line", node.start_byte, node.end_byte, whole.split("\n")[0].rstrip())
            yield Hole("piece", node.start_byte, node.end_byte, whole[: rng.choice(cuts)])


def damaged(text: str, after: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """The text with a bracket or quote deleted, a bracket swapped, a closer inserted, the rest of the line repeated."""
    marks = [at for at, char in enumerate(text) if char in _OPEN + _CLOSE + "\"'`"]
    brackets = [at for at in marks if text[at] in _OPEN + _CLOSE]
    if marks and len(text.strip()) > 1:
        at = rng.choice(marks)
        yield "deleted", text[:at] + text[at + 1 :]
    if brackets:
        at = rng.choice(brackets)
        others = [char for char in (_OPEN if text[at] in _OPEN else _CLOSE) if char != text[at]]
        yield "swapped", text[:at] + rng.choice(others) + text[at + 1 :]
    at = rng.randrange(len(text) + 1)
    yield "inserted", text[:at] + rng.choice(_CLOSE) + text[at:]
    rest = after.partition("\n")[0].rstrip()
    if any(char in _CLOSE for char in rest):
        yield "repeated", text + rest
