"""A client that is none of ours: it says what it likes, byte by byte, and reads when it likes."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import itertools
import socket
import struct
import termios
from collections.abc import AsyncIterator
from typing import TypeVar

import attrs

from dgemma_engine import wire

Request = TypeVar("Request", bound=wire.Request)


class Cut(Exception):
    """The stream ended inside a frame."""


@attrs.define(eq=False)
class Peer:
    """A connection to the daemon; nothing is read from it but by `next`."""

    socket: socket.socket
    _ids: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))

    @classmethod
    async def connected(cls, place: wire.Endpoint) -> Peer:
        family, address = socket.AF_UNIX, str(place.socket)
        if place.tcp:
            family, address = socket.AF_INET, ("127.0.0.1", place.address()[0])
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        return cls(sock)

    async def greet(self, place: wire.Endpoint) -> wire.Message | None:
        """Says hello; what the daemon says to that."""
        token = place.address()[1] if place.tcp else ""
        await self.send(wire.Hello(wire.PROTOCOL, wire.package_version(), token, "soak"))
        return await self.next()

    async def send(self, *messages: wire.Message) -> None:
        await self.send_bytes(b"".join(map(wire.encode, messages)))

    async def send_bytes(self, data: bytes) -> None:
        """Raises `OSError` when the daemon has hung up."""
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def ask(self, request: Request) -> Request:
        """Sends a request under an id of its own."""
        request = attrs.evolve(request, id=next(self._ids))
        await self.send(request)
        return request

    async def next(self) -> wire.Message | None:
        """What the daemon says next, None when it has hung up. Raises `Cut`."""
        header = await self._exactly(4)
        if not header:
            return None
        (size,) = struct.unpack(">I", header)
        return wire.decode(await self._exactly(size, inside=True))

    async def answer(self, request: wire.Request | None = None) -> wire.Answer | None:
        """The next answer, or that to one request; None when the daemon has hung up before it."""
        while (message := await self.next()) is not None:
            if isinstance(message, wire.Answer) and (request is None or message.id == request.id):
                return message
        return None

    async def rest(self) -> AsyncIterator[wire.Message]:
        """All that the daemon still says."""
        while (message := await self.next()) is not None:
            yield message

    async def processed(self) -> None:
        """Returns when the daemon has taken all that was said so far; answers that come meanwhile are lost."""
        await self.answer(await self.ask(wire.Status(0)))

    def end_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    @property
    def waiting(self) -> int:
        """Bytes that have come and were not read."""
        size = array.array("i", [0])
        fcntl.ioctl(self.socket, termios.FIONREAD, size)
        return size[0]

    def close(self) -> None:
        self.socket.close()

    async def _exactly(self, size: int, inside: bool = False) -> bytes:
        loop, data = asyncio.get_running_loop(), b""
        while len(data) < size:
            piece = b""
            with contextlib.suppress(ConnectionError):
                piece = await loop.sock_recv(self.socket, size - len(data))
            if not piece:
                if data or inside:
                    raise Cut(f"the stream ended after {len(data)} of {size} bytes")
                return b""
            data += piece
        return data
