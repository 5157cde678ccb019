"""What a user asks about the server itself: why nothing came, how the engine is, and to start it again."""

from __future__ import annotations

from typing import Any

import attrs
from lsprotocol import types

from dgemma_lsp.engine_client import EngineError, EngineUnavailable

from ..app import Server


def explain_last(server: Server) -> dict[str, Any]:
    """The last outcome, and those before it; also as a message."""
    last = server.outcomes.last
    if last is None:
        server.say(types.MessageType.Info, "nothing has been asked for yet")
        return {"outcome": None, "message": "nothing has been asked for yet", "earlier": []}
    explained = last.explained()
    place = f"{last.file}:{last.line}:{last.column}"
    server.say(types.MessageType.Info, f"{explained['message']} ({place}, {last.ms:.0f} ms)")
    earlier = [outcome.explained() for outcome in server.outcomes][1:]
    return {**explained, "earlier": earlier}


async def status(server: Server) -> dict[str, Any]:
    """The state of the engine, what the daemon says of itself, and how requests have ended."""
    plain: dict[str, Any] = attrs.asdict(server.engine.state)
    plain["outcomes"] = dict(server.outcomes.counts)
    try:
        plain["engine"] = attrs.asdict(await server.engine.client.status()) if server.engine.ready else None
    except (EngineError, EngineUnavailable) as error:
        server.engine.lost(error)
        plain |= {**attrs.asdict(server.engine.state), "engine": None}
    return plain


async def restart_engine(server: Server) -> dict[str, Any]:
    """End the daemon, whatever it does for whomever, and start another."""
    await server.engine.restart()
    return attrs.asdict(server.engine.state)
