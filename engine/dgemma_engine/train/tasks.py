"""Classes of holes with a known truth, cut from held-out files: what an editor asks for, and how much room it gives."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Callable, Iterator
from random import Random

from attrs import frozen

from ..tokenizer import Tokenizer
from .corrupt import corrupt
from .spans import ARGUMENTS, CLOSER, LINE, WORD, Span

JSON_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
MARKDOWN_PAIRS = (
    re.compile(r"(?<!`)`[^`\n]+(`)(?!`)"),
    re.compile(r"\*\*[^*\s][^*\n]*(\*\*)"),
    re.compile(r"\[[^\]\n]+(\])\("),
    re.compile(r"\]\([^)\s]+(\))"),
    re.compile(r"^```\w+\n(?:(?!```)[^\n]*\n){1,12}(```)$", re.MULTILINE),
)
BEFORE, AFTER, NEAR = 4000, 1200, 200
JSON_ENDS = ("]", "}", '"')
MARKDOWN_ENDS = ("`", "**", "]", ")", "```")
PYTHON_ENDS = (")", "]", "}", '"', "'", '"""')


@frozen
class Task:
    """A class of holes: where they are in a text, how large an editor would make them, which kind of file.

    `closers` are what a repair would have to choose from; `broken` files have another error within `NEAR` characters.
    """

    name: str
    kind: str
    room: int
    find: Callable[[str], Iterator[Span]]
    closers: tuple[str, ...] = ()
    broken: bool = False


def json_closers(text: str) -> Iterator[Span]:
    """Closing brackets outside strings, and closing quotes."""
    at = 0
    for match in JSON_STRING.finditer(text):
        yield from ((i, i + 1) for i in range(at, match.start()) if text[i] in "]}")
        yield match.end() - 1, match.end()
        at = match.end()
    yield from ((i, i + 1) for i in range(at, len(text)) if text[i] in "]}")


def python_closers(text: str) -> Iterator[Span]:
    """Closing brackets and the closing quotes of strings, by Python's own tokenizer."""
    starts = [0]
    for line in io.StringIO(text, newline=""):
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
        end = starts[token.end[0] - 1] + token.end[1]
        if token.type == tokenize.OP and token.string in ")]}":
            yield end - 1, end
        elif token.type == tokenize.STRING:
            yield end - (3 if token.string.endswith(('"""', "'''")) else 1), end


def markdown_closers(text: str) -> Iterator[Span]:
    """What ends inline code, strong text, link texts, link targets and fences."""
    for pattern in MARKDOWN_PAIRS:
        yield from (match.span(1) for match in pattern.finditer(text))


def by_pattern(pattern: re.Pattern[str], group: int = 0) -> Callable[[str], Iterator[Span]]:
    return lambda text: (match.span(group) for match in pattern.finditer(text))


def rests(text: str) -> Iterator[Span]:
    """From a random place of a line to its end, eight tokens or so."""
    rng = Random(len(text))
    for match in LINE.finditer(text):
        yield rng.randrange(match.start(), match.end()), match.end()


TASKS = (
    Task("JSON closers", "json", 4, json_closers, JSON_ENDS),
    Task("JSON closers, broken elsewhere", "json", 4, json_closers, JSON_ENDS, broken=True),
    Task("Markdown closers", "markdown", 4, markdown_closers, MARKDOWN_ENDS),
    Task("Markdown closers, broken elsewhere", "markdown", 4, markdown_closers, MARKDOWN_ENDS, broken=True),
    Task("Python closers", "python", 4, python_closers, PYTHON_ENDS),
    Task("TypeScript closers", "typescript", 4, by_pattern(CLOSER), (")", "]", "}")),
    Task("Python identifiers", "python", 8, by_pattern(WORD)),
    Task("Python rest of line", "python", 16, rests),
    Task("Python argument lists", "python", 16, by_pattern(ARGUMENTS, 1)),
    Task("Python whole lines", "python", 24, by_pattern(LINE)),
)
LONGEST = {"Python rest of line": 8, "Python argument lists": 12, "Python whole lines": 16}


@frozen
class Item:
    prefix: str
    truth: str
    suffix: str
    tokens: int


def items(task: Task, sources: list[list[str]], tokenizer: Tokenizer, count: int, seed: int = 0) -> list[Item]:
    """`count` holes of a task, drawn evenly over the packages, and over the files of each."""
    rng = Random(f"{seed}/{task.name}")
    chosen: list[Item] = []
    for _ in range(20 * count):
        if len(chosen) == count:
            break
        text = rng.choice(rng.choice(sources))
        try:
            spans = list(task.find(text))
        except (tokenize.TokenError, SyntaxError):
            continue
        if not spans:
            continue
        start, end = rng.choice(spans)
        tokens = len(tokenizer.encode(text[start:end]))
        if 0 < tokens <= LONGEST.get(task.name, task.room):
            before, after = text[max(0, start - BEFORE) : start], text[end : end + AFTER]
            if task.broken and rng.random() < 0.5:
                before, _ = corrupt(rng, before, task.kind, 1, start=max(0, len(before) - NEAR), stop=len(before) - 1)
            elif task.broken:
                after, _ = corrupt(rng, after, task.kind, 1, start=1, stop=NEAR)
            chosen.append(Item(before, text[start:end], after, tokens))
    return chosen
