"""The code action "Fill here" and its command, for editors without ghost text."""

from __future__ import annotations

from typing import Any

import attrs
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from dgemma_lsp.text.document import Document
from dgemma_lsp.text.overlap import Offer

from ..app import Server
from ..documents import position, range_of
from ..outcomes import OUTCOMES
from .asking import ask_of, offers_for, refused

KIND = f"{types.CodeActionKind.RefactorRewrite.value}.dgemma.fill"
COMMAND = "dgemma.fill"


@attrs.frozen
class FillArguments:
    """The command's one argument; without a version the document is taken as it is."""

    uri: str
    position: types.Position
    version: int | None = None


def code_action(server: Server, params: types.CodeActionParams) -> list[types.CodeAction]:
    """The action at a cursor, or none; at once and without asking the model."""
    document = server.documents.get(params.text_document.uri)
    wanted = params.context.only
    if document is None or (wanted is not None and not any(_contains(kind, KIND) for kind in wanted)):
        return []
    start, end = (document.offset_at(position(place)) for place in (params.range.start, params.range.end))
    cursor = server.client.block_cursor and (end - start <= 1 or document.text[start:end] == "\r\n")
    if params.range.start != params.range.end and not cursor:
        return []
    at = {"line": params.range.start.line, "character": params.range.start.character}
    argument = {"uri": document.uri, "position": at, "version": document.version}
    command = types.Command("Fill here", COMMAND, arguments=[argument])
    return [types.CodeAction("DGemma: Fill here", kind=KIND, command=command)]


async def fill(server: Server, argument: FillArguments) -> dict[str, Any]:
    """Fill at a place and have the editor apply the edit: `{outcome, message, …}`."""
    ask = ask_of(server, argument.uri, argument.position, invoked=True)
    if ask is None:
        refused(server, COMMAND, argument.uri, argument.position, invoked=True)
        raise JsonRpcInvalidParams(message=OUTCOMES["not-open"])
    if argument.version in (None, ask.document.version):
        offers, outcome = await offers_for(server, COMMAND, ask)
    else:
        offers = None
        outcome = refused(server, COMMAND, argument.uri, argument.position, invoked=True, why="stale")
    explained = outcome.explained()
    if not offers:
        server.say(types.MessageType.Info, explained["message"])
        return {**explained, "applied": False}
    return {**explained, "applied": await _applied(server, edit_of(server, ask.document, offers[0]))}


async def _applied(server: Server, edit: types.WorkspaceEdit) -> bool:
    try:
        params = types.ApplyWorkspaceEditParams(edit, label="DGemma: fill")
        applied = (await server.workspace_apply_edit_async(params)).applied
    except JsonRpcException:
        applied = False
    if not applied:
        server.say(types.MessageType.Info, "the file has changed meanwhile; run it again")
    return applied


def edit_of(server: Server, document: Document, offer: Offer) -> types.WorkspaceEdit:
    """The offer as an edit, with the document's version where the client can take one."""
    edit = types.TextEdit(range_of(document, offer.start, offer.end), offer.insert)
    if not server.client.document_changes:
        return types.WorkspaceEdit(changes={document.uri: [edit]})
    named = types.OptionalVersionedTextDocumentIdentifier(document.uri, document.version)
    return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(named, [edit])])


def _contains(kind: types.CodeActionKind | str, one: str) -> bool:
    """Whether an asked-for kind is `one` or a kind above it."""
    name = str(getattr(kind, "value", kind))
    return name == "" or one == name or one.startswith(name + ".")
