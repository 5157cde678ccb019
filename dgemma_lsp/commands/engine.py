"""`dgemma-lsp engine`: the daemon that keeps the models in memory."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from dgemma_lsp.commands.options import EnginePythonOption, JsonOption, ModelOption

FINISH = 40.0
"""Seconds `stop` waits for a daemon to finish what runs: more than it takes for that."""

app = typer.Typer(help="The daemon that keeps the models in memory.", no_args_is_help=True)


@app.command()
def start(
    model: ModelOption = None,
    idle: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Unload it when it was not used for this long; 0 keeps it."),
    ] = None,
    as_json: JsonOption = False,
    engine_python: EnginePythonOption = None,
) -> None:
    """Start the engine, unless it runs, and load a model."""
    from dgemma_lsp.default_model import model_for
    from dgemma_lsp.engine_client.blocking import BlockingEngine
    from dgemma_lsp.engine_client.start import find_interpreter
    from dgemma_lsp.terminal import LoadingView

    begun = time.monotonic()
    with LoadingView(silent=as_json) as view, BlockingEngine(engine_python, name="start", idle_s=idle) as engine:
        leased = engine.lease(model_for(model), idle_s=idle, on_progress=view.progress)
        report = engine.status()
    ms = (time.monotonic() - begun) * 1000
    if as_json:
        print(json.dumps({"pid": report.pid, "python": report.python, "model": leased.model, "ms": ms}))
    else:
        print(f"the engine runs (pid {report.pid}), {leased.model} is loaded ({ms:.0f} ms)")
    if engine_python is not None and not find_interpreter(engine_python).samefile(report.python):
        print(f"it was running already, in {report.python}; stop it to have it started in another", file=sys.stderr)


@app.command()
def stop(
    force: Annotated[bool, typer.Option("--force", help="Kill it; for one that does not answer.")] = False,
) -> None:
    """End the engine after what it is doing; the next request starts another."""
    from dgemma_lsp.engine_client.dial import endpoint
    from dgemma_lsp.engine_client.stop import kill_daemon, wait_for_end

    if force:
        pid = kill_daemon(endpoint())
        print("no engine is running" if pid is None else f"the engine (pid {pid}) is killed")
        return
    from dgemma_lsp.engine_client.blocking import BlockingEngine

    with BlockingEngine(name="stop", start=False) as engine:
        pid = engine.shutdown()
    if pid is None:
        print("no engine is running")
    elif wait_for_end(pid, FINISH):
        print(f"the engine (pid {pid}) has ended")
    else:
        print(f"the engine (pid {pid}) leaves when it has finished what it does")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show what the engine has loaded and does; exit code 1 when none runs."""
    import attrs

    from dgemma_lsp.engine_client.blocking import BlockingEngine
    from dgemma_lsp.engine_client.errors import EngineLeft, EngineNotRunning

    try:
        with BlockingEngine(name="status", start=False) as engine:
            report = engine.status()
    except (EngineNotRunning, EngineLeft):
        print(json.dumps({"running": False}) if as_json else "no engine is running; the next request starts one")
        raise typer.Exit(1) from None
    if as_json:
        plain = attrs.asdict(report, filter=lambda field, _: field.name != "id")
        print(json.dumps({"running": True, **plain}))
        return
    from dgemma_lsp.engine_report import table

    print(table(report))


@app.command()
def logs(
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written.")] = False,
    path: Annotated[bool, typer.Option("--path", help="Print where the log is.")] = False,
) -> None:
    """Show the engine's log. It holds no source text."""
    from dgemma_engine.wire import log_file
    from dgemma_lsp.engine_client import log as engine_log
    from dgemma_lsp.terminal import glyphs

    file = log_file()
    if path:
        print(file)
        return
    if not follow and not file.exists():
        print(f"there is no log yet; an engine writes {file} when it starts", file=sys.stderr)
        raise typer.Exit(1)
    for line in engine_log.followed(file, lines) if follow else engine_log.last(file, lines):
        print(glyphs(line), flush=follow)
