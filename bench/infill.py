"""HumanEval-Infilling through the engine: `python -m bench.infill --data DIR`.

DIR holds the set's JSON lines (prompt, suffix, canonical_solution, test, entry_point). Three columns: the true length
given, 50 % slack, the engine's own rule. A fill passes when the completed program passes the problem's tests in a
process of its own. The set is surely known to large models: a regression between versions, no proof of quality.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dgemma_engine import wire
from dgemma_engine.engine import Engine

from .measure import Spread, machine, table

ROOM = 32
"""Tokens of the hole that an editor would open for the rest of a line or a short block."""
SECONDS = 5
LIMITS = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.infill", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with *.jsonl")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--limit", type=int, help="problems of each file")
    arguments = parser.parse_args()
    files = sorted(arguments.data.glob("*.jsonl"))
    if not files:
        raise SystemExit(f"{arguments.data} holds no .jsonl file; name the folder with the problems")
    engine = Engine.load(arguments.model)
    rows = []
    for file in files:
        problems = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][: arguments.limit]
        columns: tuple[tuple[str, str, Callable[[int], int]], ...] = (
            ("true length", "exact", lambda tokens: tokens),
            ("50 % slack", "elastic", lambda tokens: tokens + max(1, tokens // 2)),
            ("own rule", "auto", lambda tokens: ROOM),
        )
        for name, length, room in columns:
            rows.append((file.stem, name, *row(engine, problems, length, room, arguments.passes)))
    header = ("set", "hole", "n", "exact %", "first line %", "pass@1 %", "empty %", "parses %", "passes", "ms")
    print(f"{machine()}\n\n{table(header, rows)}")


def row(
    engine: Engine, problems: list[dict[str, Any]], length: str, room: Callable[[int], int], passes: int
) -> tuple[str, ...]:
    """One line of the table."""
    exact = first = passed = empty = parsed = 0
    spent: list[float] = []
    ms: list[float] = []
    for seed, problem in enumerate(problems):
        truth = problem["canonical_solution"]
        tokens = len(engine.tokenizer.encode(truth))
        text = wire.MaskedText((problem["prompt"], wire.Hole(room(tokens)), problem["suffix"]))
        filled = engine.fill(text, passes=passes, length=length, seed=seed)
        written = filled.candidates[0].texts[0]
        program = problem["prompt"] + written + problem["suffix"]
        exact += written == truth
        first += written.split("\n")[0] == truth.split("\n")[0]
        empty += not written.strip()
        parsed += parses(program)
        passed += passes_tests(program, problem)
        spent.append(filled.candidates[0].passes)
        ms.append(filled.ms["total"])
    share = [f"{100 * count / len(problems):.0f}" for count in (exact, first, passed, empty, parsed)]
    return (str(len(problems)), *share, str(Spread.of(spent).p50), str(Spread.of(ms)))


def parses(program: str) -> bool:
    try:
        compile(program, "problem", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def passes_tests(program: str, problem: dict[str, Any]) -> bool:
    """Run the completed program and its tests in a child: time, memory and folder are its own."""
    if not parses(program):
        return False
    code = f"{LIMITS}{program}\n{problem['test']}\ncheck({problem['entry_point']})\n"
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, timeout=SECONDS, capture_output=True)
        except subprocess.TimeoutExpired:
            return False
    return run.returncode == 0


if __name__ == "__main__":
    main()
