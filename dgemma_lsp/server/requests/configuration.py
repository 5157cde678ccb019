"""`workspace/configuration` and `workspace/didChangeConfiguration`."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from lsprotocol import types

from dgemma_lsp.config import SECTION

from ..app import Server
from . import completion

log = logging.getLogger(__name__)

ANSWER_S = 10.0

LATE = (
    f"{SECTION}.completion comes too late for this editor; put it into initializationOptions or into "
    "the user's settings file, and restart the server"
)


async def initialized(server: Server, _: types.InitializedParams) -> None:
    """Ask for the settings, and to hear of changes; then have the engine started."""
    client = server.client
    if client.watches_configuration:
        method = types.WORKSPACE_DID_CHANGE_CONFIGURATION
        options = types.DidChangeConfigurationRegistrationOptions(section=SECTION)
        registration = types.Registration("dgemma-configuration", method, options)
        _register(server, registration)
    if client.configuration:
        _renew(server, await _asked(server))
    server.engine.want()


async def did_change_configuration(server: Server, params: types.DidChangeConfigurationParams) -> None:
    if server.client.configuration:
        _renew(server, await _asked(server))
    else:
        pushed = params.settings
        _renew(server, pushed.get(SECTION) if isinstance(pushed, dict) else None)


def _renew(server: Server, editor: Any) -> None:
    server.renew_settings(editor)
    if server.settings.completion and not completion.is_advertised(server):
        if server.client.registers_completion:
            _register(server, completion.registration(server))
        else:
            server.say(types.MessageType.Warning, LATE)


def _register(server: Server, registration: types.Registration) -> None:
    server.chore(_answered(server.client_register_capability_async(types.RegistrationParams([registration]))))


async def _asked(server: Server) -> Any:
    item = types.ConfigurationItem(section=SECTION)
    found = await _answered(server.workspace_configuration_async(types.ConfigurationParams([item])))
    return found[0] if isinstance(found, list | tuple) and found else None


async def _answered(request: Any) -> Any:
    """The client's answer; None when it has none, or takes too long."""
    try:
        return await asyncio.wait_for(request, ANSWER_S)
    except Exception as error:
        log.warning("the client does not answer: %s", type(error).__name__)
        return None
