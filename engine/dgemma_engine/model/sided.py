"""Linear layers that do a little more for the encoder's rows than for the decoder's."""

from __future__ import annotations

import torch
from attrs import define
from torch import Tensor, nn


@define(eq=False)
class Sides:
    """How many of the rows that are under way, the first ones, are the encoder's."""

    encoded: int = 0


class SidedLinear(nn.Linear):
    """A linear layer whose first rows, the encoder's, also get `up @ down`, low-rank.

    Buffers: `down` `[r, in]`, `up` `[out, r]`, in the weight's dtype.
    """

    down: Tensor
    up: Tensor
    sides: Sides

    @classmethod
    def of(cls, linear: nn.Linear, change: tuple[Tensor, Tensor], sides: Sides) -> SidedLinear:
        """`linear` with its own weight and `change`, `down` and `up`, for the encoder's rows."""
        sided = cls(linear.in_features, linear.out_features, bias=False, device="meta")
        sided.weight = linear.weight
        sided.sides = sides
        for name, matrix in zip(("down", "up"), change, strict=True):
            sided.register_buffer(name, matrix.to(linear.weight.device, linear.weight.dtype))
        return sided

    def forward(self, input: Tensor) -> Tensor:
        """Rows `[B, T, in]` → `[B, T, out]`."""
        out = super().forward(input)
        encoded = self.sides.encoded
        if not encoded:
            return out
        change = (input[:, :encoded] @ self.down.T) @ self.up.T
        return torch.cat([out[:, :encoded] + change, out[:, encoded:]], dim=1)
