"""A daemon in the test's own process, on a real socket or port, with a scheduler that does what the test says."""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dgemma_engine import wire
from dgemma_engine.daemon import Daemon
from dgemma_engine.door import Door
from dgemma_engine.scheduler import Job

TRANSPORTS = ("socket", "port")
TEXT = wire.MaskedText(("abc", wire.Hole(2)))
FILLED = (wire.Candidate(("x",), None, 1, "passes"),)
TIMEOUT = 20.0


class Scheduler:
    """Stands for the scheduler: keeps what it is given until the test answers."""

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[Job] = asyncio.Queue()
        self.open: dict[tuple[int, int], Job] = {}
        self.cancelled: list[tuple[int, int]] = []
        self.dropped: asyncio.Queue[int] = asyncio.Queue()
        self.unloads: list[tuple[str | None, Callable[[], None]]] = []
        self.stops: list[bool] = []
        self.empty = True
        self.stopped: Callable[[], None] | None = None

    def start(self, crashed: Callable[[], None]) -> None:
        self.crashed = crashed

    def submit(self, job: Job) -> None:
        self.open[job.client, job.request.id] = job
        self.jobs.put_nowait(job)

    def cancel(self, client: int, request_id: int) -> None:
        self.cancelled.append((client, request_id))
        self.end(client, request_id, "cancelled")

    def drop(self, client: int) -> None:
        self.dropped.put_nowait(client)
        for who, id in list(self.open):
            if who == client:
                self.end(who, id, "cancelled")

    def unload(self, model: str | None, done: Callable[[], None]) -> None:
        self.unloads.append((model, done))

    def stop(self, finish: bool, done: Callable[[], None]) -> None:
        self.stops.append(finish)
        self.stopped = done
        if not finish:
            for who, id in list(self.open):
                self.end(who, id, "closing")
        self._check_stopped()

    def answer(self, job: Job, message: wire.Answer | None = None) -> None:
        job.send(message or wire.Filled(job.request.id, FILLED, {}, {}))
        self.open.pop((job.client, job.request.id), None)
        self._check_stopped()

    def end(self, client: int, id: int, code: str) -> None:
        self.answer(self.open[client, id], wire.Failed(id, code, code))

    def _check_stopped(self) -> None:
        if self.stopped and not self.open:
            threading.Thread(target=self.stopped).start()

    def models(self) -> tuple[wire.ModelReport, ...]:
        return (wire.ModelReport("nano", "loading", "", "", 0, 0.0, 900.0, 0.5),)

    def queue(self) -> wire.QueueReport:
        return wire.QueueReport(0, len(self.open), {}, 0, 0)

    def cache(self) -> wire.CacheReport:
        return wire.CacheReport(0, 0, 0, 0, 0, 0.0, 0, 0)


class Peer:
    """The client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *messages: wire.Message) -> None:
        self.writer.write(b"".join(map(wire.encode, messages)))

    async def next(self) -> Any:
        return await wire.read_message(self.reader)

    async def ask(self, message: wire.Message) -> Any:
        self.send(message)
        return await self.next()

    async def is_sent_away(self) -> bool:
        """Whether the daemon says that it leaves, and closes the connection."""
        last = await self.next()
        return isinstance(last, wire.Failed) and (last.id, last.code) == (None, "closing") and await self.ends()

    async def ends(self) -> bool:
        """Whether the daemon closes the connection, with nothing more to say."""
        try:
            return await self.next() is None
        except (OSError, wire.FrameError):
            return True


class House:
    """A daemon in this process, and those who knock at its door."""

    def __init__(self, endpoint: wire.Endpoint, **options: Any) -> None:
        door = Door.claim(endpoint)
        assert door is not None
        self.endpoint = endpoint
        self.scheduler = Scheduler()
        options = {"tick": 0.02, "linger": 60.0, **options}
        self.daemon = Daemon(door, self.scheduler, "engine.log", lambda: None, **options)  # type: ignore[arg-type]
        self.running = asyncio.ensure_future(self.daemon.run())

    async def connect(self) -> Peer:
        if not self.endpoint.tcp:
            return Peer(*await asyncio.open_unix_connection(str(self.endpoint.socket)))
        return Peer(*await asyncio.open_connection("127.0.0.1", self.endpoint.address()[0]))

    async def peer(self, protocol: int = wire.PROTOCOL) -> Peer:
        peer = await self.connect()
        token = self.endpoint.address()[1] if self.endpoint.tcp else ""
        assert isinstance(await peer.ask(wire.Hello(protocol, "0.1", token)), wire.Welcome)
        return peer

    async def job(self) -> Job:
        return await self.scheduler.jobs.get()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.005)


Scene = Callable[[House], Awaitable[None]]


class Stage:
    """Plays scenes: in each a daemon starts, something is done to it, and it has to leave in order."""

    def __init__(self, transport: str, runtime: wire.Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        if transport == "port":
            monkeypatch.setenv("DGEMMA_ENGINE_TCP", "1")
        self.endpoint = wire.Endpoint(runtime.folder, transport == "port")
        # caplog listens at the root.
        monkeypatch.setattr(logging.getLogger("dgemma_engine"), "propagate", True)

    def play(self, scene: Scene, **options: Any) -> None:
        asyncio.run(self._play(scene, options))

    async def _play(self, scene: Scene, options: dict[str, Any]) -> None:
        house = House(self.endpoint, **options)
        try:
            await asyncio.wait_for(scene(house), TIMEOUT)
        finally:
            house.daemon.leave("the scene is over", finish=False)
            await asyncio.wait_for(house.running, TIMEOUT)
        assert not self.endpoint.door.exists()
        assert not self.endpoint.lock.exists()


def failed(message: Any) -> tuple[int | None, str]:
    assert isinstance(message, wire.Failed), message
    return message.id, message.code


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def big_draft(id: int, number: int) -> wire.Draft:
    return wire.Draft(id, number, 1000, 1.0, (), ("x" * 20_000,))
