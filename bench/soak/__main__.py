"""`python -m bench.soak`: kills, starves and races the real daemon, and counts the promises that broke.

Prints a markdown table and writes it to build/bench/soak.md; exit code 1 when anything failed or was left behind.
What failed is told on stderr, with the end of the daemon's log.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from bench.measure import machine, table

from .nest import Nest
from .scenario import Result, soak
from .scenarios import SCENARIOS

HEADER = ("scenario", "rounds", "failures", "median ms", "worst ms", "left behind")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--only", choices=SCENARIOS, nargs="+", metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument("--tcp", action="store_true", help="over a port instead of a Unix socket")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Whoever ends the soak ends its daemons as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = []
    for name in arguments.only or SCENARIOS:
        print(f"{name}: {SCENARIOS[name].about}", file=sys.stderr, flush=True)
        with Nest.built(arguments.tcp) as nest:
            results.append(asyncio.run(soak(SCENARIOS[name], nest, arguments.rounds)))
        print(f"  {_told(results[-1])}", file=sys.stderr, flush=True)
    text = f"{machine()}\n\n{table(HEADER, [result.row for result in results])}\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "soak.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(not all(result.good for result in results))


def _told(result: Result) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(HEADER[1:], result.row[1:], strict=True))


if __name__ == "__main__":
    main()
