"""How good a checkpoint is at the product's jobs, on packages it never saw.

`python -m dgemma_engine.train.evaluate --checkpoint build/nano/checkpoint`. Holes are cut from held-out files where
the true text is known; a fill counts when it equals it. Three columns: with the true length given, with 50 % slack,
and by the engine's own length rule with the room that an editor would give.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import torch
from attrs import frozen

from .. import wire
from ..engine import Engine
from .batches import load_texts
from .spans import ARGUMENTS, LINE, WORD, Span

JSON_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
MARKDOWN_PAIRS = (
    re.compile(r"(?<!`)`[^`\n]+(`)(?!`)"),
    re.compile(r"\*\*[^*\s][^*\n]*(\*\*)"),
    re.compile(r"\[[^\]\n]+(\])\("),
    re.compile(r"\]\([^)\s]+(\))"),
    re.compile(r"^```\w+\n(?:(?!```)[^\n]*\n){1,12}(```)$", re.MULTILINE),
)
BEFORE, AFTER = 4000, 1200


@frozen
class Task:
    """A class of holes: where they are in a text, how large an editor would make them, which kind of file."""

    name: str
    kind: str
    room: int
    find: Callable[[str], Iterator[Span]]


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
    Task("JSON closers", "json", 4, json_closers),
    Task("Markdown closers", "markdown", 4, markdown_closers),
    Task("Python closers", "python", 4, python_closers),
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


def items(task: Task, texts: list[str], engine: Engine, count: int, seed: int = 0) -> list[Item]:
    """`count` holes of a task, drawn evenly over the files."""
    rng = Random(f"{seed}/{task.name}")
    chosen: list[Item] = []
    for _ in range(20 * count):
        if len(chosen) == count:
            break
        text = rng.choice(texts)
        try:
            spans = list(task.find(text))
        except (tokenize.TokenError, SyntaxError):
            continue
        if not spans:
            continue
        start, end = rng.choice(spans)
        tokens = len(engine.tokenizer.encode(text[start:end]))
        if 0 < tokens <= LONGEST.get(task.name, task.room):
            chosen.append(Item(text[max(0, start - BEFORE) : start], text[start:end], text[end : end + AFTER], tokens))
    return chosen


def measure(
    engine: Engine, chosen: list[Item], length: str, room: Callable[[Item], int], passes: int
) -> dict[str, float]:
    """Shares in per cent, medians of passes and milliseconds."""
    exact = first = empty = 0
    spent: list[int] = []
    ms: list[float] = []
    for number, item in enumerate(chosen):
        masked = wire.MaskedText((item.prefix, wire.Hole(room(item)), item.suffix))
        filled = engine.fill(masked, length=length, passes=passes, seed=number)
        best = filled.candidates[0]
        text = best.texts[0]
        exact += text == item.truth
        first += text.split("\n")[0] == item.truth.split("\n")[0]
        empty += text == ""
        spent.append(best.passes)
        ms.append(filled.ms["total"])
    count = len(chosen)
    ms.sort()
    return {
        "n": count,
        "exact": 100 * exact / count,
        "first_line": 100 * first / count,
        "empty": 100 * empty / count,
        "passes": sorted(spent)[count // 2],
        "p50": ms[count // 2],
        "p95": ms[int(0.95 * count)],
    }


def evaluate(checkpoint: str, corpus: Path, task_number: int, count: int, passes: int) -> list[dict[str, object]]:
    """One row a column of one task; runs in a process of its own."""
    torch.set_num_threads(1)
    engine, task = Engine.load(checkpoint), TASKS[task_number]
    texts = load_texts(corpus / "heldout.jsonl", {task.kind})[task.kind]
    chosen = items(task, texts, engine, count)
    columns: tuple[tuple[str, str, Callable[[Item], int]], ...] = (
        ("true length", "exact", lambda item: item.tokens),
        ("50 % slack", "elastic", lambda item: item.tokens + max(1, item.tokens // 2)),
        ("own rule", "auto", lambda item: task.room),
    )
    return [
        {"task": task.name, "column": name, **measure(engine, chosen, length, room, passes)}
        for name, length, room in columns
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dgemma_engine.train.evaluate", description=__doc__)
    parser.add_argument("--checkpoint", default="nano", help="a folder, or nano")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--count", type=int, default=300, help="holes a task")
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--out", type=Path, help="write the rows as JSON here")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(evaluate, arguments.checkpoint, arguments.corpus, number, arguments.count, arguments.passes)
            for number in range(len(TASKS))
        ]
        for job in jobs:
            rows += job.result()
            for row in rows[-3:]:
                print(json.dumps(row), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
