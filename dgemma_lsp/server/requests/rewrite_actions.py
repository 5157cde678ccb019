"""Code actions that rewrite a selection: presets, and one for which the client asks what is to be done."""

from __future__ import annotations

from lsprotocol import types

from dgemma_lsp.text.document import Document

from ..app import Server
from ..documents import position
from . import rewrite

KIND = f"{types.CodeActionKind.RefactorRewrite.value}.dgemma"

ASK_COMMAND = "dgemma.rewriteSelection"
"""The client's own command: it asks the user, and calls `dgemma.rewrite`."""

PRESETS = {
    "simplify": ("Simplify", "Simplify this code without changing what it does."),
    "types": ("Add types", "Add type annotations to this code. Change nothing else."),
    "docstring": ("Add docstring", "Add documentation comments to this code. Change nothing else."),
    "errors": ("Handle errors", "Handle the errors that can occur in this code."),
    "translate": ("Translate comments", "Translate the comments into English. Change nothing else."),
    "fix": ("Fix the diagnostics here", "Fix the problems that are reported here. Change nothing else."),
}
"""By the last part of the kind: the title, and what the model is told."""


def actions(
    server: Server, document: Document, place: types.Range, context: types.CodeActionContext
) -> list[types.CodeAction]:
    """What can be done with a selection; at once and without asking the model."""
    start, end = (document.offset_at(position(at)) for at in (place.start, place.end))
    selected = document.text[start:end]
    if not selected.strip() or (server.client.block_cursor and end - start <= 1):
        return []
    if not server.engine.state.instructed:
        if not server.client.disabled_actions:
            return []
        reason = f"{server.engine.state.model} follows no instructions; the setting dgemma.model names one that does"
        return [types.CodeAction("DGemma: Rewrite", kind=KIND, disabled=types.CodeActionDisabled(reason))]
    argument = {
        "textDocument": {"uri": document.uri, "version": document.version},
        "range": rewrite.plain(place),
        "problems": [_problem(one) for one in context.diagnostics],
    }
    found = []
    if server.client.asks:
        command = types.Command("Rewrite selection…", ASK_COMMAND, arguments=[argument])
        found.append(types.CodeAction("DGemma: Rewrite selection…", kind=KIND, command=command))
    for name, (title, instruction) in PRESETS.items():
        if name == "fix" and not context.diagnostics:
            continue
        command = types.Command(title, rewrite.COMMAND, arguments=[{**argument, "instruction": instruction}])
        found.append(types.CodeAction(f"DGemma: {title}", kind=f"{KIND}.{name}", command=command))
    return found


def _problem(diagnostic: types.Diagnostic) -> str:
    source = f"{diagnostic.source}: " if diagnostic.source else ""
    message = " ".join(str(diagnostic.message).split())
    return f"line {diagnostic.range.start.line + 1}: {source}{message}"[: rewrite.MOST_PROBLEM]
