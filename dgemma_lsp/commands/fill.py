"""`dgemma-lsp fill`: one hole in one file."""

from __future__ import annotations

import contextlib
import enum
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgemma_lsp.commands.options import EnginePythonOption, JsonOption, ModelOption
from dgemma_lsp.commands.places import offset_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from dgemma_engine.wire import Draft, Filled, MaskedText
    from dgemma_lsp.files import SourceFile
    from dgemma_lsp.text.masked import Infill

POINT_TOKENS = 16
"""Size of a hole that replaces nothing."""

MAX_TOKENS = 4096
MAX_SEED = 2**31 - 1


class Length(str, enum.Enum):
    """How much of a hole is used; the values are the wire's."""

    auto = "auto"
    elastic = "elastic"
    probe = "probe"
    exact = "exact"


def fill(
    path: Annotated[Path, typer.Argument(readable=False, show_default=False, help="The file.")],
    at: Annotated[str, typer.Option(metavar="LINE:COL", help="Where; both from 1, columns in characters.")],
    until: Annotated[
        str | None,
        typer.Option(metavar="LINE:COL", help="Replace the text from --at up to here."),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_TOKENS,
            help=f"Size of the hole; by default {POINT_TOKENS}, with --until by the length of the text.",
        ),
    ] = None,
    passes: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Most denoising passes; by default the model's own number."),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(min=1, metavar="MS", help="Take the best so far after this long, loading not counted."),
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, max=64, help="How many fills to choose from.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="The same seed fills the same; by default a random one."),
    ] = None,
    length: Annotated[Length, typer.Option(help="How the length of the text is found.")] = Length.auto,
    model: ModelOption = None,
    write: Annotated[bool, typer.Option("--write", help="Change the file.")] = False,
    as_json: JsonOption = False,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="OUT.html", readable=False, help="Write a page that shows the fill pass by pass."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each pass as a line on stderr.")] = False,
    engine_python: EnginePythonOption = None,
) -> None:
    """Fill a hole in a file and show the change as a diff."""
    from rich.console import Console

    from dgemma_lsp import files
    from dgemma_lsp.commands import trace_file
    from dgemma_lsp.default_model import model_for
    from dgemma_lsp.text import hunks

    model = model_for(model)
    source = files.read_source(path)
    hole = _hole(source, at, until, max_tokens)
    if trace is not None:
        trace_file.check(trace, path)
    seed = random.randrange(MAX_SEED) if seed is None else seed
    console = Console() if sys.stdout.isatty() and not as_json else None
    drafts: list[Draft] | None = None if trace is None else []
    filled = _run(
        console,
        verbose,
        drafts,
        engine_python,
        text=hole.text,
        model=model,
        passes=passes,
        deadline_ms=deadline,
        candidates=candidates,
        seed=seed,
        length=length.value,
    )
    texts = [hole.replacement(candidate.texts[0]) for candidate in filled.candidates]
    if trace is not None and drafts is not None:
        before, after = source.text[: hole.start], source.text[hole.end :]
        trace_file.write(trace, f"{files.shown(path)} {at}", before, after, drafts, filled, texts)
        note(f"{files.shown(trace)} written; open it in a browser")
    diff = hunks.unified_diff(files.shown(path), source.text, hole.start, hole.end, texts[0])
    if write and diff:
        files.write_source(source, hunks.replaced(source.text, hole.start, hole.end, texts[0]))
    if as_json:
        places = {"path": str(path), "at": at, "until": until}
        print(json.dumps({**places, **_answer(filled, texts), "model": model, "seed": seed}))
    elif not diff:
        note("nothing to change: the model leaves this place as it is; try another --seed or --max-tokens")
    elif console is None:
        # As it is, so that `patch` can apply it.
        sys.stdout.buffer.write("".join(diff).encode())
    else:
        _show(console, diff, filled, f"seed {seed}")
    if write and diff and not as_json:
        note(f"{files.shown(path)} written")


def _hole(source: SourceFile, at: str, until: str | None, max_tokens: int | None) -> Infill:
    from dgemma_lsp.files import FileError, shown
    from dgemma_lsp.text.lines import PositionError
    from dgemma_lsp.text.masked import hole_tokens, infill

    start = offset_of(source, "--at", at)
    end = start if until is None else offset_of(source, "--until", until)
    if end < start:
        raise PositionError(f"--until {until} lies before --at {at}; swap them")
    if not source.text:
        raise FileError(
            f"{shown(source.path)} is empty, so there is nothing to fill from; "
            "write a first line, such as a comment or an import, and fill after it"
        )
    if (start, end) == (0, len(source.text)):
        raise PositionError(f"--at {at} --until {until} is the whole file; leave some text to fill from")
    if max_tokens is None:
        max_tokens = hole_tokens(source.text[start:end]) if end > start else POINT_TOKENS
    if max_tokens > MAX_TOKENS:
        raise PositionError(
            f"between {at} and {until} are {end - start} characters, too many for one fill; "
            f"choose a smaller part or give --max-tokens, at most {MAX_TOKENS}"
        )
    return infill(source.text, start, end, max_tokens)


def _run(
    console: Console | None,
    verbose: bool,
    drafts: list[Draft] | None,
    engine_python: str | None,
    *,
    text: MaskedText,
    **options: Any,
) -> Filled:
    """The fill: told on stderr, animated on `console`, or silent; its trace in `drafts`."""
    from dgemma_lsp.engine_client.blocking import BlockingEngine

    with contextlib.ExitStack() as stack:
        on_drafts, on_progress = [], None
        if drafts is not None:
            on_drafts.append(drafts.append)
        if verbose:
            from dgemma_lsp.terminal import trace_line

            on_drafts.append(lambda draft: note(trace_line(draft)))
        elif console is not None and not console.is_dumb_terminal:
            from dgemma_lsp.terminal import CanvasView

            view = stack.enter_context(CanvasView(console, text))
            on_progress = view.progress
            if drafts is None:
                # A trace has the drafts of every canvas that is tried, which is for the page to sort out.
                on_drafts.append(view.draft)

        def on_draft(draft: Draft) -> None:
            for follow in on_drafts:
                follow(draft)

        engine = stack.enter_context(BlockingEngine(engine_python, name="fill"))
        return engine.fill(
            text,
            trace=drafts is not None,
            on_draft=on_draft if on_drafts else None,
            on_progress=on_progress,
            **options,
        )


def _answer(filled: Filled, texts: Sequence[str]) -> dict[str, Any]:
    candidates = [
        {"text": text, "score": candidate.score, "passes": candidate.passes, "finish": candidate.finish}
        for text, candidate in zip(texts, filled.candidates, strict=True)
    ]
    return {"candidates": candidates, "text": texts[0], "ms": filled.ms, "tokens": filled.tokens}


def _show(console: Console, diff: Sequence[str], filled: Filled, remark: str) -> None:
    from dgemma_lsp.terminal import print_diff, print_summary

    print_diff(console, diff)
    print_summary(console, filled, remark)


def note(line: str) -> None:
    """One line for the person at the terminal, out of a program's way."""
    print(line, file=sys.stderr, flush=True)
