"""Bytes and messages that no client should send; nobody else may notice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgpack

from dgemma_engine import wire

from .fills import BRIEF, answered, right_fill
from .nest import Nest
from .scenario import scenario
from .waiting import Broken, within

DEAF_S = 5.0
"""How long a daemon may not listen, on a slow machine that does other things as well."""


def _packed(message: object) -> bytes:
    return bytes(msgpack.packb(message) or b"")


def _fill(hole: object, **options: object) -> dict[str, object]:
    return {"type": "fill", "id": 1, "text": {"parts": ["x", hole]}, **options}


NONSENSE: tuple[bytes, ...] = (
    b"",
    b"\xc1",
    b"\x91" * 100_000,
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x81\xa4type\xa2\xff\xff",
    _packed({"type": "status", "id": 1}) * 2,
    *map(
        _packed,
        (
            None,
            [1],
            {1: 2},
            {"type": ["fill"]},
            {"type": "riddle", "id": 1},
            {"type": "hello", "protocol": wire.PROTOCOL, "package": "again"},
            {"type": "done", "id": 1},
            {"type": "status"},
            {"type": "status", "id": True},
            {"type": "status", "id": 1.0},
            {"type": "status", "id": msgpack.ExtType(5, b"x")},
            {"type": "shutdown", "id": "now"},
            {"type": "fill", "id": 1, "text": {"parts": []}},
            _fill({"max_tokens": 0}),
            _fill({"max_tokens": 2**63}),
            _fill({"max_tokens": 1, "noise": float("nan")}),
            _fill({"max_tokens": 1}, deadline_ms=float("inf")),
            _fill({"max_tokens": 1}, deadline_ms=-1.0),
            _fill({"max_tokens": 1}, candidates=10**9),
            _fill({"max_tokens": 1}, seed=-1),
            _fill({"max_tokens": 1}, model=None),
        ),
    ),
)
"""Payloads of whole frames."""

CODE = "def nobody_logs_this(bar): return x + y ** 2  # why\n"


def _long(**options: Any) -> wire.Fill:
    return wire.Fill(1, wire.MaskedText(("x = ", wire.Hole(wire.MAX_HOLE_TOKENS), "\n")), **options)


GREED: Mapping[str, Callable[[], wire.Message]] = {
    "ten megabytes of text": lambda: wire.Fill(1, wire.MaskedText((CODE * 200_000, wire.Hole(8), CODE))),
    "ten megabytes of draft": lambda: wire.Fill(
        1, wire.MaskedText(("x = ", wire.Hole(wire.MAX_HOLE_TOKENS, draft=CODE * 200_000, noise=0.5), "\n"))
    ),
    "the longest hole": lambda: _long(passes=wire.MAX_PASSES, length="exact"),
    "the longest hole, probed": lambda: _long(passes=wire.MAX_PASSES, length="probe"),
    "a thousand holes": lambda: wire.Fill(1, wire.MaskedText((CODE, wire.Hole(8)) * 1000), passes=wire.MAX_PASSES),
    "a hundred thousand holes": lambda: wire.Fill(1, wire.MaskedText((wire.Hole(8),) * 100_000)),
    "a million parts": lambda: wire.Fill(1, wire.MaskedText((*[""] * 1_000_000, wire.Hole(8)))),
    "the most candidates": lambda: _long(candidates=wire.MAX_CANDIDATES, passes=wire.MAX_PASSES),
    "the most scores": lambda: wire.Score(1, "x = ", (CODE * 1000,) * 4 * wire.MAX_CANDIDATES),
    "ten megabytes of suffix": lambda: wire.Score(1, "x = ", ("1", "2"), CODE * 200_000),
    "a model of a long name": lambda: wire.Lease(1, "a" * 100_000),
    "a lease for ever": lambda: wire.Lease(1, idle_s=1e308),
    "a deadline that never comes": lambda: _long(passes=wire.MAX_PASSES, deadline_ms=1e308),
}
"""By words for it."""


@scenario(unharmed=True)
async def half_frames(nest: Nest, number: int) -> None:
    """Frames cut at every byte, before the hello and after it; who goes is forgotten, who comes back is served."""
    frame = wire.encode(attrs.evolve(BRIEF, id=1))
    cut = 1 + number * 7 % (len(frame) - 1)
    mute, gone, slow = await nest.peer(greet=False), await nest.peer(), await nest.peer()
    await mute.send_bytes(wire.encode(wire.Hello(wire.PROTOCOL, "0.1"))[: 1 + number % 20])
    await gone.send_bytes(frame[:cut])
    await slow.send_bytes(frame[:cut])
    gone.close()
    mute.close()
    await right_fill(nest.client(), "a fill beside half frames")
    await slow.send_bytes(frame[cut:])
    if not isinstance(answer := await within(slow.answer(), "the rest of a frame"), wire.Filled):
        raise Broken(f"a frame in two halves was answered by {answer}")


@scenario(unharmed=True)
async def half_frame_for_ever(nest: Nest, number: int) -> None:
    """Half a frame, and then silence from a client that stays."""
    for greeted in (True, False):
        peer = await nest.peer(greeted)
        await peer.send_bytes(b"\0\0\1\0" + b"\x81" * (number % 200))
    await right_fill(nest.client(), "a fill beside half frames")


@scenario(unharmed=True)
async def garbage(nest: Nest, number: int) -> None:
    """Random bytes, as frames and not; the daemon says what is wrong with them, and hangs up."""
    chance = random.Random(number)
    for greeted in (True, False):
        peer = await nest.peer(greeted)
        noise = chance.randbytes(chance.randint(1, 5000))
        if number % 2:
            noise = len(noise).to_bytes(4, "big") + noise
        await peer.send_bytes(noise)
        peer.end_sending()
        said = [message async for message in peer.rest()]
        if any(not isinstance(one, wire.Failed) or one.id is not None or one.code != "request" for one in said):
            raise Broken(f"garbage was answered by {said}")
        if not said:
            raise Broken("garbage was answered by nothing")


@scenario(unharmed=True)
async def oversized(nest: Nest, number: int) -> None:
    """A frame that says it is larger than any may be: refused before it is read."""
    sizes = (wire.MAX_FRAME + 1, 2**31 - 1, 2**31, 2**32 - 1, int.from_bytes(b"GET ", "big"))
    for greeted in (True, False):
        peer = await nest.peer(greeted)
        await peer.send_bytes(sizes[number % len(sizes)].to_bytes(4, "big"))
        said = [message async for message in peer.rest()]
        if [getattr(one, "code", one) for one in said] != ["request"] or "too large" not in str(said):
            raise Broken(f"a frame that is too large was answered by {said}")


@scenario(unharmed=True)
async def nonsense(nest: Nest, number: int) -> None:
    """Whole frames with messages that cannot be understood: each is refused, and the connection goes on."""
    peer = await nest.peer()
    for payload in random.Random(number).sample(NONSENSE, len(NONSENSE)):
        await peer.send_bytes(len(payload).to_bytes(4, "big") + payload)
        said = await within(peer.next(), "a refusal")
        if not isinstance(said, wire.Failed) or said.id not in (None, 1) or said.code != "request":
            raise Broken(f"{payload[:60]!r} was answered by {said}")
        if not isinstance(said := await answered(peer, await peer.ask(wire.Status(0))), wire.Report):
            raise Broken(f"after {payload[:60]!r} a status was answered by {said}")


@scenario(unharmed=True)
async def greedy(nest: Nest, number: int) -> None:
    """The most that a message may ask for, then the client goes: the daemon hears others, serves them, and forgets."""
    peer, watcher, other = await nest.peer(), nest.client(), nest.client()
    await right_fill(other)
    what = list(GREED)[number % len(GREED)]
    await within(peer.send(GREED[what]()), what)
    served = asyncio.ensure_future(right_fill(other, f"a fill beside {what}"))
    slowest = 0.0
    while not served.done():
        begun_at = time.monotonic()
        await within(watcher.status(), f"a status beside {what}")
        slowest = max(slowest, time.monotonic() - begun_at)
        await asyncio.sleep(0.01)
    await served
    peer.close()
    if slowest > DEAF_S:
        raise Broken(f"beside {what} the daemon was deaf for {slowest:.1f} s")
