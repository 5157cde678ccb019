"""One client of the daemon: what it may say, and what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import threading
import time
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import attrs

from . import wire
from .errors import EngineError
from .frame_reader import FrameReader
from .log import log
from .scheduler import Job, Scheduler
from .windows import Windows

HANDSHAKE_S = 10.0
FRAME_S = 30.0
"""For a frame that has begun, from its first byte to its last."""
SLOW_BYTES = 1024 * 1024
"""A client that lets more than this wait gets no drafts and no progress, and is not listened to until it reads."""
STUCK_BYTES = 8 * 1024 * 1024
"""A client that lets more than this wait is dropped."""
GOODBYE_S = 2.0
"""For a client to read what was written to it last."""


class Host(Protocol):
    """What a connection needs of the daemon around it."""

    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def token(self) -> str: ...
    @property
    def package(self) -> str: ...
    @property
    def leaving(self) -> bool: ...
    def report(self, id: int) -> wire.Report: ...
    def leave(self, why: str, finish: bool) -> None: ...


@attrs.define(eq=False)
class _Open:
    """A request without its answer; `received` in monotonic seconds."""

    request: wire.Request
    received: float


class Connection:
    """Reads one client's messages and writes it the answers; all but `post` belongs to the event loop's thread."""

    def __init__(self, number: int, host: Host, reader: FrameReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.ended = "the client has gone"
        """Why the connection ended, for the log."""
        self._host = host
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._hello: wire.Hello | None = None
        self._open: dict[int, _Open] = {}
        self._windows = Windows()
        self._posted: list[tuple[_Open, wire.Message]] = []
        self._posted_lock = threading.Lock()
        self._closed = False
        writer.transport.set_write_buffer_limits(high=SLOW_BYTES)

    async def run(self) -> None:
        """Serves the client until it goes or is dropped; raises nothing that a client can cause."""
        try:
            while not self._closed:
                try:
                    message = await self._reader.message()
                except wire.FrameError:
                    raise
                except wire.WireError as error:
                    self._misunderstand(error)
                else:
                    if message is None:
                        break
                    self._take(message)
                # Whoever sends much waits for the others' turn, and whoever does not read is not listened to.
                await asyncio.sleep(0)
                await self._writer.drain()
        except wire.FrameError as error:
            self.refuse("request", str(error))
        except OSError:
            pass  # the client has gone, and not in order
        finally:
            self._host.scheduler.drop(self.number)
            self._open.clear()
            self.close()

    def check(self) -> None:
        """Ends a connection that has not said hello, or has not finished its frame, in time."""
        now = time.monotonic()
        if self._hello is None and now - self._began > HANDSHAKE_S:
            self.refuse("request", f"no hello came within {HANDSHAKE_S:g} s")
        elif self._reader.begun is not None and now - self._reader.begun > FRAME_S:
            self.refuse("request", f"a frame was not whole after {FRAME_S:g} s")

    def refuse(self, code: str, message: str, details: str = "") -> None:
        """Says what is wrong with the connection and ends it; `details` may quote the client and are not logged."""
        if not self._closed:
            self.ended = f"refused: {message}"
            self._complain(code, message + details)
            self.close()

    @property
    def closed(self) -> bool:
        return self._closed

    def abandon(self) -> None:
        """Ends the connection because the daemon leaves; what has no answer yet gets one."""
        for id in list(self._open):
            self._complain("closing", "the engine is leaving; ask again", id)
        self._open.clear()
        self.close_when_idle()

    def close(self) -> None:
        """Ends the connection; what is written already is still sent, if the client reads it soon."""
        if not self._closed:
            self._closed = True
            self._writer.close()
            self._loop.call_later(GOODBYE_S, self._writer.transport.abort)

    def close_when_idle(self) -> None:
        """Ends the connection because the daemon leaves, unless a request waits for its answer."""
        if not self._open and not self._closed:
            self.ended = "the daemon leaves"
            # What the client has just sent, and nobody has read, is for the next daemon.
            self._complain("closing", "the engine is leaving; ask again")
            self.close()

    def post(self, opened: _Open, message: wire.Message) -> None:
        """Sends an event or the answer of a request, from any thread; after the answer there is nothing more."""
        with self._posted_lock:
            self._posted.append((opened, message))
            first = len(self._posted) == 1
        if first:
            with contextlib.suppress(RuntimeError):  # the loop has ended before its scheduler
                self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._posted_lock:
            posted, self._posted = self._posted, []
        self._deliver(posted)

    def _deliver(self, posted: Sequence[tuple[_Open, wire.Message]]) -> None:
        frames: list[bytes] = []
        waiting = self._writer.transport.get_write_buffer_size()
        for opened, message in posted:
            id = opened.request.id
            if self._closed or self._open.get(id) is not opened:
                continue
            if isinstance(message, wire.Answer):
                del self._open[id]
            elif waiting > SLOW_BYTES and not getattr(opened.request, "trace", False):
                continue
            frames.append(_frame(id, message))
            waiting += len(frames[-1])
        self._write(b"".join(frames))
        if self._host.leaving:
            self.close_when_idle()

    def _write(self, frames: bytes) -> None:
        transport = self._writer.transport
        if frames and not transport.is_closing():
            self._writer.write(frames)
            if transport.get_write_buffer_size() > STUCK_BYTES:
                self.ended = "refused: it does not read"
                self._closed = True
                transport.abort()

    def _complain(self, code: str, message: str, id: int | None = None) -> None:
        self._write(wire.encode(wire.Failed(id, code, message)))

    def _misunderstand(self, error: wire.WireError) -> None:
        if self._hello is None:
            self.refuse("request", "the first message must be hello", f": {error}")
        else:
            # An answer to a request that is open belongs to that one.
            self._complain("request", str(error), None if error.id in self._open else error.id)

    def _take(self, message: wire.Message) -> None:
        kind = type(message).__name__.lower()
        if self._hello is None:
            self._greet(message)
        elif isinstance(message, wire.Request):
            self._request(message)
        elif isinstance(message, wire.Cancel):
            if message.id in self._open:
                self._host.scheduler.cancel(self.number, message.id)
        elif isinstance(message, wire.Hello):
            self._complain("request", "hello is the first message, and comes once")
        else:
            self._complain("request", f"{kind} is a message of the engine, not for it")

    def _greet(self, message: wire.Message) -> None:
        token = self._host.token
        if not isinstance(message, wire.Hello):
            self.refuse("request", f"the first message must be hello, not {type(message).__name__.lower()}")
        elif token and not hmac.compare_digest(token.encode(), message.token.encode()):
            self.refuse("request", "the token is not this daemon's; read its address file again")
        else:
            self._hello = message
            about = (self.number, message.client, message.protocol, message.package)
            log.info("client %d is %.40r, protocol %d, version %.40r", *about)
            self._write(wire.encode(wire.Welcome(wire.PROTOCOL, self._host.package, os.getpid())))

    def _request(self, request: wire.Request) -> None:
        if request.id in self._open:
            self._complain("request", f"request {request.id} is still open; give every request its own id", request.id)
            return
        opened = _Open(request, time.monotonic())
        self._open[request.id] = opened
        try:
            answer = self._serve(opened)
        except EngineError as error:
            answer = wire.Failed(request.id, error.code, str(error))
        except Exception as error:
            log.exception("client %d: %s %d", self.number, type(request).__name__.lower(), request.id)
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            answer = wire.Failed(request.id, "internal", f"{type(error).__name__}: {error}\n{trace}")
        if answer is not None:
            self._deliver([(opened, answer)])
            if not isinstance(answer, wire.Report):
                outcome = answer.code if isinstance(answer, wire.Failed) else "done"
                log.info("client %d: %s %d: %s", self.number, type(request).__name__.lower(), request.id, outcome)

    def _serve(self, opened: _Open) -> wire.Answer | None:
        """The answer, or None when it comes later by `post`. Raises `EngineError`."""
        request, scheduler = opened.request, self._host.scheduler
        if isinstance(request, wire.Shutdown):
            self._host.leave(f"client {self.number} asked for it", request.finish)
            return wire.Done(request.id)
        self._check_protocol()
        if isinstance(request, wire.Status):
            return self._host.report(request.id)
        if isinstance(request, wire.Unload):
            scheduler.unload(request.model, partial(self.post, opened, wire.Done(request.id)))
            return None
        if isinstance(request, wire.Fill | wire.Warm):
            request = self._windows.resolve(request)
        scheduler.submit(Job(self.number, request, opened.received, partial(self.post, opened)))
        return None

    def _check_protocol(self) -> None:
        hello = self._hello
        if hello is not None and hello.protocol != wire.PROTOCOL:
            raise EngineError(
                "protocol",
                f"the engine (dgemma-lsp {self._host.package}) speaks protocol {wire.PROTOCOL}, the client (dgemma-lsp "
                f"{hello.package}) speaks {hello.protocol}; install the same version of both",
            )


def _frame(id: int, message: wire.Message) -> bytes:
    """The frame of a message; an answer that cannot travel is replaced by one that says so."""
    try:
        return wire.encode(message)
    except wire.WireError as error:
        log.error("request %d: %s cannot be sent", id, type(message).__name__.lower())
        if not isinstance(message, wire.Answer):
            return b""
        return wire.encode(wire.Failed(id, "internal", str(error)))
