"""One connection to the daemon: greeted, read by one task, and never waited for without an end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import TypeVar

import attrs

from dgemma_engine import wire
from dgemma_lsp.engine_client.errors import EngineError, EngineLeft, EngineUnavailable
from dgemma_lsp.engine_client.texts import SentTexts

QUIET = 20.0
"""Seconds of silence, while requests are open, after which the daemon is asked whether it lives."""

PATIENCE = 10.0
"""Seconds it then has to say anything at all."""

CLOSE_TIMEOUT = 0.5
"""Seconds for what was written last to leave before a connection is cut."""

Answer = TypeVar("Answer", bound=wire.Answer)
OnEvent = Callable[[wire.Draft | wire.Progress], None]


@attrs.define(eq=False)
class _Open:
    """A request under way."""

    future: asyncio.Future[wire.Message]
    on_event: OnEvent | None
    heard: bool = False


class Connection:
    """Requests go out, what comes back is told apart by its id. `ids` are those of the client's requests.

    Takes over a socket on which the greetings have been exchanged; `dial.dial` makes one.
    """

    def __init__(
        self,
        sock: socket.socket,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        welcome: wire.Welcome,
        ids: Iterator[int],
    ) -> None:
        self.welcome = welcome
        self.texts = SentTexts()
        self._socket, self._ids = sock, ids
        self._reader, self._writer = streams
        self._open: dict[int, _Open] = {}
        self._lost: str | None = None
        self._leaving = False
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None
        self._task = self._loop.create_task(self._read())

    @property
    def lost(self) -> bool:
        return self._lost is not None

    async def usable(self) -> bool:
        """Whether requests can be sent. Looks at the socket: nobody may have listened since the daemon left."""
        while self._lost is None and not self._leaving:
            try:
                waiting = self._socket.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                break
            if not waiting:
                break
            # What it said before it left is for the reader.
            await asyncio.sleep(0)
        return False

    async def request(self, message: wire.Request, answer: type[Answer], on_event: OnEvent | None = None) -> Answer:
        """Follows one request to its end; `on_event` is called in the loop. Cancelling it cancels it there.

        Raises `EngineError`, `EngineUnavailable`, or what `on_event` raised.
        """
        if self._lost is not None:
            raise EngineLeft(self._lost)
        try:
            frame = wire.encode(self.texts.shortened(message))
        except wire.WireError as error:
            raise EngineError("request", str(error)) from None
        request = _Open(self._loop.create_future(), on_event)
        if not self._open:
            self._heard, self._asked = self._loop.time(), False
        self._open[message.id] = request
        self._writer.write(frame)
        self.texts.sent(message)
        if self._timer is None:
            self._timer = self._loop.call_later(QUIET, self._look)
        try:
            received = await request.future
        finally:
            # Still there when the caller or `on_event` has had enough; the answer will be dropped.
            if self._open.pop(message.id, None) is not None and self._lost is None:
                self._writer.write(wire.encode(wire.Cancel(message.id)))
            self._close_when_left()
        if isinstance(received, wire.Failed):
            raise EngineError(received.code, received.message)
        if isinstance(received, answer):
            return received
        asked, given = type(message).__name__.lower(), type(received).__name__.lower()
        raise EngineUnavailable(self._trouble(f"answered a {asked} with a {given}"))

    def leave(self) -> None:
        """Takes no new requests, and closes when the open ones have ended."""
        self._leaving = True
        self._close_when_left()

    async def close(self) -> None:
        """Ends every open request in `EngineUnavailable`."""
        self._lose("the connection to the engine was closed")
        await asyncio.wait([self._task])
        error = None if self._task.cancelled() else self._task.exception()
        if error is not None and not isinstance(error, KeyboardInterrupt):
            raise error
        try:
            await asyncio.wait_for(self._writer.wait_closed(), CLOSE_TIMEOUT)
        except (OSError, asyncio.TimeoutError):
            self._writer.transport.abort()

    async def _read(self) -> None:
        """Until the connection ends, however it does."""
        how, taken = "went away in the middle of this", True
        try:
            while (message := await wire.read_message(self._reader)) is not None:
                self._heard, self._asked = self._loop.time(), False
                if self._take(message):
                    # Many drafts may have come at once; whoever wants to cancel gets a word in.
                    await asyncio.sleep(0)
        except wire.FrameError as error:
            how = f"sent something that is no frame: {error}"
        except wire.WireError as error:
            # Whose answer it was cannot be known, so nobody waits for it.
            how = f"sent a message that cannot be read: {error}"
        except OSError:
            # Reset: it left with something of ours unread.
            taken = False
        finally:
            # One that is leaving says so first: what it has not begun is for another.
            self._lose(self._trouble(how), taken and not self._leaving)

    def _take(self, message: wire.Message) -> bool:
        """Passes a message on to its request; whether that called somebody back."""
        number: int | None = getattr(message, "id", None)
        if number is None:
            self._take_complaint(message)
            return False
        request = self._open.get(number)
        if request is None or request.future.done():
            return False
        request.heard = True
        if not isinstance(message, wire.Draft | wire.Progress):
            del self._open[number]
            request.future.set_result(message)
            return False
        if request.on_event is not None:
            try:
                request.on_event(message)
            except Exception as error:
                request.future.set_exception(error)
        return True

    def _take_complaint(self, failed: wire.Message) -> None:
        """What is wrong with the whole connection: no request on it can be sure of its answer."""
        if not isinstance(failed, wire.Failed):
            return
        if failed.code == "closing":
            self.leave()
            return
        for request in self._ended():
            request.future.set_result(failed)
        self._lose(failed.message)

    def _look(self) -> None:
        """Watches over the silence as long as there is somebody who waits."""
        self._timer = None
        if self._lost is not None or not self._open:
            return
        silence = self._loop.time() - self._heard
        pause = QUIET - silence
        if self._asked:
            self._lose(
                f"the engine (pid {self.welcome.pid}) has not answered for {silence:.0f} s; "
                f"end it with: dgemma-lsp engine stop --force; its log: {wire.log_file()}"
            )
            return
        if pause <= 0:
            self._asked, pause = True, PATIENCE
            self._writer.write(wire.encode(wire.Status(next(self._ids))))
        self._timer = self._loop.call_later(pause, self._look)

    def _lose(self, why: str, taken: bool = True) -> None:
        """Ends the connection once; `taken` is False when the daemon cannot have read all that was sent."""
        if self._lost is not None:
            return
        self._lost = why
        for request in self._ended():
            kind = EngineUnavailable if taken or request.heard else EngineLeft
            request.future.set_exception(kind(why))
        if self._timer is not None:
            self._timer.cancel()
        self._task.cancel()
        with contextlib.suppress(OSError):
            self._writer.close()

    def _ended(self) -> list[_Open]:
        """The open requests, which now are no longer open."""
        ended = [request for request in self._open.values() if not request.future.done()]
        self._open.clear()
        return ended

    def _close_when_left(self) -> None:
        if self._leaving and not self._open:
            self._lose("the engine is leaving")

    def _trouble(self, how: str) -> str:
        return f"the engine (pid {self.welcome.pid}) {how}; its log: {wire.log_file()}; see: dgemma-lsp doctor"
