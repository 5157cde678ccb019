"""kill -9 of the daemon, whatever it is doing."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from functools import partial

from dgemma_engine import wire
from dgemma_lsp.engine_client.blocking import BlockingEngine
from dgemma_lsp.engine_client.errors import EngineUnavailable

from .fills import ENDLESS, begun, brief, masked, right_fill, until_report
from .nest import Nest
from .scenario import scenario
from .waiting import Broken, end_of, until, within

TURNS = 24
"""Of the event loop; a client has connected and said hello within these."""
BUFFERED_PASSES = 50
"""Their traces are more than twice what a Unix socket holds."""


@scenario()
async def killed_before_hello(nest: Nest, number: int) -> None:
    """After a client has come and before the daemon greets it: another one serves it."""
    pid = (await within(nest.client().status(), "a status")).pid
    os.kill(pid, signal.SIGSTOP)
    fill = asyncio.ensure_future(right_fill(nest.client()))
    for _ in range(TURNS - number % TURNS):
        await asyncio.sleep(0)
    nest.processes.strike(pid)
    await fill


@scenario()
async def killed_while_loading(nest: Nest, number: int) -> None:
    """While torch is imported and the weights are read."""
    client = nest.client()
    pid = await within(client.shutdown(), "a shutdown")
    if pid is not None:
        await nest.processes.gone(pid)
    loading: asyncio.Queue[wire.Progress] = asyncio.Queue()
    fill = asyncio.ensure_future(client.fill(masked(8), on_progress=loading.put_nowait))
    await within(loading.get(), "the first word of loading")
    await asyncio.sleep(random.Random(number).uniform(0, 0.8))
    await nest.processes.kill(nest.processes.daemons()[0])
    ended = await end_of(fill)
    if ended != "unavailable" and not isinstance(ended, wire.Filled):
        raise Broken(f"a fill ended in {ended!r} when the daemon was killed")


@scenario()
async def killed_between_passes(nest: Nest, number: int) -> None:
    """After the n-th draft of a long hole."""
    client = nest.client()
    fill = await begun(client, drafts=1 + number % 8)
    nest.processes.strike((await within(client.status(), "a status")).pid)
    if (ended := await end_of(fill)) != "unavailable":
        raise Broken(f"a fill ended in {ended!r} when the daemon was killed")


@scenario()
async def killed_mid_frame(nest: Nest, number: int) -> None:
    """In the middle of sending a frame, to a client that reads slowly."""
    watcher, begins, may_read = nest.client(), threading.Event(), threading.Semaphore(0)

    def listen(_: wire.Draft) -> None:
        begins.set()
        may_read.acquire()

    def fill() -> str:
        options = {"passes": ENDLESS.passes, "length": ENDLESS.length, "trace": True, "on_draft": listen}
        with BlockingEngine(name="slow") as slow:
            try:
                slow.fill(masked(20_000), **options)
            except EngineUnavailable as error:
                return str(error)
        return "it was answered"

    slow = asyncio.ensure_future(asyncio.to_thread(fill))
    try:
        await until(lambda: begins.is_set() or slow.done(), lambda: "the slow client has no draft")
        passes = (await within(watcher.status(), "a status")).queue.passes
        for more in (BUFFERED_PASSES, 1 + number % 8):
            passes += more
            enough = partial(_has_passed, passes)
            report = await until_report(watcher, enough, "making drafts")
            # What is sent now, from many frames that wait, ends where the socket is full.
            may_read.release()
        await nest.processes.kill(report.pid)
    finally:
        may_read.release(1_000_000)
    said = await within(slow, "the slow client's fill")
    if "the stream ended after" not in said and not nest.place.tcp:
        raise Broken(f"the slow client heard no cut frame: {said}")


@scenario()
async def killed_while_others_wait(nest: Nest, number: int) -> None:
    """One fill runs, two clients wait for theirs."""
    clients = [nest.client(f"client {index}") for index in range(3)]
    fills = [await begun(clients[0], drafts=2, priority="interactive")]
    fills += [asyncio.ensure_future(brief(client)) for client in clients[1:]]
    report = await until_report(nest.client(), lambda now: now.queue.waiting == 2, "two fills that wait")
    nest.processes.strike(report.pid)
    for fill in fills:
        ended = await end_of(fill)
        if ended != "unavailable" and not isinstance(ended, wire.Filled):
            raise Broken(f"a fill ended in {ended!r} when the daemon was killed")
    await asyncio.gather(*(right_fill(client) for client in clients))


@scenario()
async def killed_at_any_time(nest: Nest, number: int) -> None:
    """Three clients fill, and no moment is like another; every other time the model has to be loaded first."""
    clients = [nest.client(f"client {index}") for index in range(3)]
    if number % 2:
        await right_fill(clients[0])
    ended: list[object] = []
    over = False

    async def fills(client_number: int) -> None:
        while not over:
            ended.append(await end_of(brief(clients[client_number])))

    tasks = [asyncio.ensure_future(fills(index)) for index in range(3)]
    pid = (await within(nest.client().status(), "a status")).pid
    await asyncio.sleep(random.Random(number).uniform(0, 1))
    nest.processes.strike(pid)
    over = True
    await within(asyncio.wait(tasks), "the clients")
    strange = [one for one in ended if one != "unavailable" and not isinstance(one, wire.Filled)]
    if strange:
        raise Broken(f"a fill ended in {strange[0]!r} when the daemon was killed")
    await asyncio.gather(*(right_fill(client) for client in clients))


def _has_passed(passes: int, report: wire.Report) -> bool:
    return report.queue.passes >= passes
