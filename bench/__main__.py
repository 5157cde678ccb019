"""`python -m bench`: latency, start-up, memory, and the same work through transformers, on this machine.

Nothing else should be running. Prints markdown tables and writes them to build/bench: cpu.json and cpu.md have the
fills (`--only-fills --out bench/results` publishes them), reach.md the rest. Quality has its own commands:
`python -m dgemma_engine.train.evaluate` and `python -m bench.infill`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .measure import machine, table
from .reach import FILLS, fills, help_row, memory_row, start_rows
from .results import publish
from .versus import versus_rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--model", default="nano", help="nano, or a folder")
    parser.add_argument("--rounds", type=int, default=60, help="fills to time")
    parser.add_argument("--only-fills", action="store_true", help="leave the rest out")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    found = fills(arguments.model, arguments.rounds)
    print(publish(arguments.out, "cpu", machine(), list(FILLS.values()), found, "left out"))
    if arguments.only_fills:
        return
    rows = [*start_rows(arguments.model), memory_row(arguments.model), help_row()]
    rows += versus_rows(arguments.model, arguments.rounds // 3)
    text = f"{machine()}\n\n{table(('what', 'target', 'measured: median (p5 to p95)'), rows)}\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "reach.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
