"""The language server on stdin and stdout."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from lsprotocol import types

from .app import Server
from .requests import (
    code_action,
    commands,
    completion,
    configuration,
    fill_here,
    inline_completion,
    repairs,
    rewrite,
    synchronization,
)

SWITCH_S = 0.001
"""After which a thread that parses makes way for the one that answers."""
PARENT_S = 5.0
"""Between two looks at whether the editor still lives."""


def make_server() -> Server:
    """A server that answers everything it can, without a client yet."""
    server = Server()

    def on(method: str, handler: Callable[..., Any], options: Any = None) -> None:
        server.feature(method, options)(handler)

    on(types.INITIALIZE, _initialize)
    on(types.INITIALIZED, configuration.initialized)
    on(types.WORKSPACE_DID_CHANGE_CONFIGURATION, configuration.did_change_configuration)
    on(types.TEXT_DOCUMENT_DID_OPEN, synchronization.did_open)
    on(types.TEXT_DOCUMENT_DID_CHANGE, synchronization.did_change)
    on(types.TEXT_DOCUMENT_DID_CLOSE, synchronization.did_close)
    # Without options pygls would not advertise it.
    options = types.InlineCompletionOptions()
    on(types.TEXT_DOCUMENT_INLINE_COMPLETION, inline_completion.inline_completion, options)
    actions = types.CodeActionOptions(code_action_kinds=code_action.KINDS)
    on(types.TEXT_DOCUMENT_CODE_ACTION, code_action.code_action, actions)
    on(types.TEXT_DOCUMENT_WILL_SAVE_WAIT_UNTIL, repairs.will_save)
    on(types.SHUTDOWN, _shut_down)
    server.command(fill_here.COMMAND)(fill_here.fill)
    server.command(rewrite.COMMAND)(rewrite.rewrite)
    server.command("dgemma.explainLast")(commands.explain_last)
    server.command("dgemma.status")(commands.status)
    server.command("dgemma.restartEngine")(commands.restart_engine)
    return server


def serve() -> int:
    """Run until the client says `exit` or goes away; the status to end the process with."""
    # pygls logs whole messages, and tracebacks that quote them: they hold the user's text. What matters is logged here.
    logging.getLogger("pygls").setLevel(logging.CRITICAL)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    server = make_server()
    # Everything up to here stays; the collector need not walk over it again and again.
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(SWITCH_S)
    server.start_io()
    return 1 if server.protocol.exit_status is None else server.protocol.exit_status


def _initialize(server: Server, params: types.InitializeParams) -> None:
    server.set_up(params)
    if server.settings.completion:
        completion.advertise(server)
    # Looked at before the answer: an editor that cannot be seen then is in another container, and is not watched.
    if params.process_id is not None and _lives(params.process_id):
        server.chore(_watch(params.process_id))


async def _shut_down(server: Server, _: None) -> None:
    server.suggester.forget_all()
    server.diagnostics.close_all()
    await server.repairer.close()
    await server.engine.close()


async def _watch(pid: int) -> None:
    """End with the editor, should it die without a word."""
    while _lives(pid):
        await asyncio.sleep(PARENT_S)
    os._exit(1)


def _lives(pid: int) -> bool:
    if os.name == "nt":
        return False  # the signal would reach it there
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
