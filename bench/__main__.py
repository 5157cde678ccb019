"""`python -m bench`: latency, start-up, memory, and the same work through transformers, on this machine.

Nothing else should be running. Prints a markdown table and writes it to build/bench/reach.md. Quality has its own
commands: `python -m dgemma_engine.train.evaluate` and `python -m bench.infill`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .measure import machine, table
from .reach import fill_rows, help_row, memory_row, start_rows
from .versus import versus_rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--model", default="nano", help="nano, or a folder")
    parser.add_argument("--rounds", type=int, default=60, help="fills to time")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    rows = [*fill_rows(arguments.model, arguments.rounds)]
    rows += [*start_rows(arguments.model), memory_row(arguments.model), help_row()]
    rows += versus_rows(arguments.model, arguments.rounds // 3)
    text = f"{machine()}\n\n{table(('what', 'target', 'measured: median (p5 to p95)'), rows)}\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "reach.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
