"""The engine as the server sees it: started in the background, loading, ready, or gone; it is never waited for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import attrs

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient, EngineError, EngineUnavailable

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""After an engine could not be started, the next start is this much later at the earliest."""


@attrs.frozen
class EngineState:
    """What `dgemma/status` says: `state` is starting, loading, ready or down; `message` is for people."""

    state: str
    model: str
    device: str = ""
    message: str = ""


class EngineLife:
    """Keeps a lease on the model; `changed` hears of every new state, `progressed` of the share that is loaded."""

    def __init__(
        self,
        client: EngineClient,
        model: str,
        idle_s: float,
        changed: Callable[[EngineState], None],
        progressed: Callable[[float | None], None],
    ) -> None:
        self.client = client
        self.state = EngineState("starting", model, message="the engine is starting")
        self._idle_s = idle_s
        self._changed = changed
        self._progressed = progressed
        self._lease: asyncio.Task[None] | None = None
        self._failed = -RETRY_S
        self._closed = False

    @property
    def ready(self) -> bool:
        return self.state.state == "ready"

    def want(self) -> None:
        """Have the model loaded, unless that is under way or has just failed."""
        under_way = self._lease is not None and not self._lease.done()
        if not self._closed and not self.ready and not under_way and time.monotonic() - self._failed >= RETRY_S:
            self._lease = asyncio.ensure_future(self._load())

    def heard(self, progress: wire.Progress) -> None:
        """A request of ours made the engine load the model: it had been unloaded while nobody asked."""
        if progress.stage == "loading":
            self._set("loading", message="the model is loading")
            self._progressed(progress.fraction)
            self._want_now()

    def answered(self) -> None:
        """A request of ours was answered, whatever was thought of the engine before."""
        if not self.ready:
            self._want_now()

    def lost(self, error: Exception) -> None:
        """A request lost its engine, or found one that cannot work; the next one starts another."""
        log.warning("engine: %s", type(error).__name__)
        self._set("down", message=str(error))

    async def restart(self) -> None:
        """End the daemon, whatever it does, and start another."""
        await self._stop_loading()
        try:
            await self.client.shutdown(finish=False)
        except (EngineError, EngineUnavailable) as error:
            log.warning("engine: shutdown: %s", type(error).__name__)
        self._set("starting", message="the engine is starting")
        self._want_now()

    async def close(self) -> None:
        """Leave the engine to itself."""
        self._closed = True
        await self._stop_loading()
        await self.client.close()

    def _want_now(self) -> None:
        self._failed = -RETRY_S
        self.want()

    async def _stop_loading(self) -> None:
        if self._lease is not None:
            self._lease.cancel()
            await asyncio.gather(self._lease, return_exceptions=True)

    async def _load(self) -> None:
        try:
            await self.client.lease(self.state.model, idle_s=self._idle_s, on_progress=self.heard)
            report = await self.client.status()
        except (EngineError, EngineUnavailable) as error:
            self._failed = time.monotonic()
            self.lost(error)
            return
        finally:
            self._progressed(None)
        device = next((model.device for model in report.models if model.state == "ready"), "")
        self._set("ready", device=device)

    def _set(self, state: str, **what: Any) -> None:
        new = EngineState(state, self.state.model, what.get("device", self.state.device), what.get("message", ""))
        if new != self.state and not self._closed:
            self.state = new
            self._changed(new)
