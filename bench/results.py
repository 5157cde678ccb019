"""What a bench measured beside what it was to reach, as JSON for machines and as a table for people.

`bench/results/` holds the last published ones; a figure that was not measured says why.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from .measure import Spread, table


@frozen
class Goal:
    """A figure to reach: at most `most` in `unit`, of which `floor` is what the hardware allows."""

    key: str
    what: str
    unit: str
    most: float
    floor: float | None = None
    least: bool = False
    """`most` is the least, not the most."""

    @property
    def target(self) -> str:
        sign = "≥" if self.least else "≤"
        floor = "" if self.floor is None else f" (floor {self.floor:g})"
        return f"{sign} {self.most:g} {self.unit}{floor}"

    def entry(self, found: Spread | float | None, missing: str) -> dict[str, Any]:
        """This figure in the JSON; `missing` says why there is none."""
        entry: dict[str, Any] = {"what": self.what, "unit": self.unit, "target": self.target}
        if found is None:
            return {**entry, "not_measured": missing}
        if isinstance(found, Spread):
            shares = {"p50": found.p50, "p5": found.p5, "p95": found.p95}
            measured = {f"{name}_{self.unit}": round(value, 3) for name, value in shares.items()} | {"n": found.n}
            middle = found.p50
        else:
            measured, middle = {"value": round(found, 3)}, found
        reached = middle >= self.most if self.least else middle <= self.most
        return {**entry, **measured, "reached": reached}


def publish(
    folder: Path,
    name: str,
    machine: str,
    goals: Sequence[Goal],
    found: Mapping[str, Spread | float],
    missing: str,
) -> str:
    """Write NAME.json and NAME.md; returns the latter."""
    entries = {goal.key: goal.entry(found.get(goal.key), missing) for goal in goals}
    head = {"machine": machine, "command": shlex.join(["python", *_command()])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({**head, **entries}, indent=1) + "\n", encoding="utf-8")
    rows = [(key, entry["what"], entry["target"], _measured(found.get(key), entry)) for key, entry in entries.items()]
    text = f"{machine}\n`{head['command']}`\n\n{table(('key', 'what', 'target', 'measured'), rows)}\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return text


def _measured(found: Spread | float | None, entry: dict[str, Any]) -> str:
    if found is None:
        return f"not measured: {entry['not_measured']}"
    value = str(found) if isinstance(found, Spread) else f"{found:.3g}"
    return f"{value} {entry['unit']}" + ("" if entry["reached"] else ", missed")


def _command() -> list[str]:
    """How this run was started, without the machine's paths."""
    script = Path(sys.argv[0])
    module = script.name == "__main__.py"
    start = ["-m", script.parent.name] if module else [f"{script.parent.name}/{script.name}"]
    return [*start, *sys.argv[1:]]
