"""Repairs of a document: on save, as a quick fix of what a diagnostic names, and as `source.fixAll`."""

from __future__ import annotations

import asyncio

from lsprotocol import types

from dgemma_lsp.syntax.repair.diagnosis import Candidate, Diagnosis
from dgemma_lsp.text.document import Document
from dgemma_lsp.text.edits import Edit

from ..app import Server
from ..bugs import log_bug
from ..diagnostics import diagnostic_of
from ..documents import file_name, position
from ..outcomes import Outcome
from ..repairing import repaired_language
from .editing import text_edits, workspace_edit

QUICK_FIX = f"{types.CodeActionKind.QuickFix.value}.dgemma"
FIX_ALL = f"{types.CodeActionKind.SourceFixAll.value}.dgemma"

PATIENCE_S = 0.3
"""For a quick fix: an editor asks for actions whenever the cursor moves."""

SHOWN = 24
"""Characters of an edit in the title of its action."""


async def will_save(server: Server, params: types.WillSaveTextDocumentParams) -> list[types.TextEdit]:
    """`textDocument/willSaveWaitUntil`: the edits of the one clear repair, else none; never an error."""
    document = server.documents.get(params.text_document.uri)
    language = document and repaired_language(document)
    if document is None or language is None:
        return []
    if not server.settings.of(server.settings.fix_on_save, language):
        outcome = _outcome("willSave", document)
        outcome.end("fix-off")
        server.outcomes.add(outcome)
        return []
    winner = await _repair(server, "willSave", document)
    return text_edits(document, winner.edits) if winner else []


async def fix_all(server: Server, document: Document) -> list[types.CodeAction]:
    """The one clear repair as `source.fixAll`, for editors that run code actions on save."""
    winner = await _repair(server, "fixAll", document) if repaired_language(document) else None
    if winner is None:
        return []
    edit = workspace_edit(server, document, winner.edits)
    return [types.CodeAction("DGemma: close what is unclosed", kind=FIX_ALL, edit=edit)]


async def quick_fixes(server: Server, document: Document, place: types.Range) -> list[types.CodeAction]:
    """Every likely repair, when one of the faults is on the lines of a place."""
    try:
        found = await asyncio.wait_for(server.repairer.diagnosis(document, server.settings), PATIENCE_S)
    except asyncio.TimeoutError:
        return []
    except Exception as error:
        log_bug(error)
        return []
    faults = [fault for fault in found.faults if _on_lines(document, fault.start, fault.stop, place)]
    if not faults or not server.repairer.is_current(document):
        return []
    return [
        types.CodeAction(
            f"DGemma: {_title(document, candidate)}",
            kind=QUICK_FIX,
            diagnostics=[diagnostic_of(document, fault) for fault in faults],
            is_preferred=candidate == found.settled,
            edit=workspace_edit(server, document, candidate.edits),
        )
        for candidate in _offered(found)
    ]


async def _repair(server: Server, request: str, document: Document) -> Candidate | None:
    """The clear repair; the outcome is kept, and a bug is one as well."""
    outcome = _outcome(request, document)
    try:
        return await server.repairer.repair(document, server.settings, outcome)
    except asyncio.CancelledError:
        outcome.end("cancelled")
        raise
    except Exception as error:
        log_bug(error)
        outcome.end("error")
        return None
    finally:
        server.outcomes.add(outcome)


def _outcome(request: str, document: Document) -> Outcome:
    return Outcome(request, file_name(document.uri), 1, 1, "automatic")


def _offered(found: Diagnosis) -> list[Candidate]:
    """The settled one first."""
    settled = [found.settled] if found.settled else []
    return [*settled, *(candidate for candidate in found.candidates if candidate != found.settled)]


def _on_lines(document: Document, start: int, stop: int, place: types.Range) -> bool:
    first, last = (document.line_at(document.offset_at(position(end))) for end in (place.start, place.end))
    return document.line_at(start) <= last and first <= document.line_at(stop)


def _title(document: Document, candidate: Candidate) -> str:
    """What a repair does, in a few words."""
    first, *others = candidate.edits
    more = f" and {len(others)} more" if others else ""
    return f"{_words(document, first)} on line {document.line_at(first.start) + 1}{more}"


def _words(document: Document, edit: Edit) -> str:
    removed, written = (_shown(text) for text in (document.text[edit.start : edit.end], edit.text))
    if not removed:
        return f"insert {written}"
    return f"replace {removed} by {written}" if written else f"remove {removed}"


def _shown(text: str) -> str:
    """Text for a title: on one line, and cut where it is long."""
    if not text:
        return ""
    line = " ".join(text.split()) or "a line break" if "\n" in text or "\r" in text else text
    if line == "a line break":
        return line
    return f"`{line[: SHOWN - 1]}…`" if len(line) > SHOWN else f"`{line}`"
