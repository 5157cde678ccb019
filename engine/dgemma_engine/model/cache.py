"""Keys and values of the encoded prefix."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from .config import ModelConfig


class KVCache:
    """Full-length keys and values of one prefix, `[1, kv_heads, capacity, head_dim]` a layer.

    Sliding layers keep everything too: a ring would force a full prefill after any edit further back than the
    window. Rows past `length` are scratch: a canvas is written there while it is attended to and never becomes
    part of the prefix.

    `version` counts how often rows were taken back: who has a copy of rows learns by it which of them still hold.
    """

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype, capacity: int = 256) -> None:
        self.device = device
        self.length = 0
        self.capacity = capacity
        self.version = 0
        self._cuts: list[tuple[int, int]] = []
        """Versions and the lengths they began with, both increasing: a shorter one makes those before it pointless."""
        shapes = [(1, layer.kv_heads, capacity, layer.head_dim) for layer in config.layers]
        # What is hidden from everybody must be a number all the same.
        self._keys = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]
        self._values = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]

    def reserve(self, rows: int) -> None:
        """Make room for `rows` in all; grows geometrically, keeps what is there."""
        if rows <= self.capacity:
            return
        capacity = max(2 * self.capacity, rows)
        for store in (self._keys, self._values):
            for index, old in enumerate(store):
                store[index] = _copied(old, self.length, capacity)
        self.capacity = capacity

    def write(self, layer: int, keys: Tensor, values: Tensor, at: int, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Put rows at position `at`, behind the prefix, and return `count` from position `start` on.

        `keys`, `values`: `[B, kv_heads, T, head_dim]`. With B > 1 every member reads the same rows before `at` and sees
        its own ones only; nothing is stored. What lies behind these rows is any number.
        """
        new = ((self._keys[layer], keys), (self._values[layer], values))
        if keys.shape[0] == 1:
            for store, rows in new:
                store[:, :, at : at + rows.shape[2]] = rows
            stored, seen = (store[:, :, start : start + count] for store, _ in new)
            return stored, seen
        shape, behind = (keys.shape[0], -1, -1, -1), start + count - at - keys.shape[2]
        joined, seen = (
            torch.cat(
                [store[:, :, start:at].expand(shape), rows, *([store[:, :, :behind].expand(shape)] * bool(behind))],
                dim=2,
            )
            for store, rows in new
        )
        return joined, seen

    def rows(self, layer: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Keys and values of positions `[start, stop)`, `[T, kv_heads, head_dim]`: views, to be read or written."""
        keys, values = self._keys[layer], self._values[layer]
        return keys[0, :, start:stop].transpose(0, 1), values[0, :, start:stop].transpose(0, 1)

    def unchanged_since(self, version: int) -> int:
        """How many of the first rows are what they were at `version`, as far as there were so many then."""
        return next((length for number, length in self._cuts if number > version), self.length)

    def fork(self, length: int, rows: int = 0) -> KVCache:
        """A cache of its own with the first `length` tokens of this one, and memory for `rows` in all."""
        other = copy.copy(self)
        other.length = min(length, self.length)
        other.version, other._cuts = 0, []
        other.capacity = max(rows, other.length)
        other._keys = [_copied(store, other.length, other.capacity) for store in self._keys]
        other._values = [_copied(store, other.length, other.capacity) for store in self._values]
        return other

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return sum(store.numel() * store.element_size() for store in (*self._keys, *self._values))

    def commit(self, rows: int) -> None:
        """Make the first `rows` written after the prefix part of it."""
        self.length += rows

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate {self.length} cached tokens to {length}")
        if length == self.length:
            return
        self.length = length
        self.version += 1
        while self._cuts and self._cuts[-1][1] >= length:
            self._cuts.pop()
        self._cuts.append((self.version, length))


def _copied(store: Tensor, length: int, capacity: int) -> Tensor:
    """The first `length` rows of a layer's keys or values, in memory for `capacity`."""
    moved = store.new_zeros(store.shape[0], store.shape[1], capacity, store.shape[3])
    moved[:, :, :length] = store[:, :, :length]
    return moved
