"""Writing safetensors files tensor by tensor, so that a checkpoint is never in memory as a whole."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from ..shards import INDEX
from .stored import DTYPES

KINDS = {dtype: kind for kind, dtype in DTYPES.items()}
LARGEST = 4_000_000_000
"""Bytes of a shard, unless a single tensor is larger."""


@frozen
class Planned:
    """A tensor to be written: its name, dtype and shape."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Writer:
    """Writes the tensors of a plan, which must come in its order, into shards with an index."""

    def __init__(self, folder: Path, plan: list[Planned]) -> None:
        self._folder = folder
        self._shards = _split(plan)
        self._names = [
            f"model-{number:05}-of-{len(self._shards):05}.safetensors" for number in range(1, len(self._shards) + 1)
        ]
        self._shard, self._next = -1, 0
        self._stream: Any = None

    def write(self, name: str, tensor: Tensor) -> None:
        """The next tensor of the plan, from whichever device."""
        if self._shard < 0 or self._next == len(self._shards[self._shard]):
            self._open_next()
        planned = self._shards[self._shard][self._next]
        if (name, tensor.dtype, tuple(tensor.shape)) != (planned.name, planned.dtype, planned.shape):
            raise ValueError(f"{name} {tensor.dtype} {list(tensor.shape)} is not {planned}, the next of the plan")
        self._stream.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        self._next += 1

    def close(self) -> None:
        """Write the index. Raises `ValueError` when tensors are missing."""
        self._finish()
        if self._shard != len(self._shards) - 1 or self._next != len(self._shards[-1]):
            raise ValueError("tensors of the plan were not written")
        names = {one.name: name for shard, name in zip(self._shards, self._names, strict=True) for one in shard}
        total = sum(one.size for shard in self._shards for one in shard)
        index = {"metadata": {"total_size": total}, "weight_map": names}
        (self._folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")

    def abort(self) -> None:
        """Close what is open."""
        if self._stream is not None:
            self._stream.close()

    def _open_next(self) -> None:
        self._finish()
        self._shard, self._next = self._shard + 1, 0
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        place = 0
        for one in self._shards[self._shard]:
            offsets = [place, place + one.size]
            header[one.name] = {"dtype": KINDS[one.dtype], "shape": list(one.shape), "data_offsets": offsets}
            place += one.size
        text = json.dumps(header, separators=(",", ":")).encode()
        # Tensors begin at a multiple of eight bytes.
        text += b" " * (-len(text) % 8)
        self._stream = (self._folder / self._names[self._shard]).open("wb")
        self._stream.write(len(text).to_bytes(8, "little") + text)

    def _finish(self) -> None:
        self.abort()
        self._stream = None


def _split(plan: list[Planned]) -> list[list[Planned]]:
    shards: list[list[Planned]] = [[]]
    size = 0
    for one in plan:
        if shards[-1] and size + one.size > LARGEST:
            shards.append([])
            size = 0
        shards[-1].append(one)
        size += one.size
    return shards
