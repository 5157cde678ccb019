"""Reading tensors in pieces, so that a checkpoint is never in memory a second time.

The `safetensors` library maps whole files: the pages of a 27 GB shard would stay in the process while it is copied.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import torch
from attrs import define, evolve, field, frozen
from torch import Tensor

from ..errors import EngineError
from ..shards import read_header, weight_files

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


@frozen
class Stored:
    """One tensor of a file: what it is and where its bytes are, `start` from the file's beginning."""

    file: TensorFile
    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int
    """In bytes."""

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.kind]

    @property
    def type_name(self) -> str:
        """The dtype as torch calls it, if it knows it."""
        return str(DTYPES.get(self.kind, self.kind)).removeprefix("torch.")

    @property
    def count(self) -> int:
        """Its values."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Entries along the first dimension; a scalar has one."""
        return self.shape[0] if self.shape else 1

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    def flat(self) -> Stored:
        """The same values as one matrix, of the rows of all its matrices."""
        return evolve(self, shape=(math.prod(self.shape[:-1]), self.shape[-1]))

    def read(self, first: int = 0, count: int | None = None) -> Tensor:
        """Rows `first` to `first + count`, in host memory."""
        count = self.rows - first if count is None else count
        out = torch.empty((count, *self.row_shape) if self.shape else (), dtype=self.dtype)
        self.read_into(out, first)
        return out

    def read_into(self, out: Tensor, first: int = 0) -> None:
        """Fill `out`, contiguous in host memory and of this dtype, with the rows from `first` on."""
        row = self.size // self.rows if self.rows else 0
        # numpy, which lends out the memory, has no bf16 and no fp8.
        self.file.read_into(out.reshape(-1).view(torch.uint8).numpy().data, self.start + first * row)


@define(eq=False)
class TensorFile:
    """A safetensors file that is open while it is read."""

    path: Path
    _stream: BinaryIO | None = field(default=None, init=False)

    def tensors(self) -> list[Stored]:
        """What it holds. Raises `EngineError("checkpoint")` when it is not whole."""
        header, begin = read_header(self.path)
        found = []
        for name, entry in header.items():
            kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            if kind in DTYPES and last - first != math.prod(shape) * DTYPES[kind].itemsize:
                raise EngineError(
                    "checkpoint", f"{self.path}: {name} has {last - first} bytes, {kind} {list(shape)} has not"
                )
            found.append(Stored(self, name, kind, shape, begin + first, last - first))
        return found

    def read_into(self, memory: memoryview, start: int) -> None:
        """Fill `memory` with the bytes from `start` on. Raises `EngineError("checkpoint")`."""
        try:
            if self._stream is None:
                self._stream = self.path.open("rb", buffering=0)
            self._stream.seek(start)
            done = 0
            while done < len(memory):
                got = self._stream.readinto(memory[done:])  # type: ignore[attr-defined]
                if not got:
                    raise EngineError("checkpoint", f"{self.path} became shorter while it was read")
                done += got
        except OSError as error:
            raise EngineError("checkpoint", f"{self.path} cannot be read: {error.strerror}") from None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def read_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of the checkpoint in `folder`, one file or an indexed set, by name.

    Raises `EngineError("checkpoint")` naming the file that is missing, broken, or a pickle.
    """
    return {stored.name: stored for path in weight_files(folder) for stored in TensorFile(path).tensors()}
