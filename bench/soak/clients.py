"""Clients that go without a word, do not read, or come in crowds; nobody else may notice."""

from __future__ import annotations

import asyncio
import subprocess

import attrs

from dgemma_engine import wire

from .fills import BRIEF, ENDLESS, answered, begun_by, right_fill, until_report
from .nest import Nest
from .peer import Peer
from .scenario import scenario
from .waiting import Broken, end_of, until, within

PLENTY = 100_000
"""Bytes; not much more goes into a Unix socket."""
CROWD = 80
"""More than the daemon takes in."""
FLOOD = 2000
MEMORY = 128 * 2**20
"""Bytes that a daemon may take for a client that only takes and never reads."""


@scenario(unharmed=True)
async def vanished_while_queued(nest: Nest, number: int) -> None:
    """Sockets are closed without a goodbye while their fills wait; the fill that runs goes on."""
    runner, watcher = await nest.peer(), nest.client()
    running = await begun_by(runner)
    waiting = [await nest.peer() for _ in range(3)]
    for peer in waiting:
        await peer.ask(ENDLESS)
        await within(peer.processed(), "a status")
    cancelled = (await within(watcher.status(), "a status")).queue.ended.get("cancelled", 0) + 3
    for peer in waiting:
        peer.close()
    await until_report(watcher, lambda now: now.queue.ended.get("cancelled", 0) >= cancelled, "forgetting their fills")
    await runner.send(wire.Cancel(running.id))
    _expect(await answered(runner, running), "cancelled")


@scenario(unharmed=True)
async def vanished_mid_pass(nest: Nest, number: int) -> None:
    """A socket is closed without a goodbye while its fill runs."""
    peer, watcher = await nest.peer(), nest.client()
    await begun_by(peer, drafts=1 + number % 8)
    cancelled = (await within(watcher.status(), "a status")).queue.ended.get("cancelled", 0)
    peer.close()
    await until_report(watcher, lambda now: now.queue.ended.get("cancelled", 0) > cancelled, "ending its fill")


@scenario(unharmed=True)
async def killed_client(nest: Nest, number: int) -> None:
    """kill -9 of the process that holds the connection, its fill queued or running, its drafts unread."""
    runner, peer, watcher = await nest.peer(), await nest.peer(), nest.client()
    if number % 2:
        await begun_by(runner)
    await peer.ask(ENDLESS)
    await within(peer.processed(), "a status")
    cancelled = (await within(watcher.status(), "a status")).queue.ended.get("cancelled", 0)
    holder = subprocess.Popen(["sleep", "600"], pass_fds=[peer.socket.fileno()])
    peer.close()
    holder.kill()
    holder.wait()
    await until_report(watcher, lambda now: now.queue.ended.get("cancelled", 0) > cancelled, "ending its fill")


@scenario(unharmed=True)
async def stalled(nest: Nest, number: int) -> None:
    """A client never reads while a traced fill writes to it; then it goes, or reads on as if nothing had been."""
    peer, watcher = await nest.peer(), nest.client()
    request = await peer.ask(attrs.evolve(ENDLESS, trace=True))
    await until(lambda: peer.waiting > PLENTY, lambda: f"only {peer.waiting} bytes came")
    passes = (await within(watcher.status(), "a status")).queue.passes + 20
    await until_report(watcher, lambda now: now.queue.passes >= passes, "going on")
    if number % 2:
        return
    await peer.send(wire.Cancel(request.id))
    _expect(await answered(peer, request), "cancelled")


@scenario(unharmed=True)
async def flood(nest: Nest, number: int) -> None:
    """Thousands of requests from a client that reads none of the answers; then it goes, or reads them all."""
    peer, watcher = await nest.peer(), nest.client()
    before = (await within(watcher.status(), "a status")).memory
    frames = b"".join(wire.encode(wire.Status(index)) for index in range(FLOOD))
    sending = asyncio.ensure_future(peer.send_bytes(frames))
    await until(lambda: peer.waiting > 0, lambda: "nothing came back")
    await right_fill(nest.client(), "a fill beside a flood")
    grown = (await within(watcher.status(), "a status")).memory - before
    if grown > MEMORY:
        raise Broken(f"the daemon has grown by {grown} bytes")
    if number % 2:
        sending.cancel()
        await asyncio.wait([sending])
        return
    seen = set()
    while len(seen) < FLOOD:
        answer = await within(peer.answer(), "the rest of the answers")
        if not isinstance(answer, wire.Report) or answer.id in seen:
            raise Broken(f"after {len(seen)} answers came {answer}")
        seen.add(answer.id)
    await within(sending, "the flood")


@scenario(unharmed=True)
async def flood_of_fills(nest: Nest, number: int) -> None:
    """Hundreds of fills at once, some cancelled: each has exactly one answer, which may be a refusal."""
    peer = await nest.peer()
    fills = [attrs.evolve(BRIEF, id=index) for index in range(300)]
    await peer.send(*fills, *(wire.Cancel(index) for index in range(0, 300, 3)))
    seen: dict[int, str] = {}
    while len(seen) < len(fills):
        answer = await within(peer.answer(), "the rest of the answers")
        if answer is None or answer.id is None or answer.id in seen:
            raise Broken(f"after {len(seen)} answers came {answer}")
        seen[answer.id] = getattr(answer, "code", "filled")
    if set(seen.values()) - {"filled", "busy", "cancelled"}:
        raise Broken(f"fills ended in {set(seen.values())}")
    status = await peer.ask(wire.Status(0))
    if not isinstance(answer := await answered(peer, status), wire.Report):
        raise Broken(f"after the last answer came {answer}")


@scenario(unharmed=True)
async def crowd(nest: Nest, number: int) -> None:
    """More clients than the daemon takes in: those too many are told so, and can come when others have gone."""
    peers = [await nest.peer(greet=False) for _ in range(CROWD)]
    said = [await _greeted(nest, peer) for peer in peers]
    kinds = {getattr(one, "code", type(one).__name__.lower()) for one in said}
    if kinds != {"welcome", "busy"}:
        raise Broken(f"a crowd was told {kinds}")
    late = nest.client("late")
    if (ended := await end_of(late.status())) != "busy":
        raise Broken(f"a client too many was told {ended}")
    for peer in peers:
        peer.close()
    await until_report(nest.client(), lambda now: now.clients < 10, "noticing that the crowd has gone")
    await right_fill(late, "a fill after the crowd")


async def _greeted(nest: Nest, peer: Peer) -> wire.Message | None:
    try:
        return await within(peer.greet(nest.place), "a greeting")
    except OSError:
        # It was refused, and the daemon hung up, before it could say hello.
        return await within(peer.next(), "a refusal")


def _expect(answer: wire.Answer, code: str) -> None:
    if not isinstance(answer, wire.Failed) or answer.code != code:
        raise Broken(f"a fill ended in {answer}, not {code!r}")
