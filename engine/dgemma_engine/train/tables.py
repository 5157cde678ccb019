"""What was measured, as the markdown tables of the model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
COLUMNS = ("true length", "50 % slack", "own rule", "ranked")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def history_table(history: Row) -> str:
    """Losses and held-out quality at each quarter of the run, and after the cool-down."""
    points, evaluations = history["history"], history["evaluations"]
    ends = [history["tokens"] * share / 4 for share in (1, 2, 3, 4)]
    names = list(evaluations[-1]["exact"]) if evaluations else []
    rows = []
    for end in ends:
        point = min(points, key=lambda point: abs(point["tokens"] - end))
        row = [f"{point['tokens'] / 1e6:.1f}", f"{point['canvas']:.2f}", f"{point['causal']:.2f}"]
        near = min(evaluations, key=lambda record: abs(record["tokens"] - end), default=None)
        close = near is not None and abs(near["tokens"] - end) < history["tokens"] / 8
        row += [f"{near['exact'][name]:.0f}" if near is not None and close else "" for name in names]
        rows.append(row)
    return table(["tokens seen (M)", "canvas loss (nats)", "encoder loss (nats)", *names], rows)


def quality_table(rows: list[Row], former: list[Row]) -> str:
    """One line a task; where the former checkpoint was evaluated too, its figure stands in brackets."""
    tasks = by_task(rows)
    old = by_task(former)
    lines = []
    for task, columns in tasks.items():
        cells = []
        for name in COLUMNS:
            cell = f"{columns[name]['exact']:.1f}" if name in columns else ""
            if cell and name in old.get(task, {}):
                cell += f" ({old[task][name]['exact']:.1f})"
            cells.append(cell)
        own = columns["own rule"]
        more = [f"{own['first_line']:.1f}", f"{own['empty']:.1f}", f"{own['passes']:.0f}"]
        lines.append([task, *cells, *more])
    return table(["task", *COLUMNS, "first line, own rule", "empty, own rule", "passes, own rule"], lines)


def by_task(rows: list[Row]) -> dict[str, dict[str, Row]]:
    tasks: dict[str, dict[str, Row]] = {}
    for row in rows:
        tasks.setdefault(row["task"], {})[row["column"]] = row
    return tasks


def study_tables(study: dict[str, list[Row]]) -> str:
    """A section a study: settings down, tasks across, exact matches and median processor time or mean passes."""
    sections = []
    for title, rows in study.items():
        names = list(dict.fromkeys(row["task"] for row in rows))
        settings = list(dict.fromkeys(row["setting"] for row in rows))
        found = {(row["setting"], row["task"]): row for row in rows}
        lines = [[setting, *(_cell(found.get((setting, name))) for name in names)] for setting in settings]
        sections.append(f"### {title}\n{table(['', *names], lines)}\n")
    return "\n".join(sections)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if "busy" in row:
        return f"{row['exact']:.0f} · {row['busy']:.0f} ms"
    return f"{row['exact']:.0f}" + (f" · {row['mean_passes']:.1f} passes" if "mean_passes" in row else "")
