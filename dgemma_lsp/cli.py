"""The command line: `dgemma-lsp COMMAND`. A user's error ends in one line on stderr and exit code 2."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from dgemma_lsp.commands import doctor, engine, fill, model
from dgemma_lsp.errors import UserError

app = typer.Typer(
    name="dgemma-lsp",
    no_args_is_help=True,
    add_completion=False,
    # A bug shows as Python's own traceback: the decorated one prints locals, which hold source text.
    pretty_exceptions_enable=False,
)
app.command()(fill.fill)
app.add_typer(engine.app, name="engine")
app.add_typer(model.app, name="model")
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from dgemma_engine.wire import package_version

        print(f"dgemma-lsp {package_version()}")
        raise typer.Exit


@app.callback()
def dgemma_lsp(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Edit code in place with a bidirectional diffusion model."""


def main() -> None:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Source text may hold what the terminal's encoding cannot.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        details = getattr(error, "details", "")
        if details:
            # A bug of the engine, not a mistake of the user.
            print(details, file=sys.stderr)
        sys.exit(1 if details else 2)
    except KeyboardInterrupt:
        # What a shell makes of SIGINT. Newer versions of typer do this themselves.
        sys.exit(130)


if __name__ == "__main__":
    main()
