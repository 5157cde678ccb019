"""What the daemon stands on is taken from under it: its disk, its clock, its processor, its folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient

from .fills import SECONDS, answered, begun_by, brief, masked, right_fill, until_report
from .nest import Nest
from .peer import Peer
from .scenario import scenario
from .waiting import Broken, end_of, until, within

CLOCK = """\
import random
import time

real = time.time


def jumping():
    return real() + random.uniform(-10, 10) * 86400


time.time = jumping
"""


@contextlib.contextmanager
def _variable(name: str, value: object) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = str(value)
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def _full_disk(nest: Nest) -> Iterator[None]:
    log = nest.folder / "full" / "dgemma-lsp" / "log" / "engine.log"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    with _variable("XDG_STATE_HOME", nest.folder / "full"):
        yield


@contextlib.contextmanager
def _nowhere(nest: Nest) -> Iterator[None]:
    # Not even root can make folders there.
    with _variable("XDG_STATE_HOME", "/proc/nowhere"):
        yield


@contextlib.contextmanager
def _jumping_clock(nest: Nest) -> Iterator[None]:
    folder = nest.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    with _variable("PYTHONPATH", folder):
        yield


@scenario()
async def paused(nest: Nest, number: int) -> None:
    """SIGSTOP for a while, and on: who was served and who came meanwhile are answered."""
    running, client = await nest.peer(), nest.client()
    fill = await begun_by(running, SECONDS, drafts=1 + number % 8)
    pid = (await within(client.status(), "a status")).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        fills = [asyncio.ensure_future(right_fill(one, "a fill meanwhile")) for one in (client, nest.client())]
        await asyncio.sleep(0.3)
    finally:
        os.kill(pid, signal.SIGCONT)
    if not isinstance(end := await answered(running, fill), wire.Filled):
        raise Broken(f"a fill that was paused ended in {end}")
    await asyncio.gather(*fills)


@scenario(share=0.05)
async def frozen(nest: Nest, number: int) -> None:
    """SIGSTOP for ever: who waits and who comes is told, and can go on when somebody kills it."""
    client, late = nest.client(), nest.client()
    await right_fill(client)
    pid = (await within(client.status(), "a status")).pid
    os.kill(pid, signal.SIGSTOP)
    fills = [asyncio.ensure_future(end_of(brief(one), "a fill of a frozen daemon")) for one in (client, late)]
    if (ends := await asyncio.gather(*fills)) != ["unavailable"] * 2:
        raise Broken(f"fills of a frozen daemon ended in {ends}")
    nest.processes.strike(pid)
    await asyncio.gather(right_fill(client), right_fill(late))


@scenario()
async def disk_fills_up(nest: Nest, number: int) -> None:
    """The log goes on in /dev/full under a daemon that lives, and later in a file again."""
    client, log = nest.client(), wire.log_file()
    await right_fill(client)
    log.unlink(missing_ok=True)
    log.symlink_to("/dev/full")
    try:
        for _ in range(3):
            await right_fill(nest.client())
    finally:
        log.unlink()
    await right_fill(nest.client())
    await until(log.is_file, lambda: "the log does not go on when the disk has room again")


@scenario(fills=False)
async def lock_left_behind(nest: Nest, number: int) -> None:
    """A dead daemon's files lie there, with somebody else's process id, nonsense or nothing in the lock."""
    client = nest.client()
    pid = (await within(client.status(), "a status")).pid
    place = nest.place
    await nest.processes.kill(pid)
    place.lock.write_text(("1\n", "no number", "", "9" * 5000, f"{os.getpid()}\n")[number % 5])
    if number % 2:
        place.door.unlink()
    if (next_pid := (await within(client.status(), "a status")).pid) == pid:
        raise Broken(f"the dead daemon {pid} answers")
    if place.lock.read_text() != f"{next_pid}\n":
        raise Broken(f"the lock of daemon {next_pid} says {place.lock.read_text()[:80]!r}")


@scenario()
async def socket_deleted(nest: Nest, number: int) -> None:
    """Nobody finds the daemon any more: others get a new one, it finishes what it does and leaves by itself."""
    old = await _busy(nest)
    nest.place.door.unlink()
    await _succeeded(nest, old)


@scenario()
async def socket_replaced(nest: Nest, number: int) -> None:
    """The same when something else stands where its socket was: a file, or a socket that nobody listens at."""
    old, place = await _busy(nest), nest.place
    place.door.unlink()
    if number % 2 or place.tcp:
        place.door.write_text('{"port": 1, "token": "nobody"}')
    else:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(place.door))
    await _succeeded(nest, old)


@scenario()
async def folder_vanished(nest: Nest, number: int) -> None:
    """The runtime folder is removed, as at a logout, and made anew; meanwhile nobody new is served."""
    old = await _busy(nest)
    shutil.rmtree(nest.runtime)
    if (ended := await end_of(nest.client().status())) != "unavailable":
        raise Broken(f"without a runtime folder a client was told {ended}")
    nest.runtime.mkdir(mode=0o700)
    await _succeeded(nest, old)


@scenario(setting=_full_disk)
async def full_disk(nest: Nest, number: int) -> None:
    """Not a line of the log can be written."""
    await _restart(nest)


@scenario(setting=_nowhere)
async def unwritable_log(nest: Nest, number: int) -> None:
    """There can be no log at all."""
    await _restart(nest)


@scenario(setting=_jumping_clock)
async def clock_jumps(nest: Nest, number: int) -> None:
    """The daemon's wall clock jumps by days: idle times, deadlines and what can be refined do not care."""
    client = nest.client()
    fill = await within(brief(client), "a fill")
    await within(client.refine(fill, [wire.Span(0, 0, 1)]), "refining")
    late = await end_of(client.fill(masked(20_000), passes=1000, length="exact", deadline_ms=200), "a deadline")
    if not isinstance(late, wire.Filled) or late.candidates[0].finish != "deadline":
        raise Broken(f"a fill with a deadline ended in {late}")
    days = set(re.findall(r"^\d{4}-\d\d-\d\d", nest.log(), re.MULTILINE))
    if len(days) < 3:
        raise Broken(f"the clock does not jump: {days}")
    if (await within(client.status(), "a status")).models == ():
        raise Broken("the model was unloaded before its time")
    await within(client.lease(idle_s=0.05), "a lease")
    await until_report(client, lambda now: not now.models, "unloading an idle model")


async def _restart(nest: Nest) -> None:
    """The next fill starts another one."""
    pid = await within(nest.client().shutdown(), "a shutdown")
    if pid is not None and await nest.processes.gone(pid):
        raise Broken(f"daemon {pid} did not leave well")


async def _busy(nest: Nest) -> tuple[int, EngineClient, Peer, wire.Fill]:
    """A daemon, somebody who is connected to it, and somebody else whose fill runs."""
    client, peer = nest.client(), await nest.peer()
    pid = (await within(client.status(), "a status")).pid
    return pid, client, peer, await begun_by(peer, SECONDS)


async def _succeeded(nest: Nest, old: tuple[int, EngineClient, Peer, wire.Fill]) -> None:
    """There is a new daemon; the old one did its duty and has left."""
    pid, client, peer, fill = old
    await right_fill(client, "a fill of who was connected")
    if (await within(nest.client().status(), "a status")).pid == pid:
        raise Broken(f"nobody can find daemon {pid}, and it answers")
    if not isinstance(end := await answered(peer, fill), wire.Filled):
        raise Broken(f"a fill that ran ended in {end}")
    await nest.send_guests_off()
    await nest.change_regular()
    if await nest.processes.gone(pid):
        raise Broken(f"daemon {pid} did not leave well")
