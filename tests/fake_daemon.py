"""`python -m tests.fake_daemon BEHAVIOUR`: the fake engine as a process.

It keeps the contract of `python -m dgemma_engine`: a lock, `ready PID` or `held`, detached, gone when nobody wants it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import time

from dgemma_engine import wire
from tests.fake_engine import FakeEngine

LINGER = 20.0
"""Seconds it waits for its end: long enough for a test, short enough for one that forgot it."""


def main(behaviour: str) -> None:
    """Starts the way a daemon does, or in one of the ways it may fail to."""
    if behaviour == "hanging":
        time.sleep(60)
    if behaviour == "broken":
        sys.exit("ModuleNotFoundError: No module named 'msgpack'")
    if behaviour == "chatty":
        print("hello", flush=True)
        sys.exit(0)
    endpoint = wire.find_endpoint()
    lock = os.open(endpoint.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("held", flush=True)
        return
    endpoint.socket.unlink(missing_ok=True)
    heard, said = os.pipe()
    pid = os.fork()
    if pid:
        os.close(said)
        # Until the child listens.
        os.read(heard, 1)
        print(f"ready {pid}", flush=True)
        return
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    asyncio.run(_live(endpoint, behaviour, said))
    endpoint.lock.unlink(missing_ok=True)


async def _live(endpoint: wire.Endpoint, behaviour: str, said: int) -> None:
    engine = await FakeEngine(behaviour).listen(endpoint)
    os.close(said)
    if behaviour == "short-lived":
        return
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(engine.done.wait(), LINGER)
    engine.close_door()
    # What was said last still has to leave.
    await asyncio.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
