"""The steps in which the shapes of a forward grow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor

FEW_ROWS = 64
"""Up to so many rows steps are small: the passes over one canvas are the ones that are waited for."""


@frozen
class Grain:
    """Multiples to which the `rows` of a part and the `keys` that they look at are rounded up.

    On a CPU torch's products in bf16 are compiled for each shape they meet, in 0.5 to 4 ms apiece, and while a text is
    typed every keystroke brings new ones: a prefix that is a token longer, a few tokens to encode, a hole of another
    length. In steps of this size they have all been met soon.
    """

    rows: int = 1
    keys: int = 1

    def rounded_rows(self, count: int) -> int:
        if count == 1:
            return 1  # texts that are written token by token have no other shape
        return _rounded(count, self.rows if count <= FEW_ROWS else 4 * self.rows)

    def rounded_keys(self, count: int) -> int:
        return _rounded(count, self.keys)

    def padded(self, rows: Tensor) -> Tensor:
        """`[R, D]` with rows of zeros behind them."""
        missing = self.rounded_rows(len(rows)) - len(rows)
        return F.pad(rows, (0, 0, 0, missing)) if missing else rows


EXACT = Grain()


def grain_for(device: torch.device, dtype: torch.dtype) -> Grain:
    return Grain(rows=8, keys=64) if device.type == "cpu" and dtype == torch.bfloat16 else EXACT


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step
