"""`textDocument/inlineCompletion`: ghost text."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from lsprotocol import types

from dgemma_engine import wire

from ..app import Server
from ..documents import range_of
from .asking import ask_of, offers_for, refused


async def inline_completion(server: Server, params: types.InlineCompletionParams) -> types.InlineCompletionList | None:
    """Items to show; an empty list when there is nothing to offer, None when a newer request took over."""
    uri, context = params.text_document.uri, params.context
    invoked = context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
    ask = ask_of(server, uri, params.position, invoked=invoked, selected=context.selected_completion_info)
    if ask is None:
        refused(server, "inlineCompletion", uri, params.position, invoked=invoked)
        return types.InlineCompletionList([])
    if server.client.drafts:
        ask = attrs.evolve(ask, on_draft=_draft_sender(server))
    offers, _ = await offers_for(server, "inlineCompletion", ask)
    if offers is None:
        return None
    return types.InlineCompletionList(
        [
            types.InlineCompletionItem(
                insert_text=one.insert,
                filter_text=one.insert,
                range=range_of(ask.document, one.start, one.end),
            )
            for one in offers
        ]
    )


def _draft_sender(server: Server) -> Callable[[wire.Draft], None]:
    id_ = server.protocol.msg_id

    def send(draft: wire.Draft) -> None:
        server.protocol.notify("dgemma/draft", {"id": id_, "pass": draft.pass_index, "text": draft.texts[0]})

    return send
