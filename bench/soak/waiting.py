"""Waiting with an end: a request that hangs is a broken promise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dgemma_lsp.engine_client.errors import EngineError, EngineUnavailable

BOUND_S = 60.0
"""Whatever was asked has ended by then: twice what a client grants a daemon that says nothing, and its start."""

T = TypeVar("T")


class Broken(AssertionError):
    """A promise was not kept; the message says which."""


async def within(request: Awaitable[T], what: str) -> T:
    """Raises `Broken` for what does not end."""
    try:
        return await asyncio.wait_for(request, BOUND_S)
    except (asyncio.TimeoutError, TimeoutError):
        raise Broken(f"{what} has not ended after {BOUND_S:.0f} s") from None


async def end_of(request: Awaitable[T], what: str = "a request") -> T | str:
    """How a request ended: its answer, the code of an error, or "unavailable"."""
    try:
        return await within(request, what)
    except EngineError as error:
        return error.code
    except EngineUnavailable:
        return "unavailable"


async def until(holds: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """For what no event tells of. Raises `Broken` when it never comes to hold."""
    limit = time.monotonic() + BOUND_S
    while not holds():
        if time.monotonic() > limit:
            raise Broken(f"{otherwise()}, after {BOUND_S:.0f} s")
        await asyncio.sleep(0.005)
