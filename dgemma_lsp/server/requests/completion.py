"""`textDocument/completion`, for editors without ghost text; the settings switch it on."""

from __future__ import annotations

from lsprotocol import types

from ..app import Server
from ..documents import range_of
from .asking import ask_of, offers_for, refused


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
