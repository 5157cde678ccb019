"""The messages a client and the engine exchange, and how they are framed.

A frame is a 4-byte big-endian length and a msgpack map whose "type" names the message. Everything a peer
sends is checked against the annotations and validators below before it becomes a message, so the code behind
the wire never meets a wrong type. Shared by both sides: this module imports no torch.

Fields that this version does not know are ignored, so that a newer peer's `Hello` can still be read and
answered with a clear refusal.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import IO, get_args

import attrs
import msgpack
from attrs import validators as check

from . import schema

PROTOCOL = 1
MAX_FRAME = 64 * 1024 * 1024
"""Bytes of payload; far above any real message, low enough that a garbage length allocates nothing."""

LENGTHS = ("auto", "elastic", "probe", "exact")
CELL_STATES = ("pinned", "accepted", "noise")
FINISHES = ("converged", "passes", "deadline")

_HEADER = struct.Struct(">I")


class WireError(Exception):
    """A message that cannot be sent or understood; the frame after it is still readable."""


class FrameError(WireError):
    """The stream is cut or out of step: nothing after this can be read."""


def package_version() -> str:
    """Version of the installed distribution, or "unknown" when it runs uninstalled from a checkout."""
    from importlib import metadata  # 20 ms that only a handshake needs

    try:
        return metadata.version("dgemma-lsp")
    except metadata.PackageNotFoundError:
        return "unknown"


_positive = check.and_(check.gt(0.0), check.lt(math.inf))
_share = check.and_(check.ge(0), check.le(1))


@attrs.frozen
class Hole:
    """A gap to fill with at most `max_tokens` tokens; `noise` 1.0 forgets the draft, less edits it."""

    max_tokens: int = attrs.field(validator=check.ge(1))
    draft: str | None = None
    noise: float = attrs.field(default=1.0, validator=check.and_(check.gt(0), check.le(1)))


@attrs.frozen
class MaskedText:
    """Pinned text and holes, in document order. Texts come back as one string per hole, in the same order."""

    parts: tuple[str | Hole, ...] = attrs.field(converter=tuple)

    def __attrs_post_init__(self) -> None:
        if not self.holes:
            raise ValueError("a masked text needs at least one hole")

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(part for part in self.parts if isinstance(part, Hole))


@attrs.frozen
class Hello:
    """The first message of a client."""

    protocol: int
    package: str


@attrs.frozen
class Fill:
    """Fill the holes of `text`.

    `deadline_ms` counts from the receipt of the message, waiting included, loading a model not. `length` is
    the policy for how much of a hole is used. With `drafts`, a `Draft` comes after every pass.
    """

    id: int
    text: MaskedText
    model: str = "nano"
    passes: int | None = attrs.field(default=None, validator=check.optional(check.ge(1)))
    deadline_ms: float | None = attrs.field(default=None, validator=check.optional(_positive))
    candidates: int = attrs.field(default=1, validator=check.ge(1))
    seed: int | None = attrs.field(default=None, validator=check.optional(check.ge(0)))
    length: str = attrs.field(default="auto", validator=check.in_(LENGTHS))
    drafts: bool = False


@attrs.frozen
class Score:
    """Ask for the exact log-likelihood of each candidate between `prefix` and `suffix`."""

    id: int
    model: str
    prefix: str
    candidates: tuple[str, ...] = attrs.field(converter=tuple)
    suffix: str = ""


@attrs.frozen
class Cancel:
    """Stop the request `id`; it still ends in exactly one answer."""

    id: int


@attrs.frozen
class Shutdown:
    """Cancel what runs and end the engine."""


@attrs.frozen
class Welcome:
    """The answer to `Hello`."""

    protocol: int
    package: str


@attrs.frozen
class Progress:
    """Something slow is under way; `fraction` in [0, 1] when it is known."""

    id: int
    stage: str
    fraction: float | None = attrs.field(default=None, validator=check.optional(_share))


@attrs.frozen
class Cell:
    """A stretch of the canvas as it stands after a pass; `entropy` in nats where the model read it."""

    text: str
    state: str = attrs.field(validator=check.in_(CELL_STATES))
    entropy: float | None = None


@attrs.frozen
class Draft:
    """The canvas after pass `pass_index` (from 1) of `passes`, `ms` after the start; one text per hole."""

    id: int
    pass_index: int = attrs.field(validator=check.ge(1))
    passes: int = attrs.field(validator=check.ge(1))
    ms: float
    cells: tuple[Cell, ...] = attrs.field(converter=tuple)
    texts: tuple[str, ...] = attrs.field(converter=tuple)


@attrs.frozen
class Candidate:
    """One way to fill all holes; a higher `score` is better."""

    texts: tuple[str, ...] = attrs.field(converter=tuple)
    score: float | None
    passes: int = attrs.field(validator=check.ge(0))
    finish: str = attrs.field(validator=check.in_(FINISHES))


@attrs.frozen
class Filled:
    """The answer to `Fill`, best candidate first; `ms` by stage: load, prefill, passes, rank, total."""

    id: int
    candidates: tuple[Candidate, ...] = attrs.field(converter=tuple, validator=check.min_len(1))
    ms: dict[str, float]
    tokens: dict[str, int]


@attrs.frozen
class Scored:
    """The answer to `Score`, in nats, in the order of the candidates."""

    id: int
    log_probs: tuple[float, ...] = attrs.field(converter=tuple)


@attrs.frozen
class Failed:
    """The answer to a request that could not be served; without an id it concerns the connection."""

    id: int | None
    code: str
    message: str


Message = Hello | Fill | Score | Cancel | Shutdown | Welcome | Progress | Draft | Filled | Scored | Failed
MESSAGES: Mapping[str, type[Message]] = {kind.__name__.lower(): kind for kind in get_args(Message)}


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
        raise WireError(f"unknown message type {name!r:.60}; known are {', '.join(MESSAGES)}")
    try:
        return schema.read(kind, plain, str(name))
    except schema.SchemaError as error:
        raise WireError(str(error)) from error


def write_frame(stream: IO[bytes], message: Message) -> None:
    """Sends one message and flushes it."""
    stream.write(encode(message))
    stream.flush()


def read_frame(stream: IO[bytes]) -> Message | None:
    """The next message, or None when the stream ends between two frames.

    Raises `FrameError` when it ends within one or announces too large a one, `WireError` when the frame is
    whole but its message is not.
    """
    header = _read_exactly(stream, _HEADER.size, "header")
    if not header:
        return None
    (size,) = _HEADER.unpack(header)
    _check_size(size, FrameError)
    payload = _read_exactly(stream, size, "payload")
    if len(payload) < size:
        raise FrameError(f"the stream ended before the {size} bytes of a frame's payload")
    return decode(payload)


def _read_exactly(stream: IO[bytes], size: int, what: str) -> bytes:
    """`size` bytes, or none at a clean end of the stream; pipes and sockets may hand out less per read."""
    data = bytearray()
    while len(data) < size:
        piece = stream.read(size - len(data))
        if not piece:
            if data:
                raise FrameError(f"the stream ended after {len(data)} of the {size} bytes of a frame's {what}")
            return b""
        data += piece
    return bytes(data)


def _check_size(size: int, error: type[WireError]) -> None:
    if size > MAX_FRAME:
        raise error(f"a frame of {size} bytes is too large; the limit is {MAX_FRAME}")
