"""Denoising: temperature, acceptance by entropy, renoising, stopping.

Source: transformers `EntropyBoundSampler`, `LinearTemperatureScheduleLogitsProcessor` and
`StableAndConfidentStoppingCriteria`; acceptance by arXiv 2505.24857. What differs from the reference is only that
some rows are pinned: budget, stop rule, logits and noise then concern the free rows alone. With every row free, a run
is the reference's run.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from attrs import define, field, frozen
from attrs import validators as check
from torch import Tensor

from .draws import Draws
from .model import DiffusionGemma, KVCache, Rows
from .reading import Reader

PinnedSignal = Literal["zero", "embedding", "logits"]
"""Self-conditioning at pinned rows: nothing, the token's own embedding, or what the model made of the row."""
PINNED_SIGNALS = get_args(PinnedSignal)


@frozen
class Schedule:
    """`passes` at most; temperatures fall linearly from `t_max`; `entropy_bound` and `confidence` in nats."""

    passes: int = field(default=48, validator=[check.instance_of(int), check.ge(1)])
    entropy_bound: float = field(default=0.1, validator=check.ge(0))
    t_min: float = field(default=0.4, validator=check.gt(0))
    t_max: float = field(default=0.8, validator=check.gt(0))
    stability: int = field(default=1, validator=[check.instance_of(int), check.ge(0)])
    confidence: float = field(default=0.005, validator=check.ge(0))

    def temperature(self, remaining: int) -> float:
        """Of the pass with `remaining` passes to go, itself included; the last one is not quite `t_min`."""
        return self.t_min + (self.t_max - self.t_min) * remaining / self.passes


@frozen
class Pass:
    """What one pass made of B canvases; `[B, C]` unless said, free rows only carry meaning.

    `canvas`: ids as they enter the next pass. `argmax`: the draft. `readout`: the draft with the forbidden ids left
    out. `accepted`: rows that took a sample. `entropy`: of the tempered logits, nats. `done` `[B]`. `top`: ids and
    probabilities of the likeliest tokens, `[B, C, choices]` each, where they were asked for.
    """

    canvas: Tensor
    argmax: Tensor
    readout: Tensor
    accepted: Tensor
    entropy: Tensor
    done: Tensor
    top: tuple[Tensor, Tensor] | None = None


@define
class Denoising:
    """One run over B canvases that share a prefix: a pass is a forward of `rows` and `take`, or `advance` alone.

    `canvas` `[B, C]` holds the pinned ids and, where `kept` `[B, C]`, a draft's; other free rows get noise.
    `free` `[B, C]` marks what may change, `real` `[B, C]` is False on padding. `remaining` passes are left of the
    schedule (less than all of them edits a draft). `forbidden` ids `[V]` or `[B, V]` never appear in `Pass.readout`.
    Fillers past the first in a hole say nothing about certainty: `filler` rows that follow another are not counted
    by the stop rule, and neither are rows behind the first of the tokens `ends`, where the text is over. `opening`
    `[V]` are ids that the first free row of a canvas must not be read as either. `choices` is the number of likeliest
    tokens reported by row.
    """

    model: DiffusionGemma
    cache: KVCache
    canvas: Tensor
    free: Tensor
    kept: Tensor
    schedule: Schedule
    draws: Draws
    forbidden: Tensor
    signal_at_pinned: PinnedSignal = "zero"
    filler: int | None = None
    ends: tuple[int, ...] = ()
    opening: Tensor | None = None
    choices: int = 0
    remaining: int = 0
    real: Tensor | None = None
    _signal: Tensor | None = field(default=None, init=False)
    _history: list[Tensor] = field(factory=list, init=False)
    _rows: Tensor = field(init=False)
    """`[R]`: the rows that are read, flat: the free ones, or all where the others' logits condition the next pass."""
    _owners: Tensor = field(init=False)
    """`[R]`: whose they are."""
    _first: Tensor = field(init=False)
    """`[R]`: whether a row is the first free one of its canvas."""
    _end_ids: Tensor = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.remaining = self.remaining or self.schedule.passes
        noise = self.draws.noise(tuple(self.canvas.shape))
        self.canvas = torch.where(self.free & ~self.kept, noise, self.canvas)
        self.forbidden = self.forbidden.expand(len(self.canvas), -1)
        self._end_ids = torch.tensor(self.ends, device=self.canvas.device)
        self._locate()
        if self.signal_at_pinned == "embedding" and not bool(self.free.all()):
            self._signal = self._pinned_embedding()

    def advance(self) -> Pass:
        """Run the decoder once, alone."""
        (hidden,) = self.model.forward([self.rows()])
        return self.take(hidden)

    def rows(self) -> Rows:
        """What the next pass runs through the decoder."""
        return Rows(self.cache, self.canvas, self._signal, self.real, asked=self._rows)

    def take(self, hidden: Tensor) -> Pass:
        """Finish the pass whose `rows` came out as `hidden` `[R, D]`; the canvas moves on."""
        shape = self.canvas.shape
        temperature = self.schedule.temperature(self.remaining)
        reader = Reader(self.model, self.draws, self.forbidden, self.opening, self.choices)
        reading = reader.read(hidden, self._owners, self._first, temperature)
        self._condition(reading.soft)
        sampled, argmax, readout = (self._spread(ids) for ids in (reading.sampled, reading.argmax, reading.readout))
        entropy = self._spread(reading.entropy)
        top = (self._spread(reading.top), self._spread(reading.chances)) if self.choices else None

        accepted = accept(entropy, self.free, self.schedule.entropy_bound)
        self.kept = self.kept & ~accepted
        noise = self.draws.noise(tuple(shape))
        renoised = torch.where(self.free & ~self.kept, noise, self.canvas)
        self.canvas = torch.where(accepted, sampled, renoised)
        argmax, readout = (torch.where(self.free, ids, self.canvas) for ids in (argmax, readout))
        said = self._said(argmax)
        done = self._stable(argmax.masked_fill(~said, -1)) & self._confident(entropy, argmax, said)
        self.remaining -= 1
        return Pass(self.canvas, argmax, readout, accepted, entropy, done, top)

    def keep(self, members: Tensor) -> None:
        """Go on with some of the canvases only; `members` are indices into B."""
        self.canvas, self.free, self.kept = self.canvas[members], self.free[members], self.kept[members]
        self.forbidden = self.forbidden[members]
        self._history = [argmax[members] for argmax in self._history]
        if self.real is not None:
            self.real = self.real[members]
        if self._signal is not None:
            self._signal = self._signal[members]
        self._locate()

    def read_of(self, members: Tensor) -> Tensor:
        """Which of the hidden states that a pass asks for belong to these canvases, `[R]`."""
        return torch.isin(self._owners, members).nonzero().squeeze(-1)

    def _locate(self) -> None:
        read = torch.ones_like(self.free) if self.signal_at_pinned == "logits" else self.free
        self._rows = read.flatten().nonzero().squeeze(-1)
        self._owners = self._rows // self.canvas.shape[1]
        self._first = (self.free & (self.free.cumsum(-1) == 1)).flatten()[self._rows]

    def _stable(self, argmax: Tensor) -> Tensor:
        wanted = self.schedule.stability
        alike = [(earlier == argmax).all(-1) for earlier in self._history]
        self._history = [*self._history, argmax][-wanted:] if wanted else []
        enough = len(alike) == wanted
        stable = torch.full((argmax.shape[0],), enough, dtype=torch.bool, device=argmax.device)
        for same in alike:
            stable = stable & same
        return stable

    def _said(self, argmax: Tensor) -> Tensor:
        """The free rows as far as the first end, itself included."""
        if not self.ends:
            return self.free
        is_end = torch.isin(argmax, self._end_ids)
        return self.free & (is_end.cumsum(-1) <= is_end)

    def _confident(self, entropy: Tensor, argmax: Tensor, counted: Tensor) -> Tensor:
        if self.filler is not None:
            filler = argmax == self.filler
            counted = counted.clone()
            counted[:, 1:] &= ~(filler[:, 1:] & filler[:, :-1] & self.free[:, :-1])
        mean = (entropy * counted).sum(-1) / counted.sum(-1)
        return mean < self.schedule.confidence

    def _condition(self, soft: Tensor) -> None:
        """Make `soft`, the expected embeddings of the rows that were read, the next pass's signal."""
        if self._signal is None:
            self._signal = soft.new_zeros(*self.canvas.shape, soft.shape[-1])
        self._signal.view(-1, soft.shape[-1])[self._rows] = soft

    def _pinned_embedding(self) -> Tensor:
        return self.model.embed(self.canvas) * ~self.free[..., None]

    def _spread(self, values: Tensor) -> Tensor:
        """Values of the rows that were read `[R, …]` in their places `[B, C, …]`."""
        out = values.new_zeros((self.canvas.numel(), *values.shape[1:]))
        out[self._rows] = values
        return out.view(*self.canvas.shape, *values.shape[1:])


def accept(entropy: Tensor, free: Tensor, bound: float) -> Tensor:
    """The k most certain free rows of each canvas whose entropies, the largest left out, sum to at most `bound`."""
    ranked, order = entropy.masked_fill(~free, 1e9).sort(dim=-1)
    chosen = ranked.cumsum(-1) - ranked <= bound
    return torch.zeros_like(free).scatter(-1, order, chosen) & free
