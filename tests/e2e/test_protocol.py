"""The conversations of docs/engine-protocol.md, played to the real daemon with nano."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import msgpack
import pytest

from dgemma_engine import wire
from dgemma_engine.wire import schema
from dgemma_lsp.engine_client.blocking import BlockingEngine
from tests.protocol_doc import Conversation, conversations

STABLE = ("type", "id", "code", "protocol", "model", "stage")
"""What a machine and its load do not change; the rest of an answer only has to be there."""

EVENTS = ("progress", "draft")


@pytest.mark.parametrize("conversation", conversations(), ids=lambda one: one.name)
@pytest.mark.usefixtures("in_home")
def test_the_daemon_answers_as_it_is_written(conversation: Conversation):
    with BlockingEngine() as engine:
        # So that the daemon runs, and every conversation begins with the loading of the model.
        engine.status()
        engine.unload()
    asyncio.run(asyncio.wait_for(play(conversation), 60))


async def play(conversation: Conversation) -> None:
    reader, writer = await asyncio.open_unix_connection(wire.find_endpoint().socket)
    seeded = set()
    for line in conversation.lines:
        if line.mark != "<-":
            payload = bytes(msgpack.packb(line.message) or b"")
            writer.write(struct.pack(">I", len(payload)) + payload)
            if line.message and "seed" in line.message:
                seeded.add(line.message["id"])
        elif line.message is None:
            assert await wire.read_message(reader) is None
        else:
            received = await heard(reader, line.message)
            if received["type"] == "filled" and received["id"] in seeded:
                assert first_texts(received) == first_texts(line.message)
    writer.close()


async def heard(reader: asyncio.StreamReader, expected: dict[str, Any]) -> dict[str, Any]:
    """The message that is expected; events that the document leaves out may come before it."""
    while True:
        message = await wire.read_message(reader)
        assert message is not None, f"the connection ended before {expected}"
        received = {"type": type(message).__name__.lower(), **schema.plain(message)}
        if stable(received) == stable(expected):
            return received
        assert received["type"] in EVENTS, f"{received} came for {expected}"


def stable(message: dict[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in STABLE if name in message}


def first_texts(filled: dict[str, Any]) -> list[str]:
    """What the best candidate says; a seed makes it the same every time."""
    return filled["candidates"][0]["texts"]
