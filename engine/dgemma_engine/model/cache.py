"""Keys and values of the encoded prefix."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import ModelConfig


class KVCache:
    """Full-length keys and values of one prefix, `[1, kv_heads, capacity, head_dim]` a layer.

    Sliding layers keep everything too: a ring would force a full prefill after any edit further back than the
    window. Rows past `length` are scratch: a canvas is written there while it is attended to and never becomes
    part of the prefix.
    """

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype, capacity: int = 256) -> None:
        self.length = 0
        self.capacity = capacity
        shapes = [(1, layer.kv_heads, capacity, layer.head_dim) for layer in config.layers]
        self._keys = [torch.empty(shape, device=device, dtype=dtype) for shape in shapes]
        self._values = [torch.empty(shape, device=device, dtype=dtype) for shape in shapes]

    def reserve(self, rows: int) -> None:
        """Make room for `rows` beyond the prefix; grows geometrically, keeps what is there."""
        if self.length + rows <= self.capacity:
            return
        self.capacity = max(2 * self.capacity, self.length + rows)
        for store in (self._keys, self._values):
            for index, old in enumerate(store):
                grown = old.new_empty(old.shape[0], old.shape[1], self.capacity, old.shape[3])
                grown[:, :, : self.length] = old[:, :, : self.length]
                store[index] = grown

    def write(self, layer: int, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Put rows after the prefix and return prefix and rows together, from position `start` on.

        `keys`, `values`: `[B, kv_heads, T, head_dim]`. With B > 1 every member reads the same prefix and sees
        its own rows only.
        """
        stop = self.length + keys.shape[2]
        if keys.shape[0] == 1:
            self._keys[layer][:, :, self.length : stop] = keys
            self._values[layer][:, :, self.length : stop] = values
            return self._keys[layer][:, :, start:stop], self._values[layer][:, :, start:stop]
        shape = (keys.shape[0], -1, -1, -1)
        past_keys = self._keys[layer][:, :, start : self.length].expand(shape)
        past_values = self._values[layer][:, :, start : self.length].expand(shape)
        return torch.cat([past_keys, keys], dim=2), torch.cat([past_values, values], dim=2)

    def commit(self, rows: int) -> None:
        """Make the first `rows` written after the prefix part of it."""
        self.length += rows

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate {self.length} cached tokens to {length}")
        self.length = length
