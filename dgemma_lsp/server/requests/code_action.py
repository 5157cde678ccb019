"""`textDocument/codeAction`: everything this server offers at a place; at once, and without a model that fills."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from ..app import Server
from . import fill_here, repairs, rewrite_actions

KINDS: list[types.CodeActionKind | str] = [fill_here.KIND, rewrite_actions.KIND, repairs.QUICK_FIX, repairs.FIX_ALL]


async def code_action(server: Server, params: types.CodeActionParams) -> list[types.CodeAction]:
    """The actions of the wanted kinds; `source.fixAll` has to be asked for, as it is not for a place."""
    document = server.documents.get(params.text_document.uri)
    only = params.context.only
    if document is None:
        return []
    actions: list[types.CodeAction] = []
    if _wanted(only, fill_here.KIND):
        actions += fill_here.actions(server, document, params.range)
    rewriting = rewrite_actions.actions(server, document, params.range, params.context)
    actions += [action for action in rewriting if _wanted(only, str(action.kind))]
    if _wanted(only, repairs.QUICK_FIX):
        actions += await repairs.quick_fixes(server, document, params.range)
    if only is not None and _wanted(only, repairs.FIX_ALL):
        actions += await repairs.fix_all(server, document)
    return actions


def _wanted(only: Sequence[types.CodeActionKind | str] | None, kind: str) -> bool:
    """Whether a kind, or one above it, is asked for; all are where nothing is said."""
    names = [""] if only is None else [str(getattr(one, "value", one)) for one in only]
    return any(name in ("", kind) or kind.startswith(f"{name}.") for name in names)
