"""`dgemma-lsp model`: the checkpoints there are."""

from __future__ import annotations

import json

import typer

from dgemma_lsp.commands.options import JsonOption

app = typer.Typer(help="The checkpoints that can be used.", no_args_is_help=True)


@app.callback()
def model() -> None:
    """The checkpoints that can be used."""


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the checkpoints that come with the package."""
    from dgemma_lsp import models

    found = models.bundled()
    if as_json:
        entries = [
            {"name": one.name, "folder": str(one.folder), "bytes": one.size, "problem": one.problem} for one in found
        ]
        print(json.dumps(entries))
        return
    for one in found:
        print(f"{one.name:<8} {one.problem or models.megabytes(one.size):>9}  {one.folder}")
