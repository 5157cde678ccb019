"""Daemons that are told to leave, and models to go, while there is something to do."""

from __future__ import annotations

import asyncio
import signal

import attrs

from dgemma_engine import wire

from .fills import BRIEF, ENDLESS, SECONDS, answered, begun, begun_by, brief, masked, right_fill, until_report
from .nest import Nest
from .scenario import scenario
from .waiting import Broken, end_of, within


@scenario()
async def told_to_finish(nest: Nest, number: int) -> None:
    """It finishes what runs and what waits, takes nothing new, and goes; the next one is there long before."""
    running, waiting, client = await nest.peer(), await nest.peer(), nest.client()
    first = await begun_by(running, SECONDS)
    second = await waiting.ask(BRIEF)
    await within(waiting.processed(), "a status")
    pid = await within(client.shutdown(), "a shutdown")
    too_late = await running.ask(BRIEF)
    next_pid = (await within(client.status(), "a status")).pid
    if next_pid == pid:
        raise Broken(f"daemon {pid} was told to leave and takes clients")
    ends = [await answered(waiting, second), await answered(running, too_late), await answered(running, first)]
    if [getattr(end, "code", "filled") for end in ends] != ["filled", "closing", "filled"]:
        raise Broken(f"what waited, what came too late and what ran ended in {ends}")
    if pid is not None and await nest.processes.gone(pid):
        raise Broken(f"daemon {pid} did not leave well")


@scenario()
async def told_to_go(nest: Nest, number: int) -> None:
    """Without `finish`, or by SIGTERM, all fills end at once; one that only waited is served by the next daemon."""
    running, waiting, client, other = await nest.peer(), await nest.peer(), nest.client(), nest.client()
    first = await begun_by(running, attrs.evolve(ENDLESS, priority="interactive"))
    second = await waiting.ask(ENDLESS)
    await within(waiting.processed(), "a status")
    fill = asyncio.ensure_future(right_fill(other, "a fill that waited"))
    pid = (await within(client.status(), "a status")).pid
    if number % 2:
        nest.processes.strike(pid, signal.SIGTERM)
    else:
        await within(client.shutdown(finish=False), "a shutdown")
    ends = [await answered(running, first), await answered(waiting, second)]
    if [getattr(end, "code", "filled") for end in ends] != ["closing", "closing"]:
        raise Broken(f"what ran and what waited ended in {ends}")
    await fill
    if await nest.processes.gone(pid):
        raise Broken(f"daemon {pid} did not leave well")


@scenario()
async def started_while_leaving(nest: Nest, number: int) -> None:
    """Clients come while another one sends the daemon away; whichever of the two answers, all are served."""
    client, others = nest.client(), [nest.client(f"client {index}") for index in range(3)]
    pid = (await within(client.status(), "a status")).pid
    fills = [asyncio.ensure_future(right_fill(other, "a fill meanwhile")) for other in others]
    for _ in range(number % 10):
        await asyncio.sleep(0)
    await within(client.shutdown(finish=bool(number % 2)), "a shutdown")
    fills += [asyncio.ensure_future(right_fill(other, "a fill afterwards")) for other in others]
    await asyncio.gather(*fills)
    await nest.processes.gone(pid)


@scenario()
async def unloaded_mid_fill(nest: Nest, number: int) -> None:
    """The model's memory is wanted back: what runs on it is cancelled, and the next fill loads it again."""
    peer, client, other = await nest.peer(), nest.client(), nest.client()
    fill = await begun_by(peer, drafts=1 + number % 8)
    await within(client.unload(), "unloading")
    end = await answered(peer, fill)
    if not isinstance(end, wire.Failed) or end.code != "cancelled":
        raise Broken(f"a fill whose model was unloaded ended in {end}")
    if models := (await within(client.status(), "a status")).models:
        raise Broken(f"after unloading there is {models}")
    await right_fill(other)


@scenario()
async def unloaded_while_loading(nest: Nest, number: int) -> None:
    """The model is not wanted any more before it is there."""
    client = nest.client()
    await within(client.unload(), "unloading")
    loading = asyncio.Event()
    fill = asyncio.ensure_future(client.fill(masked(8), on_progress=lambda _: loading.set()))
    await within(loading.wait(), "the first word of loading")
    for _ in range(number % 20):
        await asyncio.sleep(0.001)
    await within(client.unload(), "unloading")
    ended = await end_of(fill)
    if ended != "cancelled" and not isinstance(ended, wire.Filled):
        raise Broken(f"a fill whose model was unloaded ended in {ended}")


@scenario()
async def cancelled(nest: Nest, number: int) -> None:
    """Clients lose interest in fills that run and wait, and in the whole engine."""
    client, other = nest.client(), nest.client()
    running = await begun(client, drafts=1 + number % 8)
    waiting = asyncio.ensure_future(brief(other))
    await asyncio.sleep(0)
    running.cancel()
    await within(asyncio.wait([running]), "a cancelled fill")
    closing = asyncio.ensure_future(other.close())
    if (ended := await end_of(waiting)) != "unavailable" and not isinstance(ended, wire.Filled):
        raise Broken(f"a fill of a client that was closed ended in {ended}")
    await within(closing, "closing a client")
    await until_report(client, lambda now: not now.queue.running, "ending the fill")
