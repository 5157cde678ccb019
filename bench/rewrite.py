"""Rewriting: `python -m bench.rewrite [--selections 1000] [--data DIR --model CHECKPOINT]`.

Random selections of real files of every gated language are rewritten by a model that does what models do: it changes
names, drops and adds lines, loses the indentation, leaves something open. Counted is what the server makes of it:
characters changed outside of the selection, lines of the hunks beside those of difflib, edits that would make the
syntax worse, milliseconds. With --data, pass@1 of a checkpoint on EditEval (JSON lines: instruction, input, test).
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import itertools
import json
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from dgemma_engine import wire
from dgemma_lsp.config import Settings
from dgemma_lsp.engine_client import EngineClient
from dgemma_lsp.server.engine_life import EngineLife
from dgemma_lsp.server.outcomes import Outcome
from dgemma_lsp.server.rewriting import Rewriter, Rewritten, Wish
from dgemma_lsp.syntax.gate import Gate
from dgemma_lsp.syntax.trees import Trees
from dgemma_lsp.text.document import Document
from dgemma_lsp.text.edits import apply_edits
from dgemma_lsp.text.rewriting import hunks

from .gate_files import SOURCES, files
from .infill import passes_tests
from .measure import Spread, machine, table

LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
LONG = 2_000
"""Lines of the selection that is timed."""


class Scribe:
    """A client of an engine that writes whatever its `answer` is."""

    answer = ""

    async def fill(self, text: wire.MaskedText, **_: Any) -> wire.Filled:
        return wire.Filled(1, (wire.Candidate((self.answer,), 0.0, 1, "converged"),), {}, {})

    async def refine(self, *_: Any, **__: Any) -> wire.Filled:
        return wire.Filled(1, (wire.Candidate((self.answer,), 0.0, 1, "converged"),), {}, {})


@attrs.define
class Life:
    """As much of an engine's life as a rewriter looks at."""

    client: Scribe

    def answered(self) -> None: ...

    def heard(self, progress: wire.Progress) -> None: ...


@attrs.define
class Tally:
    selections: int = 0
    outside: int = 0
    worse: int = 0
    longer: int = 0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    ms: list[float] = attrs.field(factory=list)


def mechanics(language: str, selections: int, seed: int) -> Tally:
    """What becomes of random rewrites of random selections."""
    draws = random.Random(f"{language} {seed}")
    tally = Tally()
    gate = Gate(seconds=5)
    found = files(language, draws)
    for name, text in itertools.islice(itertools.cycle(found), selections if found else 0):
        text = draws.choice((text, text, text.replace("\n", "\r\n"), "\ufeff" + text, text.replace("    ", "\t")))
        start = draws.randrange(len(text))
        end = min(len(text), start + draws.randrange(1, 600))
        if draws.random() < 0.6:
            start = text.rfind("\n", 0, start) + 1
            end = text.find("\n", end) + 1 or len(text)
        if not text[start:end].strip():
            continue
        document = Document.opened(f"file:///{name}", language, 1, text)
        began = time.perf_counter()
        rewritten, outcome = asyncio.run(_rewritten(document, start, end, _written(text[start:end], draws)))
        tally.selections += 1
        tally.ms.append(1000 * (time.perf_counter() - began))
        tally.outcomes[outcome.outcome or "offered"] += 1
        if rewritten is not None:
            _look(tally, gate, language, text, start, end, rewritten)
    return tally


async def _rewritten(document: Document, start: int, end: int, answer: str) -> tuple[Rewritten | None, Outcome]:
    scribe = Scribe()
    scribe.answer = answer
    rewriter = Rewriter(Life(scribe), Trees(), lambda _: document)  # pyright: ignore[reportArgumentType]
    outcome = Outcome("bench", "", 1, 1, "invoked")
    settings = attrs.evolve(Settings(), secret_files=())
    return await rewriter.rewrite(Wish(document, start, end, "go on"), settings, outcome), outcome


def _look(tally: Tally, gate: Gate, language: str, text: str, start: int, end: int, rewritten: Rewritten) -> None:
    result = apply_edits(text, rewritten.edits())
    grown = len(result) - len(text)
    tally.outside += result[:start] != text[:start] or result[end + grown :] != text[end:]
    tally.outside += any(not start <= edit.start <= edit.end <= end for edit in rewritten.edits())
    verdict = gate.verdict(language, text, start, end, result[start : end + grown])
    tally.worse += not verdict.allows(unfinished=False)
    old, new = LINE.findall(text[start:end]), LINE.findall(result[start : end + grown])
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    theirs = sum(b - a + d - c for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal")
    ours = sum(
        len(LINE.findall(text[hunk.start : hunk.end])) + len(LINE.findall(hunk.text)) for hunk in rewritten.hunks
    )
    tally.longer += ours > theirs


def _written(selected: str, draws: random.Random) -> str:
    """What a model might make of it."""
    lines = selected.replace("\r\n", "\n").split("\n")
    kind = draws.choice(("names", "names", "lines", "lines", "dedent", "cut", "fence"))
    if kind == "names":
        words = sorted(set(re.findall(r"[A-Za-z_]\w{2,}", selected)))
        for word in draws.sample(words, min(2, len(words))):
            lines = [re.sub(rf"\b{word}\b", f"{word}_2", line) for line in lines]
    elif kind == "lines":
        lines = [line for line in lines if draws.random() > 0.1] or lines
        lines.insert(draws.randrange(len(lines) + 1), draws.choice(lines))
    elif kind == "dedent":
        lines = [line.strip() for line in lines]
    elif kind == "cut":
        return "\n".join(lines)[: draws.randrange(len(selected) + 1)]
    text = "\n".join(lines)
    return f"```\n{text}\n```\n" if kind == "fence" else text


def long_selection() -> list[float]:
    """Milliseconds to cut a selection of 2 000 lines into hunks, for rewrites from slight to total."""
    text = "".join(text for _, text in files("python", random.Random(1)))
    lines = LINE.findall(text)[:LONG]
    selected = "".join(lines)
    times = []
    for share in (0.01, 0.1, 0.3, 0.6, 1.0):
        draws = random.Random(share)
        new = [
            f"{draws.random()}\n" if draws.random() < share else line for line in lines if draws.random() > share / 9
        ]
        for _ in range(5):
            began = time.perf_counter()
            hunks(selected, 0, len(selected), "".join(new))
            times.append(1000 * (time.perf_counter() - began))
    return times


async def edit_eval(folder: Path, model: str, limit: int | None) -> str:
    """Pass@1 by the tests of each problem; the selection is the whole function."""
    rows = []
    for file in sorted(folder.glob("*.jsonl")):
        problems = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][:limit]
        life = EngineLife(EngineClient(name="bench"), model, 900.0, lambda _: None, lambda _: None)
        passed, outcomes, ms = 0, Counter[str](), []
        for problem in problems:
            text = problem["input"] + "\n"
            document = Document.opened("file:///problem.py", "python", 1, text)
            rewriter = Rewriter(life, Trees(), lambda _, document=document: document)
            outcome = Outcome("bench", "", 1, 1, "invoked")
            wish = Wish(document, 0, len(text), f"{problem['instruction']} {problem.get('context', '')}".strip())
            rewritten = await rewriter.rewrite(wish, attrs.evolve(Settings(), model=model), outcome)
            outcomes[outcome.outcome or "offered"] += 1
            if outcome.outcome == "no-instructions":
                raise SystemExit(outcome.explained()["message"])
            program = apply_edits(text, rewritten.edits()) if rewritten else text
            passed += passes_tests(program, {"test": f"{problem['test']}\ncheck()\n", "entry_point": "None and check"})
            ms.append(outcome.engine_ms)
        await life.close()
        ended = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
        rows.append(
            (file.stem, str(len(problems)), f"{100 * passed / max(1, len(problems)):.0f}", ended, str(Spread.of(ms)))
        )
    return table(("set", "n", "pass@1 %", "outcomes", "engine ms"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rewrite", description=__doc__)
    parser.add_argument("--selections", type=int, default=1_000, help="of all languages together")
    parser.add_argument("--data", type=Path, help="folder with EditEval's *.jsonl")
    parser.add_argument("--model", default="google/diffusiongemma-26B-A4B-it", help="with --data: the checkpoint")
    parser.add_argument("--limit", type=int, help="with --data: problems of each file")
    arguments = parser.parse_args()
    print(machine())
    if arguments.data is not None:
        print(f"\n{asyncio.run(edit_eval(arguments.data, arguments.model, arguments.limit))}")
        return
    rows = []
    total = Tally()
    for language in SOURCES:
        tally = mechanics(language, -(-arguments.selections // len(SOURCES)), 1)
        offered = tally.outcomes["offered"]
        counts = (tally.selections, offered, tally.outcomes["syntax-refused"], tally.outside, tally.worse, tally.longer)
        rows.append((language, *map(str, counts), str(Spread.of(tally.ms))))
        total.selections += tally.selections
        total.outside += tally.outside
        total.worse += tally.worse
        total.longer += tally.longer
    header = (
        "language", "selections", "offered", "refused", "changed outside", "syntax worse", "longer than difflib", "ms",
    )  # fmt: skip
    print(f"\n{table(header, rows)}\n")
    print(
        f"{total.selections} selections: {total.outside} changed outside, {total.worse} made worse, "
        f"{total.longer} longer than difflib's. Hunks of {LONG} lines: {Spread.of(long_selection())} ms."
    )


if __name__ == "__main__":
    main()
