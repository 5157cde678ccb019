"""Daemons that come and go; no model is loaded for that."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

from .nest import Nest
from .scenario import scenario
from .waiting import Broken, end_of, until, within


@scenario(fills=False)
async def start_stop_kill(nest: Nest, number: int) -> None:
    """A daemon is ended, in turn by a client, by SIGKILL and by SIGTERM, and another client starts the next."""
    first, second = nest.client("first"), nest.client("second")
    pid = (await within(first.status(), "a status")).pid
    if number % 3 == 0:
        await within(first.shutdown(), "a shutdown")
    else:
        # The next client may well meet it dying.
        nest.processes.strike(pid, (signal.SIGKILL, signal.SIGTERM)[number % 3 - 1])
    pids = [(await within(client.status(), "a status")).pid for client in (second, first)]
    if number % 3 != 2 and pid in pids:
        raise Broken(f"daemon {pid} was ended and answers")
    await nest.processes.gone(pid)
    if pids[0] != pids[1] and pid not in pids:
        raise Broken(f"two clients have daemons of their own: {pids}")


@scenario(fills=False)
async def killed_while_starting(nest: Nest, number: int) -> None:
    """kill -9 at any moment between the start of a process and its first answer."""
    chance = random.Random(number)
    client = nest.client()
    pid = await within(client.shutdown(finish=False), "a shutdown")
    if pid is not None:
        await nest.processes.gone(pid)
    status = asyncio.ensure_future(client.status())
    await until(lambda: bool(nest.processes.daemons()) or status.done(), lambda: "no daemon is started")
    await asyncio.sleep(chance.uniform(0, 0.25))
    for victim in nest.processes.daemons()[: 1 + number % 2]:
        nest.processes.strike(victim)
    await end_of(status, "a status")
    await within(nest.client().status(), "the next status")


@scenario(fills=False)
async def killed_starter(nest: Nest, number: int) -> None:
    """kill -9 of the command that starts the daemon, at any moment; the daemon, if it came so far, serves the next."""
    pid = await within(nest.client().shutdown(finish=False), "a shutdown")
    if pid is not None:
        await nest.processes.gone(pid)
    command = [str(Path(sys.executable).parent / "dgemma-lsp"), "engine", "start"]
    starter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await asyncio.sleep(random.Random(number).uniform(0.1, 1))
    starter.kill()
    starter.wait()
    await within(nest.client().status(), "the next status")


@scenario(fills=False, share=0.05)
async def forgotten(nest: Nest, number: int) -> None:
    """Nobody has said goodbye, and nobody is there: the daemon leaves by itself, and leaves nothing."""
    pid = (await within(nest.client().status(), "a status")).pid
    await nest.send_guests_off()
    await nest.change_regular()
    if await nest.processes.gone(pid):
        raise Broken(f"daemon {pid} did not leave well")
    if left := nest.left():
        raise Broken(f"a daemon that left by itself left {left}")
