"""Fit what the repair of markdown weighs: `python -m bench.markdown_fit [--files 1000] [--tables LINK ...] [--dry]`.

Deletes marks and lines from the markdown of the packages in `bench/markdown_files.py`, makes the places where they had
been the likeliest, writes `dgemma_lsp/syntax/repair/markdown/weights`, and prints what has changed. All files take
about five minutes of one core.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Mapping, Sequence
from importlib import import_module

from bench.markdown_choices import INLINE, Choice, fence_choices, inline_choices, lines
from bench.markdown_files import fitted
from bench.markdown_solver import fit, judge, logit
from bench.measure import table
from bench.repair_files import ROOT, Sample

ROOM = "dgemma_lsp.syntax.repair.markdown.weights"
TABLES = ("CODE_LINE", "FENCE", *INLINE)
"""What a fence weighs has in it how much its lines look like code: that comes first."""
PULL = {"FENCE": 0.002, "CODE_SPAN": 0.002, "LINK": 0.0015, "EMPHASIS": 0.0015}
LINES = 120
"""Of a file, at most."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.markdown_fit", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="at most")
    parser.add_argument("--tables", nargs="*", default=TABLES, choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--dry", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    samples = fitted(arguments.files)
    print(f"{len(samples)} files of {len({one.group for one in samples})} packages")
    for name in TABLES:
        if name in arguments.tables:
            started = time.monotonic()
            weights = _table(name)
            before = dict(weights)
            report = _fit_lines(samples, weights) if name == "CODE_LINE" else _fit_choices(name, samples, weights)
            if not arguments.dry:
                _write(name, weights)
            print(
                f"\n## {name}, {time.monotonic() - started:.0f} s\n\n{report}\n{_changes(before, weights)}", flush=True
            )


def _fit_choices(name: str, samples: Sequence[Sample], weights: dict[str, float]) -> str:
    """Replaces the weights; returns how many of the choices the old ones and the new ones decide right."""
    choices: list[Choice] = []
    for sample in samples:
        choices += fence_choices(sample) if name == "FENCE" else inline_choices(name, sample)
    found = fit(choices, PULL[name])
    rows = []
    old, new = judge(choices, weights, {}), judge(choices, found.weights, {})
    for kind in sorted(new):
        counts = [str(new[kind].n), *(f"{100 * one[kind].first / one[kind].n:.1f}" for one in (old, new))]
        rows.append([kind, *counts])
    weights.clear()
    weights.update(found.weights)
    likelihood = f"{found.likelihood:.3f} nats a choice, {found.choices} choices, {len(weights)} weights"
    return f"{likelihood}\n\n{table(['deleted', 'n', 'first % before', 'first % now'], rows)}"


def _fit_lines(samples: Sequence[Sample], weights: dict[str, float]) -> str:
    """Replaces the weights; returns how many lines they tell right, code from prose."""
    rows: list[Mapping[str, float]] = []
    code: list[bool] = []
    for sample in samples:
        own = list(lines(sample.text))
        for row, is_code in random.Random(sample.name).sample(own, min(LINES, len(own))):
            rows.append(row)
            code.append(is_code)
    shares = []
    for _ in range(2):
        right = sum(
            (sum(weights.get(name, 0.0) * value for name, value in row.items()) > 0) == is_code
            for row, is_code in zip(rows, code, strict=True)
        )
        shares.append(100 * right / len(rows))
        found = logit(rows, code)
        weights.clear()
        weights.update(found)
    return f"{len(rows)} lines, told right % before and now: {shares[0]:.1f}, {shares[1]:.1f}"


def _table(name: str) -> dict[str, float]:
    """The table itself, which the repair uses."""
    return getattr(import_module(f"{ROOM}.{name.lower()}"), name)


def _write(name: str, weights: Mapping[str, float]) -> None:
    rows = "".join(f'    "{trait}": {weight},\n' for trait, weight in sorted(weights.items()))
    head = '"""Written by `python -m bench.markdown_fit`."""\n\nfrom __future__ import annotations\n\n'
    path = ROOT.joinpath(*ROOM.split("."), f"{name.lower()}.py")
    path.write_text(f"{head}{name}: dict[str, float] = {{\n{rows}}}\n", encoding="utf-8")


def _changes(before: Mapping[str, float], now: Mapping[str, float]) -> str:
    """How many weights have changed, and the largest changes."""
    moved = {name: now.get(name, 0.0) - before.get(name, 0.0) for name in {*before, *now}}
    moved = {name: by for name, by in moved.items() if abs(by) >= 0.01}
    most = sorted(moved, key=lambda name: (-abs(moved[name]), name))[:8]
    shown = "; ".join(f"{name} {before.get(name, 0.0):g} -> {now.get(name, 0.0):g}" for name in most)
    return f"\n{len(moved)} weights changed: {shown}" if moved else "\nno weight changed"


if __name__ == "__main__":
    main()
