"""Linear layers with low-rank changes beside their weight: for every row, or for the encoder's rows alone."""

from __future__ import annotations

import torch
from attrs import define
from torch import Tensor, nn

from .quantized import QuantizedLinear

Change = tuple[Tensor, Tensor]
"""`down` `[r, in]` and `up` `[out, r]`: what is added to a weight is `up @ down`."""


@define(eq=False)
class Sides:
    """How many of the rows that are under way, the first ones, are the encoder's."""

    encoded: int = 0


class SidedLinear(nn.Module):
    """A linear layer, of which `every` row gets a change, and the first rows, the `encoder`'s, one more.

    Buffers: `every_down` and `encoder_down` `[r, in]`, `every_up` and `encoder_up` `[out, r]`, in the layer's dtype.
    """

    def __init__(
        self, linear: nn.Linear | QuantizedLinear, every: Change | None, encoder: Change | None, sides: Sides
    ) -> None:
        super().__init__()
        self.linear, self.sides = linear, sides
        if isinstance(linear, QuantizedLinear):
            device, dtype = linear.values.device, linear.dtype
        else:
            device, dtype = linear.weight.device, linear.weight.dtype
        changes = {"every": every, "encoder": encoder}
        self._changes = {name: change is not None for name, change in changes.items()}
        for name, change in changes.items():
            if change is not None:
                self.register_buffer(f"{name}_down", change[0].to(device, dtype))
                self.register_buffer(f"{name}_up", change[1].to(device, dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Rows `[B, T, in]` → `[B, T, out]`."""
        out = self.linear(x)
        if self._changes["every"]:
            out = out + self._change("every", x)
        encoded = self.sides.encoded
        if not encoded or not self._changes["encoder"]:
            return out
        return torch.cat([out[:, :encoded] + self._change("encoder", x[:, :encoded]), out[:, encoded:]], dim=1)

    def _change(self, name: str, x: Tensor) -> Tensor:
        return (x @ self.get_buffer(f"{name}_down").T) @ self.get_buffer(f"{name}_up").T
