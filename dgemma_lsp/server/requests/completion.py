"""`textDocument/completion`, for editors without ghost text; the settings switch it on."""

from __future__ import annotations

from lsprotocol import types

from ..app import Server
from ..documents import range_of
from .asking import ask_of, offers_for, refused

OPTIONS = types.CompletionOptions()


def advertise(server: Server) -> None:
    """In the answer to `initialize`: many editors ask every server that says it completes, with every letter."""
    server.feature(types.TEXT_DOCUMENT_COMPLETION, OPTIONS)(completion)


def is_advertised(server: Server) -> bool:
    return types.TEXT_DOCUMENT_COMPLETION in server.protocol.fm.features


def registration(server: Server) -> types.Registration:
    """For a client that is told later; requests are answered from now on."""
    advertise(server)
    method = types.TEXT_DOCUMENT_COMPLETION
    # Without a selector it is for every document that the client has with this server.
    options = types.CompletionRegistrationOptions(document_selector=None)
    return types.Registration("dgemma-completion", method, options)


async def completion(server: Server, params: types.CompletionParams) -> types.CompletionList | None:
    """Fills as completion items; always incomplete, since the next keystroke asks something else."""
    if not server.settings.completion:
        return None
    uri = params.text_document.uri
    # The protocol calls what comes with every letter typed "invoked" as well: nobody can tell it from asking.
    ask = ask_of(server, uri, params.position, invoked=False)
    if ask is None:
        refused(server, "completion", uri, params.position, invoked=False)
        return None
    offers, _ = await offers_for(server, "completion", ask)
    document = ask.document
    items = [
        types.CompletionItem(
            label=one.insert.strip().splitlines()[0],
            kind=types.CompletionItemKind.Text,
            detail="DGemma",
            sort_text=f"{number:02}",
            filter_text=one.insert,
            insert_text_format=types.InsertTextFormat.PlainText,
            text_edit=types.TextEdit(range_of(document, one.start, one.end), one.insert),
        )
        for number, one in enumerate(offers or [])
    ]
    return types.CompletionList(is_incomplete=True, items=items)
