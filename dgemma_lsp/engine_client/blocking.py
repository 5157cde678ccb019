"""The engine for a program without an event loop, such as a command."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from dgemma_lsp.engine_client.client import EngineClient
from dgemma_lsp.engine_client.errors import EngineUnavailable

Options = ParamSpec("Options")
Result = TypeVar("Result")


def _blocking(
    method: Callable[Concatenate[EngineClient, Options], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[BlockingEngine, Options], Result]:
    @functools.wraps(method)
    def call(self: BlockingEngine, /, *args: Options.args, **kwargs: Options.kwargs) -> Result:
        return self._run(method(self._client, *args, **kwargs))

    return call


class BlockingEngine:
    """`EngineClient` for the length of a `with` block, one request at a time on the caller's thread.

    Callbacks are called on that thread too. The daemon goes on when the block ends. Ctrl-C in a request cancels it in
    the daemon and raises `KeyboardInterrupt`.
    """

    fill = _blocking(EngineClient.fill)
    refine = _blocking(EngineClient.refine)
    score = _blocking(EngineClient.score)
    warm = _blocking(EngineClient.warm)
    lease = _blocking(EngineClient.lease)
    status = _blocking(EngineClient.status)
    unload = _blocking(EngineClient.unload)
    shutdown = _blocking(EngineClient.shutdown)

    def __init__(
        self, python: str | None = None, *, name: str = "", idle_s: float | None = None, start: bool = True
    ) -> None:
        self._client = EngineClient(python, name=name, idle_s=idle_s, start=start)
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> BlockingEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the daemon to itself; can be called again."""
        if not self._loop.is_closed():
            try:
                self._run(self._client.close())
            finally:
                self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._loop.is_closed():
            work.close()
            raise EngineUnavailable("the client of the engine is closed")
        task = self._loop.create_task(work)
        with _interrupted_by(lambda: self._loop.call_soon_threadsafe(task.cancel)) as interrupted:
            try:
                result = self._loop.run_until_complete(task)
            except asyncio.CancelledError:
                if interrupted.is_set():
                    raise KeyboardInterrupt from None
                raise
        if interrupted.is_set():
            raise KeyboardInterrupt
        return result


@contextlib.contextmanager
def _interrupted_by(cancel: Callable[[], object]) -> Iterator[threading.Event]:
    """Turns the first Ctrl-C into a call and a flag: raised anywhere in the loop, it would tear the loop's own work.

    A second one is raised all the same. Leaves a handler of the program's own alone.
    """
    interrupted = threading.Event()

    def handle(*_: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        cancel()

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
