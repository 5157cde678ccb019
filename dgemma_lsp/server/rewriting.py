"""A selection rewritten as somebody asks for it: from an instruction to hunks that do no harm."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import attrs

from dgemma_engine import wire
from dgemma_lsp.config import Settings
from dgemma_lsp.engine_client import EngineError, EngineUnavailable
from dgemma_lsp.syntax.gate import Gate
from dgemma_lsp.syntax.trees import Trees
from dgemma_lsp.syntax.verdicts import Verdict
from dgemma_lsp.text.document import Document
from dgemma_lsp.text.edits import Edit
from dgemma_lsp.text.masked import hole_tokens, infill
from dgemma_lsp.text.moving import moved
from dgemma_lsp.text.rewriting import Hunk, fitted, hunks

from .documents import file_name
from .engine_life import EngineLife
from .outcomes import Outcome
from .secrets import is_secret

T = TypeVar("T")

KEPT = 8
"""Previews whose hunks may still be asked for."""

ROOM = 2
"""How much longer than the selection the answer may get, in tokens."""

LEAST_ROOM = 64

MOST_TOKENS = 30_000
"""Tokens of a selection, by a low estimate: some hundred canvases."""

MOST_INSTRUCTION = 4_000
"""Characters of an instruction."""

REFINE_PASSES = 4


@attrs.frozen
class Wish:
    """What is asked for: the characters [start, end) of a snapshot rewritten as `instruction` says.

    `problems` are diagnostics that concern the selection, a line each.
    """

    document: Document
    start: int
    end: int
    instruction: str
    problems: tuple[str, ...] = ()
    on_draft: Callable[[wire.Draft], None] | None = None

    @property
    def selected(self) -> str:
        return self.document.text[self.start : self.end]


@attrs.frozen
class Rewritten:
    """Hunks, in the order of the snapshot that they count in; [start, end) is the selection in it."""

    id: int
    document: Document
    start: int
    end: int
    hunks: tuple[Hunk, ...]

    def edits(self, numbers: Sequence[int] | None = None) -> list[Edit]:
        """Of some hunks, or of all."""
        chosen = self.hunks if numbers is None else [self.hunks[number] for number in sorted(set(numbers))]
        return [edit for hunk in chosen for edit in hunk.edits]


class Rewriter:
    """Turns wishes into hunks. What was previewed is kept for a while, to be applied in part."""

    def __init__(self, engine: EngineLife, trees: Trees, current: Callable[[str], Document | None]) -> None:
        self.engine = engine
        self._gate = Gate(trees=trees)
        self._syntax = ThreadPoolExecutor(1, "rewriting")
        self._current = current
        self._ids = itertools.count(1)
        self._previews: OrderedDict[int, Rewritten] = OrderedDict()

    async def rewrite(self, wish: Wish, settings: Settings, outcome: Outcome) -> Rewritten | None:
        """Hunks in the document as it is now; None when there are none, and then the outcome says why.

        With hunks the outcome is left open: it depends on what is done with them.
        """
        refusal = _refusal(wish, settings)
        if refusal:
            outcome.end(*refusal)
            return None
        try:
            return await self._rewritten(wish, settings, outcome)
        except asyncio.CancelledError:
            outcome.end("cancelled")
            raise
        except EngineUnavailable as error:
            self.engine.lost(error)
            outcome.end("engine-down", str(error))
        except EngineError as error:
            if error.code in ("memory", "checkpoint"):
                self.engine.lost(error)
            outcome.end(_OUTCOMES.get(error.code, "error"), str(error))
        return None

    def keep(self, rewritten: Rewritten) -> None:
        """For `preview`."""
        self._previews[rewritten.id] = rewritten
        while len(self._previews) > KEPT:
            self._previews.popitem(last=False)

    def preview(self, id_: int) -> Rewritten | None:
        """What was kept, in the document as it is now; None when it is gone or its text has changed."""
        kept = self._previews.get(id_)
        return None if kept is None else self.rebased(kept)

    def rebased(self, rewritten: Rewritten) -> Rewritten | None:
        """The same hunks in the document as it is now; None when the selection's text has changed."""
        before, now = rewritten.document, self._current(rewritten.document.uri)
        if now is None:
            return None
        start = moved(before.text, now.text, rewritten.start, rewritten.end)
        if start is None:
            return None
        by = start - rewritten.start
        return attrs.evolve(
            rewritten,
            document=now,
            start=start,
            end=rewritten.end + by,
            hunks=tuple(_shifted(hunk, by) for hunk in rewritten.hunks),
        )

    def forget(self, uri: str) -> None:
        """The document was closed."""
        for id_ in [id_ for id_, kept in self._previews.items() if kept.document.uri == uri]:
            del self._previews[id_]

    async def _rewritten(self, wish: Wish, settings: Settings, outcome: Outcome) -> Rewritten | None:
        found = await self._asked(wish, settings)
        outcome.engine_ms = found.ms.get("total", 0.0)
        outcome.passes = max((candidate.passes for candidate in found.candidates), default=0)
        self.engine.answered()
        reason = ""
        written = [candidate.texts[0] for candidate in found.candidates]
        if not any(text.strip() for text in written):
            outcome.end("empty")
            return None
        for number, text in enumerate(written):
            fit = self._fit(wish, text)
            if fit == wish.selected:
                outcome.end("unchanged")
                return None
            verdict = await self._judged(wish, fit)
            if not verdict.allows(unfinished=False):
                reason = reason or verdict.reason
                better = await self._refined(wish, settings, found, number, fit, verdict)
                if better is None:
                    continue
                fit = better
            return await self._cut(wish, fit, outcome)
        outcome.end("syntax-refused", reason)
        return None

    async def _asked(self, wish: Wish, settings: Settings) -> wire.Filled:
        document = wish.document
        room = LEAST_ROOM + ROOM * hole_tokens(wish.selected)
        around = infill(document.text, wish.start, wish.end, room, settings.rewrite_noise)
        prompt = wire.Prompt(
            instruction=wish.instruction,
            language=document.language,
            file=file_name(document.uri),
            problems=wish.problems,
        )
        return await self.engine.client.fill(
            around.text,
            model=settings.model,
            priority="rewrite",
            passes=settings.passes or None,
            prompt=prompt,
            on_draft=wish.on_draft,
            on_progress=self.engine.heard,
        )

    def _fit(self, wish: Wish, text: str) -> str:
        return fitted(wish.document.text, wish.start, wish.end, text)

    async def _judged(self, wish: Wish, text: str) -> Verdict:
        document = wish.document
        return await self._aside(self._gate.verdict, document.language, document.text, wish.start, wish.end, text)

    async def _refined(
        self, wish: Wish, settings: Settings, found: wire.Filled, number: int, fit: str, verdict: Verdict
    ) -> str | None:
        """What comes of writing those parts anew that made the syntax worse; None when it is no better."""
        spans = _spans(found.candidates[number].texts[0], fit, verdict)
        if not spans:
            return None
        again = await self.engine.client.refine(found, spans, candidate=number, passes=REFINE_PASSES)
        for candidate in again.candidates:
            better = self._fit(wish, candidate.texts[0])
            if better.strip() and (await self._judged(wish, better)).allows(unfinished=False):
                return better
        return None

    async def _cut(self, wish: Wish, text: str, outcome: Outcome) -> Rewritten | None:
        document = wish.document
        found = await self._aside(hunks, document.text, wish.start, wish.end, text)
        rewritten = self.rebased(Rewritten(next(self._ids), document, wish.start, wish.end, found))
        if rewritten is None:
            outcome.end("stale")
        return rewritten

    async def _aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Runs what takes long apart from the loop: other requests are read and answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._syntax, work, *arguments)


def _refusal(wish: Wish, settings: Settings) -> tuple[str, str] | None:
    """The outcome of a wish that nothing is done for, and why."""
    if is_secret(wish.document.uri, settings.secret_files):
        return "secret-file", ""
    if not wish.selected.strip():
        return "nothing-selected", ""
    if not wish.instruction.strip():
        return "no-instruction", ""
    if len(wish.instruction) > MOST_INSTRUCTION:
        return "too-long", f"an instruction has at most {MOST_INSTRUCTION} characters"
    if hole_tokens(wish.selected) > MOST_TOKENS:
        lines = wish.selected.count("\n") + 1
        return "too-long", f"{lines} lines are selected; select a smaller part"
    return None


def _spans(written: str, fit: str, verdict: Verdict) -> list[wire.Span]:
    """The verdict's spans in what the model wrote: known only where nothing was made to fit."""
    return [wire.Span(0, start, stop) for start, stop in verdict.spans if start < stop] if written == fit else []


def _shifted(hunk: Hunk, by: int) -> Hunk:
    edits = tuple(Edit(edit.start + by, edit.end + by, edit.text) for edit in hunk.edits)
    return Hunk(hunk.start + by, hunk.end + by, hunk.text, edits)


_OUTCOMES = {
    "busy": "busy",
    "cancelled": "cancelled",
    "checkpoint": "engine-down",
    "closing": "engine-down",
    "empty": "empty",
    "instructions": "no-instructions",
    "memory": "engine-down",
    "superseded": "superseded",
}
"""Of codes of the engine."""
