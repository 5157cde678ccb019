"""Several daemons, and several clients that start one, at the same moment: there is one daemon then."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from .fills import SECONDS, begun_by
from .nest import Nest
from .scenario import scenario
from .waiting import Broken, within


@scenario(fills=False)
async def two_daemons(nest: Nest, number: int) -> None:
    """Two daemons are started at once: beside nothing, a dead one's files, and one that is leaving."""
    await _race(nest, 2, number)


@scenario(fills=False)
async def ten_daemons(nest: Nest, number: int) -> None:
    """The same with ten."""
    await _race(nest, 10, number)


@scenario(fills=False)
async def ten_clients(nest: Nest, number: int) -> None:
    """Ten clients find no daemon, or a dead one's files, and are all served by one."""
    await _make_room(nest, number)
    clients = [nest.client(f"client {index}") for index in range(10)]
    reports = await within(asyncio.gather(*(client.status() for client in clients)), "ten clients")
    if len(pids := {report.pid for report in reports}) != 1:
        raise Broken(f"ten clients are served by {len(pids)} daemons")


async def _race(nest: Nest, count: int, number: int) -> None:
    await _make_room(nest, number)
    starters = [
        subprocess.Popen(
            [sys.executable, "-m", "dgemma_engine"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(sys.executable).parent,
        )
        for _ in range(count)
    ]
    said = [await within(asyncio.to_thread(one.communicate), "a start") for one in starters]
    if any(one.returncode for one in starters) or any(err for _, err in said):
        raise Broken(f"a start failed: {said}")
    lines = sorted(out for out, _ in said)
    if lines[:-1] != ["held\n"] * (count - 1) or not (ready := re.fullmatch(r"ready (\d+)\n", lines[-1])):
        raise Broken(f"{count} daemons said {lines}")
    if (pid := (await within(nest.client().status(), "a status")).pid) != int(ready[1]):
        raise Broken(f"daemon {ready[1]} was ready and {pid} answers")


async def _make_room(nest: Nest, number: int) -> None:
    """No daemon takes clients then; in turn because it has left, was killed, or is leaving and has still to finish."""
    client = nest.client()
    pid = (await within(client.status(), "a status")).pid
    if number % 3 == 1:
        await nest.processes.kill(pid)
        return
    if number % 3 == 2:
        peer = await nest.peer()
        await begun_by(peer, SECONDS)
    await within(client.shutdown(), "a shutdown")
    if not number % 3:
        await nest.processes.gone(pid)
