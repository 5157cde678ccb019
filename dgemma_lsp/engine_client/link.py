"""Keeping one connection to a daemon that suits this client: found, started, replaced, and found again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import threading
from collections.abc import AsyncIterator, Sequence

from dgemma_engine import wire
from dgemma_lsp.engine_client.connection import Connection
from dgemma_lsp.engine_client.dial import dial, endpoint, pid_words
from dgemma_lsp.engine_client.errors import EngineError, EngineLeft, EngineNotRunning, EngineUnavailable
from dgemma_lsp.engine_client.start import start_daemon

REACH_TIMEOUT = 30.0
"""Seconds until a daemon that lives, or was started, has to take us; starting one has its own limit."""

LEAVE_TIMEOUT = 10.0
"""Seconds for a daemon that was told to leave to make room. It finishes what runs after that."""

START_PAUSE = 1.0
"""Seconds between two starts: whoever holds the daemon's lock is about to take clients, or to leave."""

MOST_STARTS = 3
"""Daemons that come up and are gone at once, one after the other, before that is an error."""


class Link:
    """`python` and `arguments` make a daemon; without `start` only one that runs is used, whatever its version."""

    def __init__(self, python: str, arguments: Sequence[str], client: str, start: bool) -> None:
        # Counted on over reconnections, so that an id of an earlier connection means nothing on this one.
        self.ids = itertools.count(1)
        self._python, self._arguments = python, tuple(arguments)
        self._client, self._start = client, start
        self._connection: Connection | None = None
        self._retired: set[Connection] = set()
        self._reaching: asyncio.Task[Connection] | None = None
        self._closed = False

    async def connected(self) -> Connection:
        """The connection for a request; whoever comes while one is being made waits for the same."""
        while not self._closed and (connection := self._connection) is not None:
            if await connection.usable():
                return connection
            self.retire(connection)
        if self._closed:
            raise EngineUnavailable("the client of the engine is closed")
        if self._reaching is None:
            self._reaching = asyncio.get_running_loop().create_task(self._reach())
            self._reaching.add_done_callback(self._reached)
        reaching = self._reaching
        try:
            # One who gives up must not take it from the others.
            return await asyncio.shield(reaching)
        except asyncio.CancelledError:
            if self._closed and reaching.cancelled():
                raise EngineUnavailable("the client of the engine was closed") from None
            raise

    @contextlib.asynccontextmanager
    async def existing(self) -> AsyncIterator[Connection | None]:
        """A connection to the daemon that runs, of whatever version; None when there is none."""
        connection = self._connection
        if connection is None or not await connection.usable():
            try:
                connection = await dial(endpoint(), self._client, self.ids)
            except (EngineNotRunning, EngineLeft):
                connection = None
        try:
            yield connection
        finally:
            if connection is not None and connection is not self._connection:
                await connection.close()

    async def end(self, connection: Connection, finish: bool) -> None:
        """Has the daemon make room for another. Raises `EngineUnavailable` when it does not."""
        try:
            leave = connection.request(wire.Shutdown(next(self.ids), finish), wire.Done)
            await asyncio.wait_for(leave, LEAVE_TIMEOUT)
        except (asyncio.TimeoutError, TimeoutError):
            raise EngineUnavailable(
                f"the engine (pid {connection.welcome.pid}) was told to leave and did not within "
                f"{LEAVE_TIMEOUT:.0f} s; end it with: dgemma-lsp engine stop --force; its log: {wire.log_file()}"
            ) from None
        except EngineUnavailable:
            # It left before it could say so.
            pass
        except EngineError as error:
            if error.code != "closing":
                raise
        self.retire(connection)

    def retire(self, connection: Connection) -> None:
        """No more requests on this one; those that are open may end."""
        if self._connection is connection:
            self._connection = None
        connection.leave()
        self._retired = {one for one in (*self._retired, connection) if not one.lost}

    async def close(self) -> None:
        self._closed = True
        if self._reaching is not None:
            self._reaching.cancel()
            await asyncio.wait([self._reaching])
        connections = {*self._retired, *([self._connection] if self._connection else [])}
        self._connection = None
        self._retired.clear()
        for connection in connections:
            await connection.close()

    def _reached(self, task: asyncio.Task[Connection]) -> None:
        self._reaching = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _reach(self) -> Connection:
        """Connects to the daemon, which is started, or replaced by our own, where need be."""
        place = endpoint()
        loop = asyncio.get_running_loop()
        limit = loop.time() + REACH_TIMEOUT
        next_start, pause = loop.time(), 0.01
        ours: list[int] = []
        while True:
            try:
                return await self._suitable(await dial(place, self._client, self.ids), ours)
            except EngineUnavailable as error:
                problem = error
            passing = isinstance(problem, EngineNotRunning | EngineLeft)
            if not self._start:
                raise problem
            if loop.time() > limit:
                raise EngineUnavailable(
                    f"an engine{pid_words(place)} holds {place.lock} and takes no clients ({problem}); "
                    "end it with: dgemma-lsp engine stop --force"
                )
            if loop.time() < next_start:
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.2)
                continue
            started = await _in_thread(self._python, self._arguments)
            if started is None and not passing:
                raise problem
            if started is not None:
                ours.append(started)
                limit = loop.time() + REACH_TIMEOUT
            if len(ours) > MOST_STARTS:
                raise EngineUnavailable(
                    f"the engine starts and is gone at once; its log: {wire.log_file()}; see: dgemma-lsp doctor"
                )
            next_start, pause = loop.time() + START_PAUSE, 0.01

    async def _suitable(self, connection: Connection, ours: Sequence[int]) -> Connection:
        """The same connection. Raises `EngineLeft` when the daemon was older and made room for one that we start.

        What is older although we started it, by the process ids in `ours`, is what our interpreter has to offer.
        """
        theirs = connection.welcome
        own, same = theirs.pid in ours, theirs.protocol == wire.PROTOCOL
        older = is_older(theirs.package, wire.package_version()) if same else theirs.protocol < wire.PROTOCOL
        if not self._start or (same and (own or not older)):
            return connection
        if older and not own:
            await self.end(connection, finish=True)
            raise EngineLeft("an older engine made room")
        await connection.close()
        whose = f"of {self._python}" if own else f"that runs (pid {theirs.pid})"
        raise EngineError(
            "protocol",
            f"the engine {whose} is dgemma-lsp {theirs.package} and speaks protocol {theirs.protocol}, this is "
            f"{wire.package_version()} and speaks {wire.PROTOCOL}; install the same version of both"
            f"{'' if own else ', or restart the editor'}",
        )


def is_older(version: str, than: str) -> bool:
    """Whether a version comes before another, as far as both are versions: numbers, then pre-release or not."""
    one, other = _ordered(version), _ordered(than)
    return one is not None and other is not None and one < other


def _ordered(version: str) -> tuple[list[int], bool] | None:
    found = re.match(r"(\d+(?:\.\d+)*)(.*)", version)
    if found is None:
        return None
    numbers = [int(number) for number in found[1].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers, re.match(r"[.\-_]?(a|b|rc|dev|alpha|beta|pre)", found[2]) is None


async def _in_thread(python: str, arguments: Sequence[str]) -> int | None:
    """`start_daemon` on a thread that, unlike those of `asyncio.to_thread`, nobody has to wait for in order to end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int | None] = loop.create_future()

    def settle(result: int | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def run() -> None:
        result, failure = None, None
        try:
            result = start_daemon(python, arguments)
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):
            # The loop may be closed by now.
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True).start()
    return await future
