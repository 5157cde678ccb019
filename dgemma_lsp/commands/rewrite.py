"""`dgemma-lsp rewrite`: a part of a file written anew, as somebody says."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgemma_lsp.commands.fill import note
from dgemma_lsp.commands.options import EnginePythonOption, JsonOption, ModelOption
from dgemma_lsp.commands.places import range_of
from dgemma_lsp.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from dgemma_lsp.files import SourceFile
    from dgemma_lsp.server.outcomes import Outcome
    from dgemma_lsp.server.rewriting import Rewritten


def rewrite(
    path: Annotated[Path, typer.Argument(readable=False, show_default=False, help="The file.")],
    selection: Annotated[
        str, typer.Option("--range", metavar="LINE:COL-LINE:COL", help="What is rewritten; all from 1, in characters.")
    ],
    instruction: Annotated[str, typer.Option(metavar="TEXT", help="What is to be done with it.")],
    noise: Annotated[
        float, typer.Option(min=0.01, max=1, help="How much of it is forgotten first: 1 all, less keeps closer to it.")
    ] = 1.0,
    passes: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Most denoising passes; by default the model's own number.")
    ] = None,
    model: ModelOption = None,
    write: Annotated[bool, typer.Option("--write", help="Change the file.")] = False,
    as_json: JsonOption = False,
    engine_python: EnginePythonOption = None,
) -> None:
    """Rewrite a part of a file and show the change as a diff.

    Exit code 0: it was rewritten, or is as it should be; 1: there is no result, and it says why; 2: the file, the range
    or the model is not there.
    """
    from rich.console import Console

    from dgemma_lsp import files
    from dgemma_lsp.text.hunks import edits_diff

    source = files.read_source(path)
    start, end = range_of(source, "--range", selection)
    console = Console() if sys.stdout.isatty() and not as_json else None
    rewritten, outcome = _run(
        console, engine_python, source, start, end, instruction, noise=noise, passes=passes, model=model
    )
    explained = outcome.explained()
    edits = rewritten.edits() if rewritten else []
    if write and rewritten:
        from dgemma_lsp.text.edits import apply_edits

        files.write_source(source, apply_edits(source.text, edits))
    if as_json:
        hunks = [
            {"start": hunk.start, "end": hunk.end, "text": hunk.text} for hunk in (rewritten.hunks if rewritten else ())
        ]
        told = {name: explained[name] for name in ("outcome", "message", "passes", "ms")}
        print(
            json.dumps(
                {"path": str(path), "range": selection, "written": bool(write and edits), **told, "hunks": hunks}
            )
        )
    else:
        _show(console, edits_diff(files.shown(path), source.text, edits))
        if rewritten is None:
            note(explained["message"])
        elif write:
            note(f"{files.shown(path)} written")
    if rewritten is None and outcome.outcome != "unchanged":
        raise typer.Exit(1)


def _run(
    console: Console | None,
    engine_python: str | None,
    source: SourceFile,
    start: int,
    end: int,
    instruction: str,
    **options: Any,
) -> tuple[Rewritten | None, Outcome]:
    """The rewriting that an editor's server does, for a file."""
    from dgemma_lsp.engine_client.blocking import BlockingEngine
    from dgemma_lsp.server.engine_life import EngineLife
    from dgemma_lsp.server.outcomes import Outcome
    from dgemma_lsp.server.rewriting import Rewriter, Wish
    from dgemma_lsp.syntax.languages import language_of_file
    from dgemma_lsp.syntax.trees import Trees
    from dgemma_lsp.text.document import Document

    settings = _settings(**options)
    document = Document.opened(source.path.resolve().as_uri(), language_of_file(str(source.path)) or "", 1, source.text)
    outcome = Outcome("rewrite", source.path.name, 1, 1, "invoked")
    with contextlib.ExitStack() as stack:
        draft = None
        if console is not None and not console.is_dumb_terminal:
            from dgemma_lsp.terminal import CanvasView
            from dgemma_lsp.text.masked import infill

            draft = stack.enter_context(CanvasView(console, infill(source.text, start, end, 1).text)).draft
        engine = stack.enter_context(BlockingEngine(engine_python, name="rewrite"))
        life = EngineLife(engine.client, settings.model, settings.idle_unload, lambda _: None, lambda _: None)
        rewriter = Rewriter(life, Trees(), lambda _: document)
        wish = Wish(document, start, end, instruction, on_draft=draft)

        async def rewriting() -> Rewritten | None:
            try:
                return await rewriter.rewrite(wish, settings, outcome)
            finally:
                await life.close()

        rewritten = engine.run(rewriting())
    if rewritten is not None:
        outcome.end("previewed")
    elif outcome.outcome == "engine-down":
        raise UserError(outcome.detail)
    return rewritten, outcome


def _settings(*, noise: float, passes: int | None, model: str | None) -> Any:
    import attrs

    from dgemma_lsp.config import read_settings, read_user_file, user_file
    from dgemma_lsp.default_model import model_for

    user, _ = read_user_file(user_file())
    settings = read_settings((str(user_file()), user)).settings
    return attrs.evolve(settings, rewrite_noise=noise, passes=passes or settings.passes, model=model_for(model))


def _show(console: Console | None, diff: list[str]) -> None:
    if console is None:
        # As it is, so that `patch` can apply it.
        sys.stdout.buffer.write("".join(diff).encode())
    else:
        from dgemma_lsp.terminal import print_diff

        print_diff(console, diff)
