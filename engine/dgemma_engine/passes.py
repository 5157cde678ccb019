"""Denoising a batch of canvases until each has settled, with a draft after every pass."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TypeAlias

import torch
from attrs import define, evolve, frozen
from torch import Tensor

from . import wire
from .canvas import Canvas, stack
from .draws import Draws
from .healing import Healer
from .model import DiffusionGemma
from .polling import polled
from .prefix_cache import Prefix
from .request import Progress
from .sampler import Denoising, Pass
from .steps import Steps
from .tokenizer import Tokenizer

WholeTexts: TypeAlias = Callable[[tuple[str, ...]], tuple[str, ...]]
"""From the texts of the holes on a canvas to those of all holes of the request, as far as they are written."""

TRACED_CHOICES = 5
"""Tokens that a trace tells of every row."""

GROUP_ROWS = 4096
"""Rows of canvases in one forward, at most: 16 canvases of the released width."""
SPARE_PASSES = 2
"""A canvas gets this many passes more than it has free rows: each pass accepts at least one of them."""


@frozen
class Settled:
    """A canvas at its end: the text of each hole, the ids of all rows, the kind of end, the passes it took.

    `number` tells it apart from the other canvases of the request, `shrinks` whether it may end a hole early.
    """

    texts: tuple[str, ...]
    ids: list[int]
    finish: str
    passes: int
    canvas: Canvas
    number: int
    shrinks: bool


def surest(entropy: Tensor, free: Tensor, count: int) -> list[int]:
    """The canvases that a first pass, of these entropies `[B, C]` in nats, has most confidence in, the best one first.

    Confidence is the lack of doubt: of the sum of the free rows' entropies over the root of their number. The sum alone
    is least for short holes whatever belongs in them; the mean was, where nano is at a loss, for long ones.
    docs/probing.md has the figures. Source of the idea: arXiv 2602.00476.
    """
    doubt = (entropy * free).sum(-1) / free.sum(-1).sqrt()
    return doubt.argsort()[:count].tolist()


@define
class Passes:
    """Runs canvases that share a prefix; of a hole, the text before the first of `ends` counts.

    `healer` reads holes that begin with something typed; canvases of one batch begin with the same.
    """

    model: DiffusionGemma
    tokenizer: Tokenizer
    draws: Draws
    progress: Progress
    ends: frozenset[int] = frozenset()
    healer: Healer | None = None
    number: int = 0
    """The pass of the present canvas that was run last, from 1."""
    canvases: int = 0
    """Canvases begun before the present batch: their numbers in a trace go on from here."""

    @property
    def filler(self) -> int | None:
        return self.model.config.traits.filler_id

    def run(
        self,
        canvases: list[Canvas],
        shrinks: list[bool],
        prefix: Prefix,
        remaining: int,
        whole: WholeTexts,
        survivors: int | None = None,
    ) -> Steps[list[Settled]]:
        """Denoise until every canvas has settled, `remaining` passes are spent or the deadline is over.

        What is pending of the prefix rides in the first pass. `shrinks` tells which canvases may end a hole early. One
        that has settled leaves the batch: short holes are done long before the others. The drafts are those of the
        first canvas still going, in a trace of all.

        More canvases than go into one forward are run group by group; what the deadline leaves unbegun is left out.
        With `survivors` only so many of a group go on after the first pass, the most confident of them, and only they
        are returned.
        """
        self.progress.tokens["canvases"] = len(canvases)
        size = max(1, GROUP_ROWS // max(len(canvas.ids) for canvas in canvases))
        settled: list[Settled] = []
        for start in range(0, len(canvases), size):
            group = slice(start, start + size)
            settled += yield from self._run(canvases[group], shrinks[group], prefix, remaining, whole, survivors)
            if self.progress.late:
                break
        return settled

    def _run(
        self,
        canvases: list[Canvas],
        shrinks: list[bool],
        prefix: Prefix,
        remaining: int,
        whole: WholeTexts,
        survivors: int | None,
    ) -> Steps[list[Settled]]:
        """Denoise canvases that share their forwards."""
        options = self.progress.options
        typed = canvases[0].typed
        batch = stack(canvases, self.model.config.pad_id, self.model.device)
        denoising = Denoising(
            model=self.model,
            cache=prefix.cache,
            canvas=batch.ids,
            free=batch.free,
            kept=batch.kept,
            schedule=options.schedule,
            draws=self.draws,
            forbidden=self._forbidden(shrinks),
            signal_at_pinned=options.pinned_signal,
            filler=self.filler,
            ends=tuple(self.ends),
            opening=self.healer.refused(typed, self.model.device) if self.healer and typed else None,
            choices=TRACED_CHOICES if options.trace else 0,
            remaining=remaining,
            real=batch.real,
        )
        widest = max(self.progress.tokens.get("canvas", 0), batch.ids.shape[1])
        self.progress.tokens["canvas"] = widest
        settled: dict[int, Settled] = {}
        active = list(range(len(canvases)))
        started = time.monotonic()
        *riding, hidden = yield [*prefix.riding(), denoising.rows()]
        if riding:
            prefix.settle(riding[0])
        for number in range(1, remaining + 1):
            self.number = number
            taken = denoising.take(hidden)
            leaves = number == 1 and survivors is not None and survivors < len(active)
            # Where it is known that canvases end here, the next pass waits for those that go on.
            goes_on = number < min(remaining, max(self._most_passes(canvases[index]) for index in active))
            state, ahead = yield from polled(taken, denoising if goes_on and not leaves else None)
            ends = ["converged" if done else "passes" for done in state.done.tolist()]
            for place, index in enumerate(active):
                ids = state.readout[place].tolist()
                settled[index] = self._settle(canvases[index], ids, ends[place], number, index, shrinks[index])
            for place, index in enumerate(active if options.trace else active[:1]):
                self._emit(state, place, settled[index], remaining, whole)
            going = [
                place
                for place, index in enumerate(active)
                if ends[place] != "converged" and number < self._most_passes(canvases[index])
            ]
            if leaves:
                assert survivors is not None
                settled = {place: settled[place] for place in surest(taken.entropy, denoising.free, survivors)}
                going = [place for place in going if place in settled]
            if going and self.progress.late:
                for place in going:
                    settled[active[place]] = evolve(settled[active[place]], finish="deadline")
                break
            if not going or number == remaining:
                break
            if len(going) < len(active):
                active = [active[place] for place in going]
                members = torch.tensor(going, device=self.model.device)
                ahead = None if ahead is None else ahead[denoising.read_of(members)]
                denoising.keep(members)
            hidden = ahead
            if hidden is None:
                (hidden,) = yield [denoising.rows()]
        self.canvases += len(canvases)
        self.progress.spend("passes", started)
        return [settled[index] for index in sorted(settled)]

    @staticmethod
    def _most_passes(canvas: Canvas) -> int:
        return sum(canvas.free) + SPARE_PASSES

    def show(self, settled: Settled, passes: int, whole: WholeTexts) -> None:
        """Emit a last draft: the canvas that was chosen, as it is offered."""
        if self.progress.options.on_draft is not None:
            cells = [wire.Cell(self.tokenizer.spell(id_), "accepted") for id_ in settled.ids]
            self._send(settled, settled.ids, cells, passes, whole)

    def _settle(self, canvas: Canvas, ids: list[int], finish: str, passes: int, index: int, shrinks: bool) -> Settled:
        texts = []
        for slots in canvas.holes:
            hole = ids[slots.start : slots.stop]
            texts.append(self.tokenizer.decode(hole[: self.length(hole)]))
        if canvas.typed:
            is_whole = texts[0].startswith(canvas.typed)
            texts[0] = texts[0][len(canvas.typed) :] if is_whole else ""
        return Settled(tuple(texts), ids, finish, passes, canvas, self.canvases + index, shrinks)

    def length(self, ids: list[int]) -> int:
        """How many of a hole's ids are text."""
        return next((place for place, id_ in enumerate(ids) if id_ == self.filler or id_ in self.ends), len(ids))

    def _forbidden(self, shrinks: list[bool]) -> Tensor:
        """`[B, V]`: control ids, but for those that end a text, and for the filler where a hole may shrink."""
        vocab = self.model.config.vocab_size
        never = torch.zeros(len(shrinks), vocab, dtype=torch.bool, device=self.model.device)
        never[:, [id_ for id_ in self.tokenizer.control_ids - self.ends if id_ < vocab]] = True
        if self.filler is not None:
            never[torch.tensor(shrinks, device=self.model.device), self.filler] = False
        return never

    def _emit(self, state: Pass, place: int, settled: Settled, passes: int, whole: WholeTexts) -> None:
        """A draft of the canvas at `place` of the batch."""
        if self.progress.options.on_draft is None:
            return
        ids, accepted = state.canvas[place].tolist(), state.accepted[place].tolist()
        entropy = state.entropy[place].tolist()
        choices = [()] * len(ids) if state.top is None else self._choices(*(part[place] for part in state.top))
        cells = [
            wire.Cell(self.tokenizer.spell(id_), "accepted" if sure else "noise", doubt, likely)
            for id_, sure, doubt, likely in zip(ids, accepted, entropy, choices, strict=True)
        ]
        self._send(settled, ids, cells, passes, whole)

    def _choices(self, ids: Tensor, probabilities: Tensor) -> list[tuple[wire.Choice, ...]]:
        return [
            tuple(
                wire.Choice(self.tokenizer.spell(id_), min(share, 1.0)) for id_, share in zip(row, shares, strict=True)
            )
            for row, shares in zip(ids.tolist(), probabilities.tolist(), strict=True)
        ]

    def _send(self, settled: Settled, ids: list[int], rows: list[wire.Cell], passes: int, whole: WholeTexts) -> None:
        """A draft of `ids`; `rows` has a cell for each, of which those of pinned ones are put together instead.

        What pads the canvas to the width of its batch is left out.
        """
        cells: list[wire.Cell] = []
        free = settled.canvas.free
        for is_free, group in itertools.groupby(range(len(free)), free.__getitem__):
            if is_free:
                cells += [rows[row] for row in group]
            else:
                cells.append(wire.Cell(self.tokenizer.decode([ids[row] for row in group]), "pinned"))
        on_draft = self.progress.options.on_draft
        assert on_draft is not None
        number = settled.number if self.progress.options.trace else 0
        texts = whole(settled.texts)
        on_draft(wire.Draft(0, self.number, passes, self.progress.elapsed, tuple(cells), texts, number))
