"""From the parameters of a request to an ask, and to the outcome it has."""

from __future__ import annotations

from lsprotocol import types

from dgemma_lsp.text.document import Document
from dgemma_lsp.text.overlap import Offer

from ..app import Server
from ..ask import Ask, Selected
from ..bugs import log_bug
from ..documents import file_name, position
from ..outcomes import Outcome


async def offers_for(server: Server, request: str, ask: Ask) -> tuple[list[Offer] | None, Outcome]:
    """What `Suggester.suggest` offers, and the outcome, which is kept; a bug is one as well."""
    document = ask.document
    line = document.line_at(ask.offset)
    column = ask.offset - document.line_range(line)[0]
    outcome = Outcome(request, file_name(document.uri), line + 1, column + 1, _trigger(ask.invoked))
    try:
        return await server.suggester.suggest(ask, server.settings, outcome), outcome
    except Exception as error:
        log_bug(error)
        outcome.end("error")
        return [], outcome
    finally:
        server.outcomes.add(outcome)


def refused(
    server: Server, request: str, uri: str, place: types.Position, *, invoked: bool, why: str = "not-open"
) -> Outcome:
    """The outcome of a request that comes to nothing before anything is looked at; it is kept."""
    outcome = Outcome(request, file_name(uri), place.line + 1, place.character + 1, _trigger(invoked))
    outcome.end(why)
    server.outcomes.add(outcome)
    return outcome


def ask_of(
    server: Server,
    uri: str,
    place: types.Position,
    *,
    invoked: bool,
    selected: types.SelectedCompletionInfo | None = None,
) -> Ask | None:
    """An ask about the document as it is now; None when it is not open."""
    document = server.documents.get(uri)
    if document is None:
        return None
    offset = document.offset_at(position(place))
    return Ask(document, offset, invoked, _selected(document, offset, selected) if selected else None)


def _selected(document: Document, offset: int, info: types.SelectedCompletionInfo) -> Selected | None:
    """What is selected in the menu; None when no item could have that range: it has to be on the cursor's line."""
    start, end = (document.offset_at(position(place)) for place in (info.range.start, info.range.end))
    if not start <= offset <= end or document.line_at(start) != document.line_at(end):
        return None
    return Selected(start, end, info.text)


def _trigger(invoked: bool) -> str:
    return "invoked" if invoked else "automatic"
