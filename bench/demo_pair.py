"""`python -m bench.demo_pair FORMER nano`: what `make demo` shows with one checkpoint and with another, side by side.

Prints a markdown table; `python -m dgemma_engine.train.card --demo` puts it into the model card.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from attrs import frozen

from bench.measure import table

EXAMPLES = Path(__file__).parents[1] / "examples"
NEAR = 28
"""Characters of its line that are shown on each side of a fill."""


@frozen
class Shown:
    """One fill of the demo: the command's arguments, and what stands above it."""

    file: Path
    title: str
    arguments: list[str]

    def filled(self, model: str) -> str:
        """The best candidate in its line, as markdown."""
        command = [sys.executable, "-m", "dgemma_lsp.cli", "fill", str(self.file), *self.arguments]
        ran = subprocess.run([*command, "--model", model, "--json"], check=True, capture_output=True, text=True)
        answer = json.loads(ran.stdout)
        lines = self.file.read_text(encoding="utf-8").split("\n")
        before, after = (cut(lines, answer[place] or answer["at"]) for place in ("at", "until"))
        return f"{code(before[0][-NEAR:])} **{code(answer['text'])}** {code(after[1][:NEAR])}".strip()


def cut(lines: list[str], place: str) -> tuple[str, str]:
    """The line of a place `LINE:COL`, both from 1, parted there."""
    line, column = map(int, place.split(":"))
    return lines[line - 1][: column - 1], lines[line - 1][column - 1 :]


def code(text: str) -> str:
    """As a table's cell can hold it: line ends and bars spelt out, backticks within longer ones."""
    shown = text.strip("\r").replace("\r", "").replace("\n", "⏎").replace("|", "¦")
    if not shown.strip():
        return ""
    fence = "``" if "`" in shown else "`"
    return f"{fence} {shown} {fence}" if fence == "``" else f"{fence}{shown}{fence}"


def shown() -> list[Shown]:
    """The fills of `examples/demo.sh`."""
    calls = [shlex.split(line)[1:] for line in (EXAMPLES / "demo.sh").read_text().splitlines() if line[:5] == "fill "]
    return [Shown(EXAMPLES / file, title, ["--at", at, *rest]) for file, at, title, *rest in calls]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.demo_pair", description=__doc__)
    parser.add_argument("models", nargs="+", help="nano, or folders")
    parser.add_argument("--names", nargs="+", help="what to call them in the table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dgemma-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        rows = [(one.title, *(one.filled(model) for model in arguments.models)) for one in shown()]
        subprocess.run([sys.executable, "-m", "dgemma_lsp.cli", "engine", "stop"], check=True, capture_output=True)
    print(table(("", *(arguments.names or arguments.models)), rows))


if __name__ == "__main__":
    main()
