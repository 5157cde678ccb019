"""Finding the daemon at its place and greeting it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator

from dgemma_engine import wire
from dgemma_lsp.engine_client.connection import Connection
from dgemma_lsp.engine_client.errors import EngineError, EngineLeft, EngineNotRunning, EngineUnavailable

GREETING_TIMEOUT = 10.0
"""Seconds for a daemon to take a connection and say `Welcome`."""


def endpoint() -> wire.Endpoint:
    """The daemon's place, which nobody else can enter. Raises `EngineUnavailable`."""
    try:
        return wire.find_endpoint()
    except wire.EndpointError as error:
        raise EngineUnavailable(str(error)) from None


async def dial(place: wire.Endpoint, client: str, ids: Iterator[int]) -> Connection:
    """A greeted connection, to a daemon of whatever version.

    Raises `EngineNotRunning`, `EngineLeft`, `EngineUnavailable`, or `EngineError` when it takes nobody.
    """
    try:
        return await asyncio.wait_for(_greeted(place, client, ids), GREETING_TIMEOUT)
    except (FileNotFoundError, ConnectionRefusedError):
        raise EngineNotRunning("no engine is running; start one with: dgemma-lsp engine start") from None
    except (asyncio.TimeoutError, TimeoutError):
        raise EngineUnavailable(
            f"the engine{pid_words(place)} takes no clients: it said nothing for {GREETING_TIMEOUT:.0f} s; "
            f"end it with: dgemma-lsp engine stop --force; its log: {wire.log_file()}"
        ) from None
    except (ConnectionError, BlockingIOError) as error:
        raise EngineLeft(f"the engine at {place.door} hung up ({error.strerror or error})") from None
    except OSError as error:
        raise EngineUnavailable(f"cannot reach {place.door}: {error.strerror or error}") from None
    except wire.WireError as error:
        raise EngineUnavailable(f"what listens at {place.door} is no engine: {error}; end it") from None
    except wire.EndpointError as error:
        raise EngineUnavailable(str(error)) from None


async def _greeted(place: wire.Endpoint, client: str, ids: Iterator[int]) -> Connection:
    family, address, token = socket.AF_INET, ("127.0.0.1", 0), ""
    if place.tcp:
        port, token = place.address()
        address = ("127.0.0.1", port)
    else:
        family, address = socket.AF_UNIX, str(place.socket)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        reader, writer = await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        writer.write(wire.encode(wire.Hello(wire.PROTOCOL, wire.package_version(), token, client)))
        answer = await wire.read_message(reader)
        if isinstance(answer, wire.Welcome):
            return Connection(sock, (reader, writer), answer, ids)
        raise _refusal(place, answer)
    except BaseException:
        writer.transport.abort()
        raise


def _refusal(place: wire.Endpoint, answer: wire.Message | None) -> Exception:
    if answer is None:
        return EngineLeft(f"the engine at {place.door} hung up without a greeting; its log: {wire.log_file()}")
    if not isinstance(answer, wire.Failed):
        return wire.WireError(f"it answered a greeting with a {type(answer).__name__.lower()}")
    return EngineLeft(answer.message) if answer.code == "closing" else EngineError(answer.code, answer.message)


def daemon_pid(place: wire.Endpoint) -> int | None:
    """The process id in the daemon's lock file, as far as there is one; the process need not live."""
    try:
        found = re.match(r"\s*(\d{1,10})\b", place.lock.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return int(found[1]) if found and int(found[1]) else None


def pid_words(place: wire.Endpoint) -> str:
    """For a message: " (pid N)", or nothing."""
    pid = daemon_pid(place)
    return f" (pid {pid})" if pid else ""
