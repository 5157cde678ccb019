"""`dgemma-lsp serve`: the language server, also what the command without arguments is."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(stdio: Annotated[bool, typer.Option("--stdio", hidden=True, help="The only way there is.")] = True) -> None:
    """Run the language server on stdin and stdout, as editors start it."""
    import gc

    # The collector would walk over the protocol's many classes again and again while they are made.
    gc.disable()
    from dgemma_lsp.server.serve import serve as run

    raise typer.Exit(run())
