"""The command `dgemma.rewrite`: a selection written anew as an instruction says, in hunks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.protocol import default_converter

from dgemma_engine import wire
from dgemma_lsp.text.document import Document

from ..app import Server
from ..bugs import log_bug
from ..documents import file_name, position, range_of
from ..outcomes import OUTCOMES, Outcome
from ..progress import shown
from ..rewriting import Rewritten, Wish
from .editing import text_edits, workspace_edit

COMMAND = "dgemma.rewrite"

MOST_PROBLEMS = 20
MOST_PROBLEM = 500
"""Characters."""

_converter = functools.cache(default_converter)
"""Made when it is first needed: that takes a while."""


@attrs.frozen
class Arguments:
    """The command's one argument: a selection and what to do with it, or an earlier preview and which hunks to apply.

    Without a version the document is taken as it is.
    """

    uri: str = ""
    version: int | None = None
    place: types.Range | None = None
    instruction: str = ""
    problems: tuple[str, ...] = ()
    apply: bool = True
    preview: int | None = None
    hunks: tuple[int, ...] | None = None

    @classmethod
    def read(cls, given: Any) -> Arguments:
        """Raises `JsonRpcInvalidParams` that names what does not fit."""
        if not isinstance(given, Mapping):
            raise JsonRpcInvalidParams(message=f"{COMMAND} takes one object")
        if "preview" in given:
            return cls(preview=_read(given, "preview", int), hunks=_numbers(given), apply=True)
        named = _read(given, "textDocument", Mapping)
        return cls(
            uri=_read(named, "uri", str),
            version=_read(named, "version", int, None),
            place=_range(_read(given, "range", Mapping)),
            instruction=_read(given, "instruction", str),
            problems=tuple(text[:MOST_PROBLEM] for text in _texts(given, "problems")[:MOST_PROBLEMS]),
            apply=_read(given, "apply", bool, True),
        )


async def rewrite(server: Server, argument: Any) -> dict[str, Any]:
    """Rewrite, and have the editor apply it; or with `apply: false` answer the hunks, for a later call to apply."""
    asked = Arguments.read(argument)
    if asked.preview is not None:
        return await _apply_preview(server, asked.preview, asked.hunks)
    document = server.documents.get(asked.uri)
    if document is None:
        raise JsonRpcInvalidParams(message=OUTCOMES["not-open"])
    assert asked.place is not None
    wish = _wish(server, document, asked.place, asked)
    outcome = _outcome(document, wish.start)
    try:
        if asked.version not in (None, document.version):
            outcome.end("stale")
            return _answer(server, outcome, None)
        work = server.rewriter.rewrite(wish, server.settings, outcome)
        rewritten = await shown(server, "DGemma: rewriting", server.client.progress, work)
        if rewritten is None:
            return _answer(server, outcome, None)
        if asked.apply:
            await _applied(server, rewritten, None, outcome)
        else:
            server.rewriter.keep(rewritten)
            outcome.end("previewed")
        return _answer(server, outcome, rewritten)
    except Exception as error:
        log_bug(error)
        outcome.end("error")
        return _answer(server, outcome, None)
    finally:
        outcome.end("cancelled")
        server.outcomes.add(outcome)


async def _apply_preview(server: Server, id_: int, numbers: tuple[int, ...] | None) -> dict[str, Any]:
    rewritten = server.rewriter.preview(id_)
    outcome = Outcome(COMMAND, "", 1, 1, "invoked")
    if rewritten is None:
        outcome.end("stale")
    elif numbers and not 0 <= min(numbers) <= max(numbers) < len(rewritten.hunks):
        raise JsonRpcInvalidParams(message=f"the preview has the hunks 0 to {len(rewritten.hunks) - 1}")
    else:
        outcome = _outcome(rewritten.document, rewritten.start)
        await _applied(server, rewritten, numbers, outcome)
    server.outcomes.add(outcome)
    return _answer(server, outcome, rewritten)


async def _applied(server: Server, rewritten: Rewritten, numbers: tuple[int, ...] | None, outcome: Outcome) -> None:
    edit = workspace_edit(server, rewritten.document, rewritten.edits(numbers))
    try:
        params = types.ApplyWorkspaceEditParams(edit, label="DGemma: rewrite")
        applied = (await server.workspace_apply_edit_async(params)).applied
    except JsonRpcException:
        applied = False
    outcome.end("applied" if applied else "stale")


def _answer(server: Server, outcome: Outcome, rewritten: Rewritten | None) -> dict[str, Any]:
    explained = outcome.explained()
    applied = outcome.outcome == "applied"
    if not applied and outcome.outcome != "previewed":
        server.say(types.MessageType.Info, explained["message"])
    answer = {**explained, "applied": applied, "hunks": []}
    if rewritten is None:
        return answer
    document = rewritten.document
    hunks = [
        {
            "range": plain(range_of(document, hunk.start, hunk.end)),
            "newText": hunk.text,
            "edits": [plain(edit) for edit in text_edits(document, hunk.edits)],
        }
        for hunk in rewritten.hunks
    ]
    return {**answer, "preview": rewritten.id, "version": document.version, "hunks": hunks}


def _wish(server: Server, document: Document, place: types.Range, asked: Arguments) -> Wish:
    """The selection, with its ends in order; a character that it cuts in two is not in it."""
    ends = sorted((place.start, place.end), key=lambda end: (end.line, end.character))
    start, end = (document.offset_at(position(at)) for at in ends)
    if _inside_character(document, start, ends[0]):
        start += 1
    sender = _draft_sender(server) if server.client.rewrite_drafts else None
    return Wish(document, start, max(start, end), asked.instruction, asked.problems, sender)


def _inside_character(document: Document, offset: int, place: types.Position) -> bool:
    """Whether an offset was read from a place inside of the character that begins there."""
    counted = document.position_at(offset)
    on_line = counted.line == place.line and offset < document.line_range(counted.line)[1]
    return on_line and counted.character < place.character


def _draft_sender(server: Server) -> Callable[[wire.Draft], None]:
    id_ = server.protocol.msg_id

    def send(draft: wire.Draft) -> None:
        server.protocol.notify("dgemma/draft", {"id": id_, "pass": draft.pass_index, "text": draft.texts[0]})

    return send


def _outcome(document: Document, offset: int) -> Outcome:
    line = document.line_at(offset)
    column = offset - document.line_range(line)[0]
    return Outcome(COMMAND, file_name(document.uri), line + 1, column + 1, "invoked")


_REQUIRED = object()


def _read(given: Mapping[str, Any], key: str, kind: type, default: Any = _REQUIRED) -> Any:
    value = given.get(key)
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise JsonRpcInvalidParams(message=f"{COMMAND}: {key} does not fit")
    return value


def _range(given: Any) -> types.Range:
    try:
        return _converter().structure(given, types.Range)
    except Exception:
        raise JsonRpcInvalidParams(message=f"{COMMAND}: range does not fit") from None


def _texts(given: Mapping[str, Any], key: str) -> list[str]:
    found = given.get(key) or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise JsonRpcInvalidParams(message=f"{COMMAND}: {key} does not fit")
    return found


def _numbers(given: Mapping[str, Any]) -> tuple[int, ...] | None:
    found = given.get("hunks")
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in found):
        raise JsonRpcInvalidParams(message=f"{COMMAND}: hunks does not fit")
    return tuple(found)


def plain(value: Any) -> Any:
    """A value of the protocol as JSON has it."""
    return _converter().unstructure(value)
