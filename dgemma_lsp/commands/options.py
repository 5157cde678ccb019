"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="nano, a folder or the hub id of a model, maybe with @bf16, @fp8 or @int4; by default the one of your "
        "settings, else what `model use` chose.",
    ),
]
EnginePythonOption = Annotated[
    str | None,
    typer.Option(
        envvar="DGEMMA_ENGINE_PYTHON",
        metavar="PATH",
        help="The Python that runs the engine; by default this one.",
    ),
]
