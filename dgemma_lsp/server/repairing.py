"""Repairs of open documents, within the time of a save."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dgemma_lsp.config import Settings
from dgemma_lsp.engine_client import EngineClient, EngineError, EngineUnavailable, resolve_model
from dgemma_lsp.syntax.languages import language_of_document
from dgemma_lsp.syntax.repair import REPAIRED, diagnose
from dgemma_lsp.syntax.repair.choice import BALANCES, choose, stretches
from dgemma_lsp.syntax.repair.diagnosis import CLEAN, Candidate, Diagnosis
from dgemma_lsp.text.document import Document

from .documents import path_of
from .outcomes import Outcome
from .secrets import is_secret

T = TypeVar("T")

SAVE_S = 0.2
"""From the receipt of a save to the end of its repair. The answer is due 100 ms later, also on a busy machine."""

DIAGNOSE_S = 1.0
"""A diagnosis goes on for this long, for the diagnostics and for the next save."""

THREADS = 2
"""A save does not wait for a diagnosis of another document."""


def repaired_language(document: Document) -> str | None:
    """The language a document is repaired in; None when it is not repaired."""
    language = language_of_document(document.language, path_of(document.uri))
    return language if language in REPAIRED else None


class Repairer:
    """Diagnoses documents on threads of its own, one time each, and asks the engine where formatting cannot decide.

    The engine is asked only when it runs, has `settings.model` in memory and nothing else to do; it is never started.
    """

    def __init__(self, engine: EngineClient, current: Callable[[str], Document | None]) -> None:
        self._engine = engine
        self._current = current
        self._threads = ThreadPoolExecutor(THREADS, "repair")
        self._known: dict[str, tuple[Document, asyncio.Future[Diagnosis]]] = {}

    async def diagnosis(self, document: Document, settings: Settings) -> Diagnosis:
        """What is wrong with a document; nothing when it is not repaired, or holds secrets."""
        if repaired_language(document) is None or is_secret(document.uri, settings.secret_files):
            return CLEAN
        return await asyncio.shield(self._diagnosed(document))

    async def repair(self, document: Document, settings: Settings, outcome: Outcome) -> Candidate | None:
        """The one clear way to mend the document; ends `outcome`, whatever happens, within `SAVE_S` of its start."""
        until = outcome.started + SAVE_S
        if is_secret(document.uri, settings.secret_files):
            outcome.end("secret-file")
            return None
        try:
            found = await _within(self.diagnosis(document, settings), until)
        except asyncio.TimeoutError:
            outcome.end("deadline", "the file takes longer than a save may")
            return None
        if found.clean:
            outcome.end("unchecked" if found.reason else "clean", found.reason)
            return None
        winner, why = found.settled, found.reason
        if winner is None and len(found.candidates) > 1:
            winner, answered = await self._likeliest(document, found, settings.model, until)
            why = f"{why}; {answered}" if why else answered
        if winner is None:
            outcome.end("unsure", why)
        elif not self.is_current(document):
            outcome.end("stale")
        else:
            outcome.end("repaired", "; ".join(fault.message for fault in found.faults))
            return winner
        return None

    def is_current(self, document: Document) -> bool:
        """Whether a snapshot is what the editor has."""
        now = self._current(document.uri)
        return now is not None and (now.version, now.text) == (document.version, document.text)

    def forget(self, uri: str) -> None:
        """The document was closed."""
        self._known.pop(uri, None)

    async def close(self) -> None:
        """Leave the engine to itself."""
        await self._engine.close()

    def _diagnosed(self, document: Document) -> asyncio.Future[Diagnosis]:
        """The diagnosis of a snapshot that is under way or was made, else a new one."""
        known = self._known.get(document.uri)
        if known is not None and known[0].text == document.text and known[0].language == document.language:
            return known[1]
        language = repaired_language(document) or ""

        def work() -> Diagnosis:
            return diagnose(language, document.text, time.monotonic() + DIAGNOSE_S)

        found = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Who wanted it may be gone by the time it fails; whoever comes next hears of it.
        found.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._known[document.uri] = document, found
        return found

    async def _likeliest(
        self, document: Document, found: Diagnosis, model: str, until: float
    ) -> tuple[Candidate | None, str]:
        """The candidate that the engine finds likeliest, or what became of asking it."""
        try:
            return await _within(self._compared(document, found, model), until)
        except asyncio.TimeoutError:
            return None, "the engine did not answer in time"
        except EngineUnavailable:
            return None, "the engine is not running"
        except EngineError as error:
            return None, f"the engine cannot compare them: {error}"

    async def _compared(self, document: Document, found: Diagnosis, model: str) -> tuple[Candidate | None, str]:
        report = await self._engine.status()
        name = resolve_model(model)
        if not any(one.name == name and one.state == "ready" for one in report.models):
            return None, "the engine has not loaded its model"
        if report.queue.running or report.queue.waiting:
            return None, "the engine is busy"
        asked = stretches(document.text, found.candidates)
        if not asked:
            return None, "the ways to repair it are too far apart for the engine"
        log_probs = [await self._engine.score(one.before, one.texts, model=model) for one in asked]
        balance = BALANCES[repaired_language(document) or "json"]
        winner = choose(found.candidates, asked, log_probs, balance)
        return winner, "" if winner else "the engine finds more than one way likely"


async def _within(work: Coroutine[Any, Any, T], until: float) -> T:
    """Raises `asyncio.TimeoutError` when the work is not done at a `time.monotonic` instant."""
    return await asyncio.wait_for(work, until - time.monotonic())
