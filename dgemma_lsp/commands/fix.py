"""`dgemma-lsp fix`: what is unclosed in json, jsonc and markdown files, closed."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from dgemma_lsp.commands.options import EnginePythonOption, JsonOption, ModelOption
from dgemma_lsp.errors import UserError

if TYPE_CHECKING:
    from dgemma_lsp.fixing import Examined, Scores
    from dgemma_lsp.syntax.repair.diagnosis import Candidate
    from dgemma_lsp.walk import Found, Left


@attrs.frozen
class Fixed:
    """A file with something wrong, what would mend it when that is clear, and whether that was written."""

    examined: Examined
    winner: Candidate | None
    written: bool = False
    problem: str = ""


def fix(
    paths: Annotated[list[Path], typer.Argument(readable=False, show_default=False, help="Files and folders.")],
    check: Annotated[bool, typer.Option("--check", help="Only say which files would be repaired.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Repair the files.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show the repairs as a diff; the default without --check and --write.")
    ] = False,
    as_json: JsonOption = False,
    engine: Annotated[
        bool, typer.Option("--engine", help="Ask the engine where formatting alone cannot decide; it is started.")
    ] = False,
    model: ModelOption = None,
    engine_python: EnginePythonOption = None,
) -> None:
    """Close what is unclosed in json, jsonc and markdown files, where it is clear how.

    Exit code 0: nothing is wrong, or everything was repaired; 1: something would be repaired, or cannot be; 2: a file
    could not be read or written.
    """
    if check and write:
        raise UserError("--check and --write exclude each other; leave one of them out")
    from dgemma_lsp.default_model import model_for
    from dgemma_lsp.walk import Left

    named = model_for(model) if engine else ""
    found, left = _files(paths)
    checked = len(found)
    with contextlib.ExitStack() as stack:
        scores = _engine(stack, engine_python) if engine else None
        results = []
        for examined in _examined(found, quiet=as_json):
            if examined.problem or not examined.diagnosis.clean:
                results.append(_fixed(examined, scores, named, write))
            elif examined.diagnosis.reason:
                checked -= 1
                left.append(Left(examined.found.path, f"was not checked: {examined.diagnosis.reason}"))
    errors = [one for one in results if one.problem]
    faulty = [one for one in results if not one.problem]
    if as_json:
        print(json.dumps(_plain(checked, results, left)))
    else:
        for one in faulty:
            _print(one, diff or not (check or write))
        _summarise(checked, faulty, errors, left, write)
    if errors or any(one.wrong for one in left):
        raise typer.Exit(2)
    if any(not one.written for one in faulty):
        raise typer.Exit(1)


def _files(paths: Iterable[Path]) -> tuple[list[Found], list[Left]]:
    from dgemma_lsp.config import read_settings, read_user_file, user_file
    from dgemma_lsp.syntax.repair import REPAIRED
    from dgemma_lsp.walk import Found, Walk

    user, _ = read_user_file(user_file())
    settings = read_settings(("user", user)).settings
    met = list(Walk(REPAIRED, settings.secret_files).files(paths))
    files = [one for one in met if isinstance(one, Found)]
    return files, [one for one in met if not isinstance(one, Found)]


def _engine(stack: contextlib.ExitStack, python: str | None) -> Scores:
    from dgemma_lsp.engine_client.blocking import BlockingEngine

    return stack.enter_context(BlockingEngine(python, name="fix"))


def _examined(files: Sequence[Found], quiet: bool) -> Iterator[Examined]:
    """The files as they are looked at, with a progress bar on a terminal."""
    from dgemma_lsp.fixing import examine_all

    if quiet or len(files) < 2 or not sys.stderr.isatty():
        yield from examine_all(files)
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(examine_all(files), "looking at files", len(files), console=console, transient=True)


def _fixed(examined: Examined, scores: Scores | None, model: str, write: bool) -> Fixed:
    from dgemma_lsp.files import FileError, write_source
    from dgemma_lsp.fixing import decide
    from dgemma_lsp.text.edits import apply_edits

    if examined.problem:
        return Fixed(examined, None, problem=examined.problem)
    winner, source = decide(examined, scores, model), examined.source
    if winner is None or source is None or not write:
        return Fixed(examined, winner)
    try:
        write_source(source, apply_edits(source.text, winner.edits))
    except FileError as error:
        return Fixed(examined, winner, problem=str(error))
    return Fixed(examined, winner, written=True)


def _print(one: Fixed, with_diff: bool) -> None:
    """The faults of a file as compilers print them, and what is done about them; `patch` reads over that."""
    from dgemma_lsp.files import shown
    from dgemma_lsp.terminal import glyphs

    name = shown(one.examined.found.path)
    for fault in _faults(one.examined):
        print(f"{name}:{fault['line']}:{fault['column']}: {glyphs(fault['message'])}")
    if one.winner is None:
        print(f"{name}: left alone: {_reason(one.examined)}")
    elif with_diff:
        _print_diff(one)
    else:
        print(f"{name}: {'repaired' if one.written else 'would be repaired'}")


def _print_diff(one: Fixed) -> None:
    from dgemma_lsp.files import shown
    from dgemma_lsp.text.hunks import edits_diff

    source = one.examined.source
    if source is None or one.winner is None:
        return
    lines = edits_diff(shown(source.path), source.text, one.winner.edits)
    if sys.stdout.isatty():
        from rich.console import Console

        from dgemma_lsp.terminal import print_diff

        print_diff(Console(), lines)
    else:
        # As it is, so that `patch` can apply it.
        sys.stdout.flush()
        sys.stdout.buffer.write("".join(lines).encode())
        sys.stdout.buffer.flush()


def _summarise(files: int, faulty: Sequence[Fixed], errors: Sequence[Fixed], left: Sequence[Left], write: bool) -> None:
    from dgemma_lsp.walk import message

    for one in left:
        _note(f"{'error: ' if one.wrong else 'left alone: '}{message(one)}")
    for one in errors:
        _note(f"error: {one.problem}")
    mended = sum(one.winner is not None for one in faulty)
    unclear = len(faulty) - mended
    parts = [
        f"{mended} {'repaired' if write else 'would be repaired'}" if mended else "",
        f"{unclear} broken and left alone" if unclear else "",
        f"{len(errors)} unreadable" if errors else "",
        f"{files - len(faulty) - len(errors)} in order",
    ]
    _note(f"{files} file{'s' * (files != 1)}: {', '.join(filter(None, parts))}" if files else "no files to look at")


def _plain(files: int, results: Sequence[Fixed], left: Sequence[Left]) -> dict[str, Any]:
    """For programs; lines and columns from 1, columns in characters."""
    return {
        "files": files,
        "faulty": [_plain_file(one) for one in results if not one.problem],
        "errors": [
            *({"path": str(one.examined.found.path), "message": one.problem} for one in results if one.problem),
            *({"path": str(one.path), "message": f"{one.path} {one.why}"} for one in left if one.wrong),
        ],
        "left": [{"path": str(one.path), "message": f"{one.path} {one.why}"} for one in left if not one.wrong],
    }


def _plain_file(one: Fixed) -> dict[str, Any]:
    edits = one.winner.edits if one.winner else ()
    places = _places(one.examined, [offset for edit in edits for offset in (edit.start, edit.end)])
    return {
        "path": str(one.examined.found.path),
        "language": one.examined.found.language,
        "faults": _faults(one.examined),
        "edits": [
            {"start": start, "end": end, "text": edit.text}
            for start, end, edit in zip(places[::2], places[1::2], edits, strict=True)
        ],
        "reason": "" if one.winner else _reason(one.examined),
        "candidates": len(one.examined.diagnosis.candidates),
        "written": one.written,
    }


def _faults(examined: Examined) -> list[dict[str, Any]]:
    faults = examined.diagnosis.faults
    places = _places(examined, [fault.start for fault in faults])
    return [{**place, "message": fault.message} for place, fault in zip(places, faults, strict=True)]


def _places(examined: Examined, offsets: Sequence[int]) -> list[dict[str, int]]:
    from dgemma_lsp.text.document import Document, Encoding

    if examined.source is None:
        return []
    document = Document.opened("", "", 0, examined.source.text, Encoding.UTF_32)
    found = [document.position_at(offset) for offset in offsets]
    return [{"line": one.line + 1, "column": one.character + 1} for one in found]


def _reason(examined: Examined) -> str:
    return examined.diagnosis.reason or "more than one repair is likely"


def _note(line: str) -> None:
    """One line for the person at the terminal, out of a program's way."""
    print(line, file=sys.stderr, flush=True)
