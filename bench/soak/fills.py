"""The fills of the soak: one that is soon done and always the same, and others that leave time to do harm."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import attrs

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient
from dgemma_lsp.engine_client.errors import EngineError, EngineUnavailable

from .nest import Nest
from .peer import Peer
from .waiting import Broken, until, within

SECRET = "nobody_logs_this"
"""Stands in every text that is sent."""


def masked(tokens: int) -> wire.MaskedText:
    return wire.MaskedText((f"def {SECRET}(values):\n    return ", wire.Hole(tokens), "\n"))


BRIEF = wire.Fill(0, masked(8), passes=2, seed=1)
"""Milliseconds; the same every time."""
SECONDS = wire.Fill(0, masked(40), passes=1000, length="exact", drafts=True)
"""About a second."""
ENDLESS = wire.Fill(0, masked(20_000), priority="rewrite", passes=1000, length="exact", drafts=True)
"""Minutes, and gives way to interactive fills."""

_known: set[tuple[str, ...]] = set()


async def right_fill(client: EngineClient, what: str = "a fill") -> wire.Filled:
    """A brief fill that has to succeed, and to be the same as ever. Raises `Broken`."""
    try:
        filled = await within(brief(client), what)
    except (EngineError, EngineUnavailable) as error:
        raise Broken(f"{what} failed: {error}") from None
    texts = filled.candidates[0].texts
    if not _known:
        _known.add(texts)
    if texts not in _known:
        raise Broken(f"{what} gave {texts}, not {_known}")
    return filled


async def brief(client: EngineClient) -> wire.Filled:
    return await client.fill(masked(8), passes=BRIEF.passes, seed=BRIEF.seed)


async def begun(client: EngineClient, drafts: int = 1, *, priority: str = "rewrite") -> asyncio.Task[wire.Filled]:
    """An endless fill that has had so many passes."""
    seen: asyncio.Queue[wire.Draft] = asyncio.Queue()
    fill = client.fill(
        masked(20_000), priority=priority, passes=ENDLESS.passes, length=ENDLESS.length, on_draft=seen.put_nowait
    )
    task = asyncio.ensure_future(fill)
    for number in range(drafts):
        draft = asyncio.ensure_future(seen.get())
        await within(asyncio.wait([task, draft], return_when=asyncio.FIRST_COMPLETED), "a pass")
        if not draft.done():
            draft.cancel()
            raise Broken(f"a fill ended after {number} passes: {task}")
    return task


async def begun_by(peer: Peer, request: wire.Fill = ENDLESS, drafts: int = 1) -> wire.Fill:
    """The same for a stranger."""
    request = await peer.ask(request)
    while drafts:
        message = await within(peer.next(), "a pass")
        if message is None or isinstance(message, wire.Answer):
            raise Broken(f"a fill ended before its first passes: {message}")
        drafts -= isinstance(message, wire.Draft)
    return request


async def answered(peer: Peer, request: wire.Request) -> wire.Answer:
    """The answer a stranger gets. Raises `Broken`."""
    answer = await within(peer.answer(request), f"{type(request).__name__.lower()} {request.id}")
    if answer is None:
        raise Broken(f"hung up on without an answer to {type(request).__name__.lower()} {request.id}")
    return answer


async def until_report(client: EngineClient, holds: Callable[[wire.Report], bool], what: str) -> wire.Report:
    """Asks for the status until it is as it should be. Raises `Broken`."""
    found = await within(client.status(), "a status")

    async def ask() -> None:
        nonlocal found
        while not holds(found):
            await asyncio.sleep(0.005)
            found = await client.status()

    try:
        await within(ask(), what)
    except Broken as error:
        raise Broken(f"{error}: {found.queue}, {found.clients} clients, {found.models}") from None
    return found


@attrs.define(eq=False)
class Bystander:
    """Fills all the while, and must not notice anything."""

    client: EngineClient
    count: int = 0
    _over: bool = False

    @classmethod
    @contextlib.asynccontextmanager
    async def filling(cls, nest: Nest) -> AsyncIterator[Bystander]:
        """Its first fill has ended before, its last comes after; raises `Broken` when one of them was not right."""
        one = cls(nest.client("bystander"))
        task = asyncio.ensure_future(one._run())

        async def another() -> None:
            seen = one.count
            await until(lambda: one.count > seen or task.done(), lambda: "a bystander has no answer")

        try:
            await another()
            yield one
            await another()
        finally:
            one._over = True
            await within(asyncio.wait([task]), "a bystander's fill")
        task.result()

    async def _run(self) -> None:
        while not self._over:
            await right_fill(self.client, "a bystander's fill")
            self.count += 1
