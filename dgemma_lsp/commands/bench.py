"""`dgemma-lsp bench`: what it costs here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from dgemma_lsp.commands.options import JsonOption
from dgemma_lsp.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Measure on this machine.")


@app.callback()
def bench() -> None:
    """Measure on this machine."""


@app.command()
def latency(
    rounds: Annotated[int, typer.Option(min=1, help="Places that are typed at.")] = 100,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A Python file instead of a long one of our own.")
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for latency.md and latency.svg.")] = Path(
        "build/bench"
    ),
    as_json: JsonOption = False,
) -> None:
    """From a keystroke to ghost text, as an editor sees it: with nano, without a debounce."""
    from dgemma_lsp.latency import measure, picture, table

    try:
        times = measure(rounds, file)
    except (RuntimeError, ValueError) as error:
        raise UserError(str(error)) from None
    load = f"Load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores." if hasattr(os, "getloadavg") else ""
    text = f"{table(times)}\n{load}\n\n![distribution](latency.svg)\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "latency.md").write_text(text, encoding="utf-8")
    (out / "latency.svg").write_text(picture(times.answer), encoding="utf-8")
    print(json.dumps(times.plain()) if as_json else text, end="\n" if as_json else "")
