"""The command line: `dgemma-lsp [COMMAND]`. A user's error ends in one line on stderr and exit code 2.

Without a command it is the language server, as editors start it; a person at a terminal gets the help instead.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from dgemma_lsp.commands import bench, doctor, engine, fill, model, serve
from dgemma_lsp.errors import UserError

app = typer.Typer(
    name="dgemma-lsp",
    add_completion=False,
    # A bug shows as Python's own traceback: the decorated one prints locals, which hold source text.
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(fill.fill)
app.add_typer(engine.app, name="engine")
app.add_typer(model.app, name="model")
app.command()(doctor.doctor)
app.add_typer(bench.app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        from dgemma_engine.wire import package_version

        print(f"dgemma-lsp {package_version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def dgemma_lsp(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
    stdio: Annotated[bool, typer.Option("--stdio", hidden=True, help="What editors say to a server.")] = False,
) -> None:
    """Edit code in place with a bidirectional diffusion model. Without a command: the language server on stdio."""
    if context.invoked_subcommand is None:
        if sys.stdin.isatty() and not stdio:
            print(context.get_help())
            raise typer.Exit
        serve.serve()


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
