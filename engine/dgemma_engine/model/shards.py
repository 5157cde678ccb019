"""Reading safetensors files in pieces, so that a checkpoint is never in memory a second time.

The `safetensors` library maps whole files: the pages of a 27 GB shard would stay in the process while it is copied.
Format: https://github.com/huggingface/safetensors#format, a length of 8 bytes, a JSON header, and the tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from attrs import define, field, frozen
from torch import Tensor

from ..errors import EngineError

DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F8_E4M3": torch.float8_e4m3fn,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I32": torch.int32,
    "I64": torch.int64,
}
LONGEST_HEADER = 100_000_000
"""As the library itself has it."""
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


@frozen
class Stored:
    """One tensor of a shard: what it is and where its bytes are. Sizes in bytes, `start` from the file's beginning."""

    shard: Shard
    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.kind]

    @property
    def type_name(self) -> str:
        """The dtype as torch calls it, if it knows it."""
        return str(DTYPES.get(self.kind, self.kind)).removeprefix("torch.")

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def count(self) -> int:
        """Its values."""
        return math.prod(self.shape)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one entry along the first dimension."""
        return self.shape[1:]

    def read(self, first: int = 0, count: int | None = None) -> Tensor:
        """Rows `first` to `first + count` along the first dimension, in host memory; a scalar has one."""
        count = self.rows - first if count is None else count
        shape = (count, *self.row_shape) if self.shape else ()
        out = torch.empty(shape, dtype=self.dtype)
        self.read_into(out, first)
        return out

    def read_into(self, out: Tensor, first: int = 0) -> None:
        """Fill `out`, contiguous in host memory and of this dtype, with the rows from `first` on."""
        row = self.size // self.rows if self.rows else 0
        # numpy, which lends out the memory, has no bf16 and no fp8.
        memory = out.reshape(-1).view(torch.uint8).numpy().data
        self.shard.read_into(memory, self.start + first * row)


@define(eq=False)
class Shard:
    """One safetensors file."""

    path: Path
    _file: BinaryIO | None = field(default=None, init=False)

    def tensors(self) -> Iterator[Stored]:
        """What the file holds. Raises `EngineError("checkpoint")` when it is not whole."""
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if size < 8 or length > min(LONGEST_HEADER, size - 8):
                    raise self._refused(f"it is not a readable safetensors file, its {size} bytes end in the header")
                header = json.loads(file.read(length))
        except FileNotFoundError:
            raise self._refused("it is missing") from None
        except (OSError, ValueError) as error:
            raise self._refused(f"it is not a readable safetensors file ({error})") from None
        begin = end = 8 + length
        for name, entry in self._entries(header):
            found = _place(entry)
            if found is None:
                raise self._refused(f"its header has no place for {name!r}")
            kind, shape, first, last = found
            if kind in DTYPES and last - first != math.prod(shape) * DTYPES[kind].itemsize:
                raise self._refused(f"{name} has {last - first} bytes, {kind} {list(shape)} has not")
            end = max(end, begin + last)
            yield Stored(self, name, kind, shape, begin + first, last - first)
        if end > size:
            raise self._refused(f"it is truncated, {size} of {end} bytes are there")

    def read_into(self, memory: memoryview, start: int) -> None:
        """Fill `memory` with the bytes from `start` on."""
        try:
            if self._file is None:
                self._file = self.path.open("rb", buffering=0)
            self._file.seek(start)
            done = 0
            while done < len(memory):
                got = self._file.readinto(memory[done:])  # type: ignore[attr-defined]
                if not got:
                    raise self._refused("it became shorter while it was read")
                done += got
        except OSError as error:
            raise self._refused(f"it cannot be read ({error})") from None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _entries(self, header: Any) -> list[tuple[str, Any]]:
        if not isinstance(header, dict):
            raise self._refused("its header is not a JSON object")
        return [(name, entry) for name, entry in header.items() if name != "__metadata__"]

    def _refused(self, why: str) -> EngineError:
        return EngineError("checkpoint", f"{self.path} cannot be loaded: {why}; get it again")


def _place(entry: Any) -> tuple[str, tuple[int, ...], int, int] | None:
    """Kind, shape, and where the bytes begin and end after the header; None for an entry that does not say so."""
    try:
        kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        return None
    numbers = (*shape, first, last)
    whole = isinstance(kind, str) and all(isinstance(number, int) and number >= 0 for number in numbers)
    return (kind, shape, first, last) if whole and first <= last else None


def read_shards(folder: Path) -> dict[str, Stored]:
    """All tensors of the checkpoint in `folder`, one file or an indexed set, by name.

    Raises `EngineError("checkpoint")` naming the file that is missing, broken, or a pickle.
    """
    return {stored.name: stored for path in shard_paths(folder) for stored in Shard(path).tensors()}


def shard_paths(folder: Path) -> list[Path]:
    """The files that hold the weights. Raises `EngineError("checkpoint")`."""
    index = folder / INDEX
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(weight_map.values()))
            strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise EngineError("checkpoint", f"{index} is not a safetensors index") from None
        if strange:
            raise EngineError("checkpoint", f"{index} names {strange[0]!r}, which is not a shard in this folder")
        return [folder / name for name in names]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    unsafe = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if unsafe:
        raise EngineError(
            "checkpoint",
            f"{folder} holds {unsafe[0]}, a pickle that can run code; convert it to safetensors first",
        )
    raise EngineError("checkpoint", f"{folder} has no {SINGLE} and no {INDEX}")
