"""What the tests of the engine's client share."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine

import attrs

from dgemma_engine import wire
from tests.fake_engine import FakeEngine

TEXT = wire.MaskedText(("before", wire.Hole(4), "after"))


def in_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Runs a coroutine as a test; none of them takes long, so none may hang."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return run


@attrs.define
class Starts:
    """Stands in for starting a process: a daemon of these behaviours, one after the other, in the loop of the test."""

    behaviours: list[str]
    engines: list[FakeEngine] = attrs.Factory(list)
    loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)

    def __call__(self, python: str, arguments: tuple[str, ...] = ()) -> int | None:
        if not self.behaviours:
            return None
        engine = FakeEngine(self.behaviours.pop(0))
        self.engines.append(engine)
        if engine.behaviour != "short-lived":
            asyncio.run_coroutine_threadsafe(engine.listen(wire.find_endpoint()), self.loop).result(10)
        return os.getpid()

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()
