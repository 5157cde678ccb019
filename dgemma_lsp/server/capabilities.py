"""What the client can do, read once."""

from __future__ import annotations

from typing import Any

import attrs
from lsprotocol import types

from dgemma_lsp.text.document import Encoding


@attrs.frozen
class Client:
    """A client's capabilities as plain answers to what this server asks."""

    name: str
    encoding: Encoding
    inline_completion: bool
    configuration: bool
    """It answers `workspace/configuration`."""
    watches_configuration: bool
    """`workspace/didChangeConfiguration` can be registered."""
    registers_completion: bool
    """`textDocument/completion` can be registered."""
    progress: bool
    """The server may show progress."""
    document_changes: bool
    """Edits can carry the version of the document they are for."""
    disabled_actions: bool
    """It shows code actions that cannot be run, and why."""
    drafts: bool
    """It asked for the drafts of everything in its initializationOptions."""
    rewrite_drafts: bool
    """It asked for those of rewrites at least."""
    asks: bool
    """It has the command that asks its user for an instruction, as it said in its initializationOptions."""
    block_cursor: bool = False
    """Its cursor lies on a character: where nothing is selected, a range is one character long."""


def read_client(params: types.InitializeParams, encoding: types.PositionEncodingKind | str | None) -> Client:
    """The client of an `initialize` request, and the position encoding that was agreed on."""
    capabilities = params.capabilities
    workspace, document, window = capabilities.workspace, capabilities.text_document, capabilities.window
    edits = workspace.workspace_edit if workspace else None
    watching = workspace.did_change_configuration if workspace else None
    completion = document.completion if document else None
    actions = document.code_action if document else None
    options: Any = params.initialization_options
    drafts = options.get("drafts") if isinstance(options, dict) else None
    return Client(
        name=params.client_info.name if params.client_info else "",
        encoding=Encoding(str(getattr(encoding, "value", encoding) or "utf-16")),
        inline_completion=bool(document and document.inline_completion),
        configuration=bool(workspace and workspace.configuration),
        watches_configuration=bool(watching and watching.dynamic_registration),
        registers_completion=bool(completion and completion.dynamic_registration),
        progress=bool(window and window.work_done_progress),
        document_changes=bool(edits and edits.document_changes),
        disabled_actions=bool(actions and actions.disabled_support),
        drafts=drafts is True,
        rewrite_drafts=drafts is True or drafts == "rewrite",
        asks=isinstance(options, dict) and options.get("asks") is True,
        block_cursor=params.client_info is not None and params.client_info.name.lower() == "helix",
    )
