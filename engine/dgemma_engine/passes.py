"""Denoising a batch of canvases until each has settled, with a draft after every pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import torch
from attrs import define, evolve, frozen
from torch import Tensor

from . import wire
from .canvas import Canvas, stack
from .model import DiffusionGemma, KVCache
from .request import Progress
from .sampler import Denoising, Draws, Pass
from .tokenizer import Tokenizer

WholeTexts: TypeAlias = Callable[[tuple[str, ...]], tuple[str, ...]]
"""From the texts of the holes on a canvas to those of all holes of the request, as far as they are written."""


SPARE_PASSES = 2
"""A canvas gets this many passes more than it has free rows: each pass accepts at least one of them."""


@frozen
class Settled:
    """A canvas at its end: the text of each hole, the ids of all rows, the kind of end, the passes it took."""

    texts: tuple[str, ...]
    ids: list[int]
    finish: str
    passes: int
    canvas: Canvas


@define
class Passes:
    """Runs canvases that share a prefix."""

    model: DiffusionGemma
    tokenizer: Tokenizer
    draws: Draws
    progress: Progress
    number: int = 0
    """The pass of the present canvas that was run last, from 1."""

    @property
    def filler(self) -> int | None:
        return self.model.config.traits.filler_id

    def run(
        self, canvases: list[Canvas], shrinks: list[bool], cache: KVCache, remaining: int, whole: WholeTexts
    ) -> list[Settled]:
        """Denoise until every canvas has settled, `remaining` passes are spent or the deadline is over.

        `shrinks` tells which canvases may end a hole early. One that has settled leaves the batch: short holes are
        done long before the others. The drafts are those of the first canvas still going.
        """
        options = self.progress.options
        batch = stack(canvases, self.model.config.pad_id, self.model.device)
        denoising = Denoising(
            model=self.model,
            cache=cache,
            canvas=batch.ids,
            free=batch.free,
            kept=batch.kept,
            schedule=options.schedule,
            draws=self.draws,
            forbidden=self._forbidden(shrinks),
            signal_at_pinned=options.pinned_signal,
            filler=self.filler,
            remaining=remaining,
            real=batch.real,
        )
        self.progress.tokens |= {"canvas": int(batch.ids.shape[1]), "canvases": len(canvases)}
        settled: dict[int, Settled] = {}
        active = list(range(len(canvases)))
        started = time.monotonic()
        for number in range(1, remaining + 1):
            self.progress.check_cancelled()
            self.number = number
            state = denoising.advance()
            ends = ["converged" if done else "passes" for done in state.done.tolist()]
            for place, index in enumerate(active):
                ids = state.readout[place].tolist()
                settled[index] = self._settle(canvases[index], ids, ends[place], number)
            self._emit(state, settled[active[0]], remaining, whole)
            going = [
                place
                for place, index in enumerate(active)
                if ends[place] != "converged" and number < sum(canvases[index].free) + SPARE_PASSES
            ]
            if going and self.progress.late:
                for place in going:
                    settled[active[place]] = evolve(settled[active[place]], finish="deadline")
                break
            if not going:
                break
            if len(going) < len(active):
                active = [active[place] for place in going]
                denoising.keep(torch.tensor(going, device=self.model.device))
        self.progress.spend("passes", started)
        return [settled[index] for index in range(len(canvases))]

    def show(self, settled: Settled, passes: int, whole: WholeTexts) -> None:
        """Emit a last draft: the canvas that was chosen, as it is offered."""
        if self.progress.options.on_draft is not None:
            rows = len(settled.ids)
            self._send(settled, settled.ids, [True] * rows, [None] * rows, passes, whole)

    def _settle(self, canvas: Canvas, ids: list[int], finish: str, passes: int) -> Settled:
        texts = []
        for slots in canvas.holes:
            hole = ids[slots.start : slots.stop]
            texts.append(self.tokenizer.decode(hole[: self.length(hole)]))
        return Settled(tuple(texts), ids, finish, passes, canvas)

    def length(self, ids: list[int]) -> int:
        """How many of a hole's ids are text."""
        return ids.index(self.filler) if self.filler in ids else len(ids)

    def _forbidden(self, shrinks: list[bool]) -> Tensor:
        """`[B, V]`: control ids, but for the filler where a hole may shrink."""
        vocab = self.model.config.vocab_size
        never = torch.zeros(len(shrinks), vocab, dtype=torch.bool, device=self.model.device)
        never[:, [id_ for id_ in self.tokenizer.control_ids if id_ < vocab]] = True
        if self.filler is not None:
            never[torch.tensor(shrinks, device=self.model.device), self.filler] = False
        return never

    def _emit(self, state: Pass, settled: Settled, passes: int, whole: WholeTexts) -> None:
        if self.progress.options.on_draft is None:
            return
        ids, accepted = state.canvas[0].tolist(), state.accepted[0].tolist()
        self._send(settled, ids, accepted, state.entropy[0].tolist(), passes, whole)

    def _send(
        self,
        settled: Settled,
        ids: list[int],
        accepted: list[bool],
        entropy: list[float] | list[None],
        passes: int,
        whole: WholeTexts,
    ) -> None:
        cells: list[wire.Cell] = []
        pinned: list[int] = []
        for row, free in enumerate(settled.canvas.free):
            if not free:
                pinned.append(ids[row])
                continue
            if pinned:
                cells.append(wire.Cell(self.tokenizer.decode(pinned), "pinned"))
                pinned = []
            state = "accepted" if accepted[row] else "noise"
            cells.append(wire.Cell(self.tokenizer.spell(ids[row]), state, entropy[row]))
        if pinned:
            cells.append(wire.Cell(self.tokenizer.decode(pinned), "pinned"))
        on_draft = self.progress.options.on_draft
        assert on_draft is not None
        on_draft(wire.Draft(0, self.number, passes, self.progress.elapsed, tuple(cells), whole(settled.texts)))
