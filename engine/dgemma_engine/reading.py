"""What the sampler reads of a pass' logits, a few rows at a time so that no more of them are in memory at once."""

from __future__ import annotations

import math

import torch
from attrs import astuple, frozen
from torch import Tensor

from .draws import Draws, SeededDraws
from .footprint import READ_OUT_ROWS
from .model import DiffusionGemma


@frozen
class Reading:
    """Of R rows: the next signal `soft` `[R, D]`, ids, entropies in nats, and the likeliest ids with their chances."""

    soft: Tensor
    sampled: Tensor
    argmax: Tensor
    readout: Tensor
    entropy: Tensor
    top: Tensor
    chances: Tensor


@frozen
class Reader:
    """`forbidden` ids `[B, V]`, and `opening` `[V]` at first free rows, are left out of `Reading.readout`."""

    model: DiffusionGemma
    draws: Draws
    forbidden: Tensor
    opening: Tensor | None
    choices: int

    def read(self, hidden: Tensor, owners: Tensor, first: Tensor, temperature: float | Tensor) -> Reading:
        """Rows `[R, D]` of the members `owners` `[R]`; `first` `[R]` marks the first free ones of a canvas.

        `temperature` may lie on the device.
        """
        count, read = READ_OUT_ROWS, self._by_torch
        if self.model.statistics is not None:
            # Of these there are but logits and probabilities, both in the weights' dtype.
            count, read = 4 * READ_OUT_ROWS, self._by_kernel
        parts = (part.split(count) for part in (hidden, owners, first))
        readings = [read(rows, whose, fresh, temperature) for rows, whose, fresh in zip(*parts, strict=True)]
        return Reading(*(torch.cat(parts) for parts in zip(*map(astuple, readings), strict=True)))

    def _by_torch(self, hidden: Tensor, owners: Tensor, first: Tensor, temperature: float | Tensor) -> Reading:
        """What the logits of a few rows say."""
        log_probabilities = (self.model.logits(hidden) / temperature).log_softmax(-1)
        probabilities = log_probabilities.exp()
        best = log_probabilities.argmax(-1)
        likely = probabilities.topk(min(self.choices, probabilities.shape[-1]))
        return Reading(
            soft=self.model.expected_embedding(probabilities),
            sampled=self.draws.sample(probabilities),
            argmax=best,
            readout=self._permitted(best, log_probabilities, owners, first),
            entropy=-torch.einsum("rv,rv->r", probabilities, log_probabilities),
            top=likely.indices,
            chances=likely.values,
        )

    def _by_kernel(self, hidden: Tensor, owners: Tensor, first: Tensor, temperature: float | Tensor) -> Reading:
        """`_by_torch` where the model has a kernel for it; nothing waits for the device."""
        from .kernels.row_statistics import Refusal

        assert self.model.statistics is not None
        raw, cap = self.model.raw_logits(hidden), self.model.config.logit_cap
        # Draws that come from elsewhere are drawn from the probabilities.
        seed = self.draws.seed() if isinstance(self.draws, SeededDraws) else 0
        refusal = Refusal(self.forbidden, owners, self.opening, first)
        found = self.model.statistics(raw, cap, temperature, seed, refusal)
        likely = found.probabilities.float().topk(min(self.choices, raw.shape[-1])) if self.choices else None
        none = found.argmax.new_empty(len(raw), 0)
        return Reading(
            soft=self.model.expected_embedding(found.probabilities),
            sampled=found.sample if isinstance(self.draws, SeededDraws) else self.draws.sample(found.probabilities),
            argmax=found.argmax,
            readout=found.permitted,
            entropy=found.entropy,
            top=none if likely is None else likely.indices,
            chances=none.float() if likely is None else likely.values,
        )

    def _permitted(self, best: Tensor, log_probabilities: Tensor, owners: Tensor, first: Tensor) -> Tensor:
        """`best` `[R]`, and where that id is forbidden the best one that is not."""
        is_refused = self.forbidden[owners, best]
        if self.opening is not None:
            is_refused = is_refused | (first & self.opening[best])
        refused = is_refused.nonzero().squeeze(-1)
        if len(refused) == 0:
            return best
        never = self.forbidden[owners[refused]]
        if self.opening is not None:
            never = never | (first[refused, None] & self.opening)
        return best.index_copy(0, refused, log_probabilities[refused].masked_fill(never, -math.inf).argmax(-1))
