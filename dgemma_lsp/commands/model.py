"""`dgemma-lsp model`: the models there are, and the one that is used."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgemma_lsp.commands.options import EnginePythonOption, JsonOption
from dgemma_lsp.errors import UserError

if TYPE_CHECKING:
    from dgemma_lsp.hub import Found


class Smaller(str, Enum):
    """What experts can be quantised to."""

    int4 = "int4"
    fp8 = "fp8"


app = typer.Typer(help="The models that can be used.", no_args_is_help=True)


@app.callback()
def model() -> None:
    """The models that can be used."""


@app.command("list")
def list_models(as_json: JsonOption = False, engine_python: EnginePythonOption = None) -> None:
    """List the models that are here: the bundled one, what was downloaded, and what `use` chose."""
    from dgemma_lsp import hub, models

    found, problem = hub.listed(engine_python)
    if as_json:
        print(json.dumps(found))
        return
    width = max(len(one["name"]) for one in found)
    for one in found:
        used = "in use" if one["chosen"] else ""
        where = one["problem"] or one["folder"]
        print(f"{one['name']:<{width}}  {models.megabytes(one['bytes']):>9}  {used:<6}  {where}")
    if problem:
        print(f"what was downloaded is not listed: {problem}", file=sys.stderr)


@app.command()
def use(
    name: Annotated[
        str, typer.Argument(show_default=False, help="nano, a folder, or a hub id; maybe with @bf16, @fp8 or @int4.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Download without being asked.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Get the newest revision of what is here already.")] = False,
    as_json: JsonOption = False,
    engine_python: EnginePythonOption = None,
) -> None:
    """Choose the model for every command and editor, and download it first where it is a hub id.

    What is here already is used as it is, without a network. A download that was interrupted goes on when this is
    called again; HF_TOKEN is the token for gated and private models, HF_HOME where downloads are kept.
    """
    from dgemma_lsp import hub
    from dgemma_lsp.default_model import BUNDLED

    chosen = hub.Choosing(name, engine_python)
    if chosen.name == BUNDLED:
        # The way back is open whatever is wrong with the engine.
        chosen.remember()
    checked = None if update else chosen.check_here()
    if checked is None:
        found = chosen.look()
        if found.missing:
            _agree(found, yes, as_json)
        _fetch(chosen, found, quiet=as_json)
        checked = chosen.check()
    chosen.remember()
    if as_json:
        print(json.dumps(checked))
        return
    adapter = f", with the adapter {checked['adapter']}" if checked["adapter"] else ""
    print(f"{chosen.name} is whole ({checked['folder']}{adapter})")
    _say_fit(checked)
    print(f"{chosen.name} is used from now on; editors take it up when their server starts again")


@app.command()
def quantize(
    name: Annotated[str, typer.Argument(show_default=False, help="A folder, or the hub id of what was downloaded.")],
    precision: Annotated[Smaller, typer.Option(help="Of the experts; dense layers get 8 bits.")] = Smaller.int4,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="An empty folder; by default the cache that NAME@int4 looks in."),
    ] = None,
    as_json: JsonOption = False,
    engine_python: EnginePythonOption = None,
) -> None:
    """Quantise a model once for all, in the layout of compressed-tensors.

    Without this a model named with @int4 or @fp8 is quantised each time it is loaded, from files three times the size.
    """
    from dgemma_lsp.engine_client import resolve_model
    from dgemma_lsp.models import megabytes
    from dgemma_lsp.quantizing import quantized

    target = None if out is None else out.absolute()
    events = quantized(resolve_model(name), precision.value, target, engine_python)
    layers, last = [], {}
    with _bar("quantizing", quiet=as_json) as update:
        for event in events:
            if event["event"] == "progress":
                update(event["fraction"])
            elif event["event"] == "layer":
                layers.append(event)
            else:
                last = event
    if as_json:
        print(json.dumps({**last, "layers": layers}))
        return
    print("layer  error of gate and up  of down  of dense layers")
    for layer in layers:
        print(f"{layer['layer']:>5}  {layer['gate_up']:>20.4f}  {layer['down']:.4f}  {layer['dense']:>15.4f}")
    print(f"{megabytes(last['bytes'])} of {megabytes(last['source_bytes'])}, in {last['folder']}")
    if out is None:
        print(f"{name}@{precision.value} loads it from now on")


def _agree(found: Found, yes: bool, quiet: bool) -> None:
    from dgemma_lsp.models import megabytes

    if not quiet:
        gated = "; gated: its licence has to be accepted on its page" if found.gated else ""
        print(f"{found.hub_id}: licence {found.licence}{gated}")
        rest = f", {megabytes(found.missing)} of them still to come" if found.missing < found.size else ""
        print(f"{megabytes(found.size)} into {found.place}{rest}")
        if found.fit is not None:
            _say_fit(found.fit)
    if yes:
        return
    if quiet or not sys.stdin.isatty():
        raise UserError(
            f"{found.hub_id} is {megabytes(found.missing)} to download, under the licence {found.licence}: say --yes"
        )
    if not typer.confirm("Download it?"):
        raise typer.Exit(1)


def _fetch(chosen: Any, found: Found, quiet: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, transient=True) as progress:
        task = progress.add_task("", total=found.size)
        try:
            for event in chosen.fetch(found):
                progress.update(task, completed=event["done"], description=event["file"])
        except KeyboardInterrupt:
            progress.stop()
            print("interrupted; what came is kept, the same command goes on with it", file=sys.stderr)
            raise


@contextmanager
def _bar(what: str, quiet: bool) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, where that is a terminal; yields what moves it to a share."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)


def _say_fit(fit: dict[str, Any]) -> None:
    where = "GPU" if fit["device"] != "cpu" else "machine"
    if fit["fits"]:
        print(f"on this {where} it runs in {fit['reason']}")
    else:
        print(f"warning: it does not fit on this {where} now: {fit['reason']}", file=sys.stderr)
