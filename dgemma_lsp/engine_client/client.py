"""What the server and the commands ask of the engine: requests to a daemon that is found, started and replaced."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from dgemma_engine import wire
from dgemma_lsp.engine_client.connection import OnEvent
from dgemma_lsp.engine_client.errors import EngineError, EngineLeft, EngineUnavailable
from dgemma_lsp.engine_client.link import Link
from dgemma_lsp.engine_client.start import INSTALL

Answer = TypeVar("Answer", bound=wire.Answer)
OnDraft = Callable[[wire.Draft], None]
OnProgress = Callable[[wire.Progress], None]


class EngineClient:
    """A client of the user's daemon, for one event loop. It connects with the first request and again when need be.

    Every request ends: in its answer, in `EngineError`, which says that the engine cannot do it, or in
    `EngineUnavailable`. A request whose task is cancelled is cancelled in the daemon.

    `python` is the interpreter for a daemon it starts, `idle_s` how long that keeps an unused model (seconds, 0 for
    ever), `name` what the daemon calls this client. Without `start` it uses the daemon that is there, whatever its
    version, or raises `EngineNotRunning`.
    """

    def __init__(
        self, python: str | None = None, *, name: str = "", idle_s: float | None = None, start: bool = True
    ) -> None:
        self._python = python or sys.executable
        arguments = () if idle_s is None else ("--idle", f"{idle_s:g}")
        self._link = Link(self._python, arguments, name, start)

    async def fill(
        self,
        text: wire.MaskedText,
        *,
        model: str = "nano",
        document: str | None = None,
        priority: str = "interactive",
        passes: int | None = None,
        deadline_ms: float | None = None,
        candidates: int = 1,
        seed: int | None = None,
        length: str = "auto",
        spares: bool = False,
        trace: bool = False,
        prompt: wire.Prompt | None = None,
        on_draft: OnDraft | None = None,
        on_progress: OnProgress | None = None,
    ) -> wire.Filled:
        """The filled holes, best candidate first; `on_draft` sees the canvas after every pass, called in the loop.

        `document` names what is edited: a newer interactive request of it supersedes this one, and only what changed
        since the last one is sent. The other arguments are those of `wire.Fill`.
        """
        request = wire.Fill(
            id=0,
            text=text,
            model=resolve_model(model),
            document=document,
            priority=priority,
            passes=passes,
            deadline_ms=deadline_ms,
            candidates=candidates,
            seed=seed,
            length=length,
            spares=spares,
            drafts=on_draft is not None,
            trace=trace,
            prompt=prompt,
        )
        return await self._request(request, wire.Filled, _events(on_draft, on_progress))

    async def refine(
        self,
        filled: wire.Filled | int,
        spans: Sequence[wire.Span],
        *,
        candidate: int = 0,
        passes: int | None = None,
        deadline_ms: float | None = None,
        candidates: int = 1,
        seed: int | None = None,
        on_draft: OnDraft | None = None,
    ) -> wire.Filled:
        """Writes `spans` of a candidate of `filled`, or of the fill of that id, anew.

        Raises `EngineError` "fill-unknown" when the daemon no longer has it.
        """
        request = wire.Refine(
            id=0,
            fill=filled if isinstance(filled, int) else filled.id,
            spans=tuple(spans),
            candidate=candidate,
            passes=passes,
            deadline_ms=deadline_ms,
            candidates=candidates,
            seed=seed,
            drafts=on_draft is not None,
        )
        return await self._request(request, wire.Filled, _events(on_draft, None))

    async def score(
        self,
        prefix: str,
        candidates: Sequence[str],
        suffix: str = "",
        *,
        model: str = "nano",
        document: str | None = None,
        priority: str = "interactive",
    ) -> tuple[float, ...]:
        """The log-likelihood of each candidate between `prefix` and `suffix`, in nats."""
        request = wire.Score(0, prefix, tuple(candidates), suffix, resolve_model(model), document, priority)
        return (await self._request(request, wire.Scored)).log_probs

    async def warm(self, text: wire.MaskedText, *, model: str = "nano", document: str | None = None) -> wire.Warmed:
        """Has the model loaded and the text before the first hole encoded, when there is nothing better to do."""
        return await self._request(wire.Warm(0, text, resolve_model(model), document), wire.Warmed)

    async def lease(
        self, model: str = "nano", *, idle_s: float | None = None, on_progress: OnProgress | None = None
    ) -> wire.Leased:
        """Loads `model` and keeps it for `idle_s` seconds after every use; 0 keeps it until it is unloaded."""
        request = wire.Lease(0, resolve_model(model), idle_s)
        return await self._request(request, wire.Leased, _events(None, on_progress))

    async def status(self) -> wire.Report:
        """What the daemon has loaded, and does."""
        return await self._request(wire.Status(0), wire.Report)

    async def unload(self, model: str | None = None) -> None:
        """Gives the memory of `model`, or of all models, back at once; starts no daemon for that."""
        named = None if model is None else resolve_model(model)
        async with self._link.existing() as connection:
            if connection is not None:
                await connection.request(wire.Unload(next(self._link.ids), named), wire.Done)

    async def shutdown(self, finish: bool = True) -> int | None:
        """Ends the daemon, with `finish` after what runs. The id of the process that ends, None when none runs."""
        async with self._link.existing() as connection:
            if connection is None:
                return None
            await self._link.end(connection, finish)
            return connection.welcome.pid

    async def close(self) -> None:
        """Leaves the daemon to itself; requests that are open or still come end in `EngineUnavailable`."""
        await self._link.close()

    async def _request(self, message: wire.Request, answer: type[Answer], on_event: OnEvent | None = None) -> Answer:
        for tries_left in (2, 1, 0):
            connection = await self._link.connected()
            request = attrs.evolve(message, id=next(self._link.ids))
            try:
                return await connection.request(request, answer, on_event)
            except EngineLeft:
                if not tries_left:
                    raise
                self._link.retire(connection)
            except EngineError as error:
                if error.code == "closing":
                    self._link.retire(connection)
                    if not tries_left:
                        raise EngineUnavailable(f"{error}, and so did those before it; ask again") from None
                elif tries_left and error.code == "text-unknown":
                    connection.texts.forget(request)
                elif error.code == "engine-missing":
                    raise EngineUnavailable(
                        f"{self._python} cannot run the engine: {error}; install it with: {INSTALL}"
                    ) from None
                else:
                    raise
        raise AssertionError("the last try returns or raises")


def _events(on_draft: OnDraft | None, on_progress: OnProgress | None) -> OnEvent | None:
    if on_draft is None and on_progress is None:
        return None

    def deliver(event: wire.Draft | wire.Progress) -> None:
        if isinstance(event, wire.Draft):
            if on_draft is not None:
                on_draft(event)
        elif on_progress is not None:
            on_progress(event)

    return deliver


def resolve_model(model: str) -> str:
    """A folder as an absolute path, since the engine runs in another one; a bare name and a hub id as they are.

    No name at all is the model that comes with the package.
    """
    name = wire.ModelName.parse(model or "nano")
    path = Path(name.name).expanduser()
    looks_like_one = any(separator in name.name for separator in ("/", os.sep)) and not name.is_hub_id
    return str(attrs.evolve(name, name=str(path.absolute())) if path.is_dir() or looks_like_one else name)
