"""`dgemma-lsp doctor`: findings as they are made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from dgemma_lsp.commands.options import EnginePythonOption, JsonOption

if TYPE_CHECKING:
    from rich.table import Table


def doctor(as_json: JsonOption = False, engine_python: EnginePythonOption = None) -> None:
    """Check the installation and try a fill; exit code 1 when something is wrong."""
    from rich.console import Console
    from rich.text import Text

    from dgemma_lsp.doctor import examine

    console = Console()
    findings = []
    for finding in examine(engine_python):
        findings.append(finding)
        if not as_json:
            mark = ("ok   ", "green") if finding.ok else ("wrong", "red")
            line = Text.assemble(mark, f" {finding.name:<16} {finding.detail}")
            console.print(line, soft_wrap=True, highlight=False)
            if isinstance(finding.data, dict) and finding.data.get("precisions"):
                console.print(_precisions(finding.data))
    if as_json:
        print(json.dumps([finding.plain() for finding in findings]))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def _precisions(model: dict[str, Any]) -> Table:
    """What of a model fits, and what a pass takes at best."""
    from rich import box
    from rich.table import Table

    from dgemma_lsp.models import megabytes

    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"ms a pass at best, {model['context']} tokens before the canvas",
        title_style="dim",
        title_justify="right",
    )
    table.add_column("precision")
    for column in ("weights", "peak", "window", *(f"canvas {canvas}" for canvas in model["precisions"][0]["ms"])):
        table.add_column(column, justify="right", no_wrap=True)
    for row in model["precisions"]:
        window = "none" if row["window"] is None else str(row["window"])
        times = [f"{ms:.1f}" if ms < 100 else f"{ms:.0f}" for ms in row["ms"].values()]
        sizes = megabytes(row["weights"]), megabytes(row["peak"])
        style = "bold" if row["precision"] == model["precision"] else ""
        table.add_row(row["precision"], *sizes, window, *times, style=style)
    return table
