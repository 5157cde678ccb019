"""The daemon of a user: takes clients in, and leaves when nobody needs it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from . import wire
from .connection import GOODBYE_S, Connection
from .door import BACKLOG, Door
from .frame_reader import FrameReader
from .log import log
from .scheduler import Scheduler

MAX_CLIENTS = 64
LINGER_S = 10.0
"""How long the daemon stays without a client and without a model in memory."""
TICK_S = 2.0
"""Between two looks at the door and at the clocks of the clients."""
FINISH_S = 30.0
"""For what runs when the daemon is asked to finish it and leave."""
CANCEL_S = 3.0
"""For what runs when it is cancelled: a pass, or the loading of a model, which cannot be cut short."""
SWITCH_S = 0.0005
"""How long the thread that computes may keep the interpreter while a client waits; Python's own value is 5 ms."""


class Daemon:
    """Serves the clients of a claimed door until it leaves.

    `log_path` is for its reports; `ready` is called when it serves and signals reach it.
    """

    def __init__(
        self,
        door: Door,
        scheduler: Scheduler,
        log_path: os.PathLike[str],
        ready: Callable[[], None],
        *,
        linger: float = LINGER_S,
        tick: float = TICK_S,
    ) -> None:
        self.scheduler = scheduler
        self.token = door.token
        self.package = wire.package_version()
        self._door = door
        self._log_path = os.fspath(log_path)
        self._ready = ready
        self._linger = linger
        self._tick = tick
        self._started = self._quiet_since = time.monotonic()
        self._numbers = itertools.count(1)
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._deadline: float | None = None
        self._cancelling = False

    @property
    def leaving(self) -> bool:
        return self._deadline is not None

    async def run(self) -> None:
        """Serves until the daemon has left; nothing of it is in the runtime folder then."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_exception)
        self._changed, self._stopped = asyncio.Event(), asyncio.Event()
        self._watch_signals()
        sys.setswitchinterval(SWITCH_S)
        self._server = await self._loop.create_server(self._protocol, sock=self._door.listener, backlog=BACKLOG)
        self.scheduler.start(self._on_crashed)
        log.info("started: dgemma-lsp %s, python %s, %s", self.package, platform.python_version(), self._door.address)
        self._ready()
        while not self._ended():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._pause())
            self._changed.clear()
            self._look_around()
        for connection in list(self._connections):
            connection.abandon()
        if self._connections:
            await asyncio.wait(self._connections.values(), timeout=GOODBYE_S)
        log.info("ended after %.0f s", time.monotonic() - self._started)

    def leave(self, why: str, finish: bool) -> None:
        """Give the endpoint up at once, and leave when what runs has ended; without `finish` it is cancelled.

        Asked again without `finish`, the daemon stops waiting.
        """
        if not self.leaving:
            log.info("leaving: %s", why)
            self._shut_door()
            self._deadline = time.monotonic() + FINISH_S
            if finish:
                self.scheduler.stop(True, self._on_stopped)
        elif not finish and not self._cancelling:
            log.info("not waiting any longer: %s", why)
        if not finish and not self._cancelling:
            self._cancelling = True
            self._deadline = time.monotonic() + CANCEL_S
            self.scheduler.stop(False, self._on_stopped)
        for connection in list(self._connections):
            connection.close_when_idle()
        self._changed.set()

    def report(self, id: int) -> wire.Report:
        """The answer to a `Status`."""
        return wire.Report(
            id,
            package=self.package,
            protocol=wire.PROTOCOL,
            pid=os.getpid(),
            python=sys.executable,
            endpoint=self._door.address,
            uptime_s=time.monotonic() - self._started,
            memory=_memory(),
            clients=len(self._connections),
            log=self._log_path,
            models=self.scheduler.models(),
            queue=self.scheduler.queue(),
            cache=self.scheduler.cache(),
        )

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = FrameReader(loop=self._loop)
        return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._take_in(reader, writer), self._loop)

    def _take_in(self, reader: FrameReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(next(self._numbers), self, reader, writer)
        if self.leaving:
            connection.refuse("closing", "the engine is leaving; connect again")
        elif len(self._connections) >= MAX_CLIENTS:
            connection.refuse("busy", f"{MAX_CLIENTS} clients are connected, which is all the engine takes")
        if connection.closed:
            log.warning("client %d %s", connection.number, connection.ended)
            return
        task = self._loop.create_task(connection.run())
        self._connections[connection] = task
        task.add_done_callback(partial(self._let_go, connection))
        log.info("client %d opened, %d now", connection.number, len(self._connections))

    def _let_go(self, connection: Connection, task: asyncio.Task[None]) -> None:
        del self._connections[connection]
        self._quiet_since = time.monotonic()
        log.info("client %d closed, %d now: %s", connection.number, len(self._connections), connection.ended)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("client %d: a bug", connection.number, exc_info=error)

    def _look_around(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.check()
        if self._deadline is not None:
            if now >= self._deadline:
                self.leave(f"{FINISH_S:g} s are over", finish=False)
        elif not self._door.stands:
            # Others may have it: this daemon serves whom it has, and stands in nobody's way.
            self._shut_door()
            if not self._connections:
                self.leave("its door has gone", finish=False)
        elif self._connections or not self.scheduler.empty:
            self._quiet_since = now
        elif now - self._quiet_since >= self._linger:
            self.leave("nobody needs it", finish=False)

    def _shut_door(self) -> None:
        self._server.close()
        self._door.close()

    def _pause(self) -> float:
        left = self._tick if self._deadline is None else self._deadline - time.monotonic()
        return max(0.0, min(self._tick, left))

    def _ended(self) -> bool:
        if self._deadline is None:
            return False
        return self._stopped.is_set() or (self._cancelling and time.monotonic() >= self._deadline)

    def _on_stopped(self) -> None:
        """Called by the scheduler's thread, after its last answer."""

        def wake() -> None:
            self._stopped.set()
            self._changed.set()

        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waited that long
            self._loop.call_soon_threadsafe(wake)

    def _on_crashed(self) -> None:
        """Called by the scheduler's thread as it ends by a bug: another daemon serves the clients better."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.leave, "the scheduler failed", False)
        self._on_stopped()

    def _watch_signals(self) -> None:
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is None:
                continue
            leave = partial(self.leave, name, finish=False)
            try:
                self._loop.add_signal_handler(number, leave)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_, leave=leave: self._loop.call_soon_threadsafe(leave))


def _memory() -> int:
    """Bytes of the process in memory; 0 where nobody can tell."""
    try:
        import psutil  # 10 ms that only a status needs
    except ImportError:
        return 0
    return psutil.Process().memory_info().rss


def _log_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("event loop: %s", context["message"], exc_info=context.get("exception"))
