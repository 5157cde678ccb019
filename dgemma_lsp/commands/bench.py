"""`dgemma-lsp bench`: what it costs here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dgemma_lsp.commands.options import EnginePythonOption, JsonOption, ModelOption
from dgemma_lsp.errors import UserError

OutOption = Annotated[Path, typer.Option(file_okay=False, help="Folder for the table and the picture.")]

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


@app.command()
def compare(
    model: ModelOption = None,
    autoregressive: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="An autoregressive checkpoint beside it, by transformers."),
    ] = None,
    out: OutOption = Path("build/bench"),
    as_json: JsonOption = False,
    engine_python: EnginePythonOption = None,
) -> None:
    """Denoising a hole against writing it token by token with the same weights, for 1, 2 and 4 requests at once."""
    import attrs

    from dgemma_lsp.comparison import Arm, measure, picture, table
    from dgemma_lsp.engine_client import resolve_model

    arms: list[Arm] = []
    about: dict[str, Any] = {}
    for found in measure(resolve_model(model or ""), autoregressive, engine_python):
        if isinstance(found, Arm):
            arms.append(found)
        else:
            about = found
    text = f"{table(arms, about)}\n![time by arm](compare.svg)\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "compare.md").write_text(text, encoding="utf-8")
    (out / "compare.svg").write_text(picture(arms), encoding="utf-8")
    plain = {**about, "arms": [attrs.asdict(arm) for arm in arms]}
    print(json.dumps(plain) if as_json else text, end="\n" if as_json else "")
