"""Frames as they come in from a client, and how long it takes over one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from . import wire


class FrameReader(asyncio.StreamReader):
    """A stream that knows how long it has waited for the rest of a frame."""

    begun: float | None = None
    """When the frame began that is being read, in monotonic seconds; None while no frame is."""
    _reading = False
    _unread = 0

    async def message(self) -> wire.Message | None:
        """As `wire.read_message`, with a look at the clock."""
        self._reading = True
        self.begun = time.monotonic() if self._unread else None
        try:
            return await wire.read_message(self)
        finally:
            self._reading, self.begun = False, None

    def feed_data(self, data: Any) -> None:
        self._unread += len(data)
        if self._reading and self.begun is None:
            self.begun = time.monotonic()
        super().feed_data(data)

    async def readexactly(self, n: int) -> bytes:
        data = await super().readexactly(n)
        self._unread -= n
        return data
