"""How a message travels: a 4-byte big-endian length and a msgpack map whose "type" names the message."""

from __future__ import annotations

import asyncio
import struct

import msgpack

from . import schema
from .messages import MESSAGES, Message

MAX_FRAME = 16 * 1024 * 1024
"""Bytes of payload; four times the largest file that is edited, and a garbage length allocates nothing."""

_HEADER = struct.Struct(">I")


class WireError(Exception):
    """A message that cannot be sent or understood; the frame after it is still readable.

    `id` is that of the request it would have been, as far as that can be told.
    """

    id: int | None = None


class FrameError(WireError):
    """The stream is cut or out of step: nothing after this can be read."""


def encode(message: Message) -> bytes:
    """One frame, header included. Raises `WireError` for what msgpack cannot carry or a frame cannot hold."""
    plain = {"type": type(message).__name__.lower(), **schema.plain(message)}
    try:
        payload = bytes(msgpack.packb(plain) or b"")
    except UnicodeEncodeError as error:
        raise WireError(f"{plain['type']}: text with a lone surrogate cannot be sent as UTF-8") from error
    except (OverflowError, TypeError, ValueError) as error:
        raise WireError(f"{plain['type']}: cannot be encoded: {error}") from error
    _check_size(len(payload), WireError)
    return _HEADER.pack(len(payload)) + payload


def decode(payload: bytes) -> Message:
    """The message in a frame's payload. Raises `WireError` that says which field is wrong, and how."""
    try:
        plain = msgpack.unpackb(payload, raw=False, strict_map_key=True)
    except UnicodeDecodeError as error:
        raise WireError("a string in the frame is not UTF-8") from error
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"not a msgpack frame: {error or type(error).__name__}") from error
    if not isinstance(plain, dict):
        raise WireError(f"a message is a map, not {schema.kind_name(plain)}")
    name = plain.get("type")
    kind = MESSAGES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _of_request(plain, f"unknown message type {name!r:.60}; known are {', '.join(MESSAGES)}")
    try:
        return schema.read(kind, plain, str(name))
    except schema.SchemaError as error:
        raise _of_request(plain, str(error)) from error


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message, or None when the stream ends between two frames.

    Raises `FrameError` when it ends within one or announces too large a one, `WireError` when the frame is whole but
    its message is not, and what the connection raises.
    """
    header = await _read_exactly(reader, _HEADER.size, "header")
    if not header:
        return None
    (size,) = _HEADER.unpack(header)
    _check_size(size, FrameError)
    return decode(await _read_exactly(reader, size, "payload"))


async def _read_exactly(reader: asyncio.StreamReader, size: int, what: str) -> bytes:
    """`size` bytes, or none at a clean end of the stream before a header."""
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        if what == "header" and not error.partial:
            return b""
        found = len(error.partial)
        raise FrameError(f"the stream ended after {found} of the {size} bytes of a frame's {what}") from None


def _of_request(plain: dict[str, object], message: str) -> WireError:
    error = WireError(message)
    id_ = plain.get("id")
    error.id = id_ if isinstance(id_, int) and not isinstance(id_, bool) else None
    return error


def _check_size(size: int, error: type[WireError]) -> None:
    if size > MAX_FRAME:
        raise error(f"a frame of {size} bytes is too large; the limit is {MAX_FRAME}")
