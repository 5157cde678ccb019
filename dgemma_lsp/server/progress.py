"""Progress in the editor, shown only when something takes long enough to ask for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

from lsprotocol import types

if TYPE_CHECKING:
    from pygls.lsp.server import LanguageServer

PATIENCE_S = 0.25
ANSWER_S = 5.0
"""For the editor to allow a progress."""

_numbers = itertools.count(1)


class LazyProgress:
    """One progress at a time: created by the server after a while, and not when the client cannot show it."""

    enabled = False

    def __init__(self, server: LanguageServer, title: str) -> None:
        self._server = server
        self._title = title
        self._share: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._over = False

    def report(self, share: float | None) -> None:
        """A share in [0, 1]; None is the end."""
        self._over = share is None
        self._share = share
        self._news.set()
        if self.enabled and share is not None and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._show())

    async def _show(self) -> None:
        await asyncio.sleep(PATIENCE_S)
        if self._over:
            return
        token = f"dgemma-{next(_numbers)}"
        try:
            create = self._server.work_done_progress.create_async(token)
            await asyncio.wait_for(create, ANSWER_S)
        except Exception:
            return  # the editor does not want it
        self._server.work_done_progress.begin(token, types.WorkDoneProgressBegin(self._title, percentage=0))
        while not self._over:
            self._news.clear()
            percentage = round(100 * (self._share or 0.0))
            self._server.work_done_progress.report(token, types.WorkDoneProgressReport(percentage=percentage))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), ANSWER_S)
        self._server.work_done_progress.end(token, types.WorkDoneProgressEnd())
        # pygls keeps the tokens of what has ended.
        self._server.work_done_progress.tokens.pop(token, None)
