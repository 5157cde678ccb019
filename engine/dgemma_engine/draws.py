"""Where the randomness of a run comes from."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Draws(Protocol):
    """Noise and samples; a test may hand out those of another run."""

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """Token ids, uniform over the vocabulary."""
        ...

    def sample(self, probabilities: Tensor) -> Tensor:
        """One id per row of `probabilities` `[R, V]`."""
        ...


class SeededDraws:
    """Draws from a generator of its own: the same seed gives the same fill on the same device."""

    def __init__(self, vocab: int, device: torch.device, seed: int | None) -> None:
        self.vocab = vocab
        self.generator = torch.Generator(device=device)
        if seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(seed)

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(self.vocab, shape, generator=self.generator, device=self.generator.device)

    def sample(self, probabilities: Tensor) -> Tensor:
        # By the inverse of the distribution: multinomial draws a number for every token of the vocabulary.
        sums = probabilities.cumsum(-1)
        shape = (len(probabilities), 1)
        point = torch.rand(shape, generator=self.generator, device=self.generator.device) * sums[:, -1:]
        return torch.searchsorted(sums, point, right=True).squeeze(-1).clamp(max=self.vocab - 1)

    def seed(self) -> Tensor:
        """`[1]` on the device: what a kernel that draws for itself is to begin with, another one each time."""
        return torch.randint(2**62, (1,), generator=self.generator, device=self.generator.device)
