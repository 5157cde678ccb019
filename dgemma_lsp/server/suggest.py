"""One suggestion, from a place in a document to offers that do no harm."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dgemma_engine import wire
from dgemma_lsp.config import SCOPES, Settings
from dgemma_lsp.engine_client import EngineError, EngineUnavailable
from dgemma_lsp.syntax.gate import Gate, Verdict
from dgemma_lsp.syntax.scopes import scope_at
from dgemma_lsp.syntax.trees import Trees
from dgemma_lsp.text.document import Document
from dgemma_lsp.text.masked import BEFORE, Infill, infill
from dgemma_lsp.text.overlap import Offer
from dgemma_lsp.text.typing import Offered, along

from .ask import Ask, Task
from .engine_life import EngineLife
from .outcomes import Outcome
from .secrets import is_secret

T = TypeVar("T")

REFINE_PASSES = 3
PARSE_S = 1.0
"""For parsing a document ahead of the first verdict on it."""
SEND_S = 0.005
"""In which a request to the engine is on its way."""
GRACE_S = 2.0
"""Beyond the deadline, for an engine that is busy with a long pass."""
SHOWN_KEPT = 3
"""Offers of a document that may still be on the screen."""


class Suggester:
    """Turns asks into offers. The newest ask of a document wins: the ones before it end at once."""

    def __init__(self, engine: EngineLife, trees: Trees, current: Callable[[str], Document | None]) -> None:
        self.engine = engine
        self._trees = trees
        self._gate = Gate(trees=trees)
        self._syntax = ThreadPoolExecutor(1, "syntax")
        self._current = current
        self._newest: dict[str, asyncio.Future[None]] = {}
        self._shown: dict[str, list[Offered]] = {}

    async def suggest(self, ask: Ask, settings: Settings, outcome: Outcome) -> list[Offer] | None:
        """Offers, the best first; None when a newer ask took over or the document has changed meanwhile.

        Ends `outcome`, whatever happens. Cancelling the task reaches the engine.
        """
        uri = ask.document.uri
        gone = self._claim(uri)
        reason = _refusal(ask, settings)
        if reason:
            outcome.end(reason)
            return []
        remaining = self._along(ask)
        if remaining is not None:
            outcome.cached = True
            outcome.end("offered")
            return [remaining]
        work = asyncio.ensure_future(self._work(ask, settings, outcome))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                outcome.end("superseded")
                return None
            offers = work.result()
        except asyncio.CancelledError:
            outcome.end("cancelled")
            raise
        finally:
            if self._newest.get(uri) is gone:
                del self._newest[uri]
            if not work.done():
                work.cancel()
        if offers and not _same(self._current(uri), ask.document):
            outcome.end("stale")
            return None
        if offers:
            shown = [Offered.of(ask.document, one) for one in offers]
            self._shown[uri] = [*shown, *self._shown.get(uri, [])][:SHOWN_KEPT]
            outcome.end("offered")
        return offers

    def forget(self, uri: str) -> None:
        """The document was closed: nothing of it is wanted any more."""
        self._shown.pop(uri, None)
        gone = self._newest.pop(uri, None)
        if gone is not None and not gone.done():
            gone.set_result(None)

    def forget_all(self) -> None:
        for uri in (*self._newest, *self._shown):
            self.forget(uri)

    async def warm(self, document: Document, settings: Settings) -> None:
        """Have a document parsed and, by the engine, the beginning of it read, when it has nothing better to do."""
        off = settings.of(settings.trigger, document.language) == "off"
        if off or is_secret(document.uri, settings.secret_files) or not document.text:
            return
        await self._aside(self._gate.warm, document.language, document.text, PARSE_S)
        if not self.engine.ready or self._current(document.uri) is not document:
            return
        at = min(len(document.text), BEFORE)
        text = infill(document.text, at, at, 1).text
        # A request that somebody waits for will say what is wrong.
        with contextlib.suppress(EngineError, EngineUnavailable):
            await self.engine.client.warm(text, model=settings.model, document=document.uri)

    async def _aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Runs what takes long on the one thread for syntax: other requests are read and answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._syntax, work, *arguments)

    def _prepare(self, ask: Ask) -> None:
        document = ask.document
        self._syntax.submit(self._gate.prepare, document.language, document.text, ask.offset, PARSE_S)

    async def _in_scope(self, ask: Ask, settings: Settings) -> bool:
        document = ask.document
        wanted = settings.of(settings.scopes, document.language)
        if not set(SCOPES).difference(wanted):
            return True
        scope = await self._aside(scope_at, self._trees, document.language, document.text, ask.offset)
        return scope is None or scope.value in wanted

    def _along(self, ask: Ask) -> Offer | None:
        """What is left of an offer that the user is typing along; asking again wants something new."""
        if ask.invoked or ask.selected is not None:
            return None
        for shown in self._shown.get(ask.document.uri, []):
            remaining = along(shown, ask.document, ask.offset)
            if remaining is not None:
                return remaining
        return None

    def _claim(self, uri: str) -> asyncio.Future[None]:
        """A future that is done when a newer ask of the document comes."""
        before = self._newest.pop(uri, None)
        if before is not None and not before.done():
            before.set_result(None)
        gone = self._newest[uri] = asyncio.get_running_loop().create_future()
        return gone

    async def _work(self, ask: Ask, settings: Settings, outcome: Outcome) -> list[Offer] | None:
        """The offers; when there are none, the outcome says why. None when a newer ask took over."""
        if not ask.invoked:
            if not self.engine.ready:
                self.engine.want()
                down = self.engine.state.state == "down"
                outcome.end("engine-down" if down else "engine-loading", self.engine.state.message)
                return []
            await asyncio.sleep(settings.debounce / 1000)
            if not await self._in_scope(ask, settings):
                outcome.end("scope-off")
                return []
        try:
            limit = settings.deadline / 1000 + GRACE_S
            return await asyncio.wait_for(self._filled(ask, settings, outcome), None if ask.invoked else limit)
        except asyncio.TimeoutError:
            outcome.end("deadline")
        except _Loading:
            outcome.end("engine-loading", "it had been unloaded")
        except EngineUnavailable as error:
            self.engine.lost(error)
            outcome.end("engine-down", str(error))
        except EngineError as error:
            if error.code in ("memory", "checkpoint"):
                self.engine.lost(error)
            elif error.code == "superseded":
                outcome.end("superseded")
                return None
            outcome.end(_OUTCOMES.get(error.code, "error"), str(error))
        return []

    async def _filled(self, ask: Ask, settings: Settings, outcome: Outcome) -> list[Offer]:
        task = Task.of(ask, settings)
        found = await self._fill(ask, settings, task.infill)
        self.engine.answered()
        outcome.engine_ms = found.ms.get("total", 0.0)
        outcome.passes = max((candidate.passes for candidate in found.candidates), default=0)
        offers: list[Offer] = []
        refused: tuple[int, Offer, Verdict] | None = None
        wanted = settings.candidates if ask.invoked else 1
        for number, candidate in enumerate(found.candidates):
            one, verdict = await self._judged(ask, task, candidate.texts[0])
            if one is None or any(one.insert == other.insert for other in offers):
                continue
            if verdict is not None and not verdict.allows(unfinished=True):
                refused = refused or (number, one, verdict)
            else:
                offers.append(one)
                if len(offers) == wanted:
                    break
        if not offers and refused is not None:
            offers = await self._refined(ask, settings, task, found, *refused, outcome)
            if not offers:
                outcome.end("syntax-refused", refused[-1].reason)
        if not offers:
            outcome.end("empty")
        return offers

    async def _fill(self, ask: Ask, settings: Settings, hole: Infill) -> wire.Filled:
        loading = asyncio.Event()

        def heard(progress: wire.Progress) -> None:
            self.engine.heard(progress)
            if progress.stage == "loading":
                loading.set()

        fill = asyncio.ensure_future(
            self.engine.client.fill(
                hole.text,
                model=settings.model,
                document=ask.document.uri,
                passes=settings.passes or None,
                deadline_ms=settings.deadline,
                candidates=settings.candidates if ask.invoked else 1,
                spares=True,
                on_draft=ask.on_draft,
                on_progress=heard,
            )
        )
        # The engine thinks elsewhere: meanwhile the document is parsed, against which the fill will be judged. The
        # request is sent before that, since parsing holds the interpreter's lock.
        asyncio.get_running_loop().call_later(SEND_S, self._prepare, ask)
        if ask.invoked:
            return await fill
        # Whoever types does not wait for a model to load; it loads on, for the next request.
        waiting = asyncio.ensure_future(loading.wait())
        try:
            await asyncio.wait({fill, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not fill.done():
                raise _Loading
            return fill.result()
        finally:
            waiting.cancel()
            fill.cancel()

    async def _refined(
        self,
        ask: Ask,
        settings: Settings,
        task: Task,
        found: wire.Filled,
        number: int,
        one: Offer,
        verdict: Verdict,
        outcome: Outcome,
    ) -> list[Offer]:
        """What comes of writing those parts anew that made the syntax worse."""
        spans = task.spans(found.candidates[number].texts[0], one, verdict)
        if not spans:
            return []
        with contextlib.suppress(EngineError):
            again = await self.engine.client.refine(
                found, spans, candidate=number, passes=REFINE_PASSES, deadline_ms=settings.deadline
            )
            outcome.engine_ms += again.ms.get("total", 0.0)
            for candidate in again.candidates:
                better, judged = await self._judged(ask, task, candidate.texts[0])
                if better is not None and judged is not None and judged.allows(unfinished=True):
                    return [better]
        return []

    async def _judged(self, ask: Ask, task: Task, filled: str) -> tuple[Offer | None, Verdict | None]:
        """The offer that a fill makes, None when nothing is left of it, and what the gate says of it."""
        one = task.offer(filled)
        if one is None:
            return None, None
        document = ask.document
        return one, await self._aside(
            self._gate.verdict, document.language, document.text, one.start, one.end, one.insert
        )


def _refusal(ask: Ask, settings: Settings) -> str:
    """The outcome of an ask that nothing is done for; empty when there is no reason."""
    if is_secret(ask.document.uri, settings.secret_files):
        return "secret-file"
    trigger = settings.of(settings.trigger, ask.document.language)
    return "trigger-off" if trigger == "off" or (trigger == "manual" and not ask.invoked) else ""


def _same(now: Document | None, before: Document) -> bool:
    """Whether a document is what it was; one that was closed and opened again may have an old version's number."""
    return now is not None and (now.version, now.text) == (before.version, before.text)


class _Loading(Exception):
    """The engine has to load its model first."""


_OUTCOMES = {
    "cancelled": "cancelled",
    "busy": "busy",
    "empty": "empty",
    "memory": "engine-down",
    "checkpoint": "engine-down",
    "closing": "engine-down",
}
"""Of codes of the engine."""
