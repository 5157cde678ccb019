"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
EnginePythonOption = Annotated[
    str | None,
    typer.Option(
        envvar="DGEMMA_ENGINE_PYTHON",
        metavar="PATH",
        help="The Python that runs the engine; by default this one.",
    ),
]
