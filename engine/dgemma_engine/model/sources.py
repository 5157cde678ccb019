"""Where each matrix of the model stands in a checkpoint, in whichever published layout.

A plain checkpoint has `….weight`, and experts fused in three dimensions. Quantised ones have a matrix for every expert
(`experts.7.gate_proj`, `up_proj`, `down_proj`) and, in place of each weight,
- compressed-tensors float-quantized: `weight` e4m3, `weight_scale` a row or one for all;
- compressed-tensors int-quantized: `weight` int8, with the same scales, of dense layers alone;
- compressed-tensors pack-quantized: `weight_packed` int32, eight values each, `weight_scale` a group, `weight_shape`;
- compressed-tensors nvfp4-pack-quantized: `weight_packed` uint8, `weight_scale` e4m3,
  `weight_global_scale` to divide by;
- modelopt NVFP4: `weight` uint8, `weight_scale` e4m3, `weight_scale_2` to multiply by.
Sources: compressed_tensors.compressors, modelopt.torch.export, vLLM's loaders of both. Scales of activations are left
out: these are computed in bf16 here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor

from ..errors import EngineError
from . import packing
from .quantized import Form
from .stored import Stored

WIDE = ("BF16", "F16", "F32")
EIGHT: dict[str, Form] = {"F8_E4M3": "fp8", "I8": "int8"}


class Matrix(Protocol):
    """A matrix `[out, in]` of the checkpoint."""

    @property
    def form(self) -> Form: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def group(self) -> int:
        """Values a scale."""
        ...

    @property
    def size(self) -> int:
        """Bytes in the file."""
        ...

    def parts(self) -> tuple[Tensor, ...]:
        """As a bank of `form` holds it, in host memory."""
        ...

    def widened(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """`parts`, on whichever device, in floating point."""
        ...


@frozen
class Plain:
    """Floating point: a tensor, or the rows from `first` on of one matrix of a fused bank."""

    stored: Stored
    expert: int | None = None
    first: int = 0
    count: int = 0
    form: Form = "plain"
    group: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape if self.expert is None else (self.count, self.stored.shape[-1])

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.stored.dtype.itemsize

    def parts(self) -> tuple[Tensor, ...]:
        out = torch.empty(self.shape, dtype=self.stored.dtype)
        self.read_into(out)
        return (out,)

    def read_into(self, out: Tensor) -> None:
        """Fill `out`, contiguous in host memory and of the stored dtype."""
        if self.expert is None:
            self.stored.read_into(out)
        else:
            self.stored.flat().read_into(out, self.expert * self.stored.shape[1] + self.first)

    def widened(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        return parts[0].to(dtype)


@frozen
class Eight:
    """e4m3 or int8 with a scale for each row, or one for all."""

    stored: Stored
    scale: Stored
    form: Form
    group: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def size(self) -> int:
        return self.stored.size + self.scale.size

    def parts(self) -> tuple[Tensor, ...]:
        scale = self.scale.read().float().reshape(-1, 1).expand(self.shape[0], 1)
        return self.stored.read(), scale

    def widened(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        return packing.dequantize_rows(parts[0], parts[1], dtype)


@frozen
class _Packed:
    """Two values a byte, with scales in groups."""

    stored: Stored
    scale: Stored

    @property
    def shape(self) -> tuple[int, ...]:
        rows, last = self.stored.shape
        return rows, 2 * last * self.stored.dtype.itemsize

    @property
    def group(self) -> int:
        return self.shape[1] // self.scale.shape[-1]

    @property
    def size(self) -> int:
        return self.stored.size + self.scale.size


@frozen
class Packed4(_Packed):
    """Symmetric int4 in groups, eight of them in an int32."""

    form: Form = "int4"

    def parts(self) -> tuple[Tensor, ...]:
        return self.stored.read().view(torch.uint8), self.scale.read().to(torch.bfloat16)

    def widened(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        return packing.dequantize_int4(parts[0], parts[1], dtype)


@frozen
class PackedFloat4(_Packed):
    """NVFP4: 4-bit floats, a scale for every 16, and one for all, by which compressed-tensors divides."""

    whole: Stored
    divides: bool
    form: Form = "nvfp4"

    def parts(self) -> tuple[Tensor, ...]:
        whole = self.whole.read().float().reshape(1, 1)
        whole = 1 / whole if self.divides else whole
        return self.stored.read(), self.scale.read(), whole.expand(self.shape[0], 1)

    def widened(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        return packing.dequantize_nvfp4(parts[0], parts[1], parts[2], dtype)


BANKS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""The experts' banks, and what each matrix of them is made of, top to bottom, where every expert is stored alone."""
DENSE = re.compile(r"(layers\.\d+\.(self_attn|mlp)|self_conditioning)\.(q|k|v|o|gate|up|down)_proj\.weight")
"""Our names of the linear layers that every row goes through, which may be held in 8 bits. The router is none of them:
its scores choose, and what it takes is nothing. Neither is the embedding: in 8 bits it flattens the tail of the logits.
"""


def find_bank(
    tensors: Mapping[str, Stored], name: str, shape: tuple[int, int, int]
) -> tuple[list[list[Matrix]], list[str]]:
    """The matrices of a bank, `name` ending in one of `BANKS`, expert by expert, and the names of what is missing."""
    count, height, _ = shape
    prefix, _, bank = name.rpartition(".")
    made_of = BANKS[bank]
    height //= len(made_of)
    fused = find_matrix(tensors, name, shape) if name in tensors else None
    if isinstance(fused, Plain):
        firsts = range(0, shape[1], height)
        return [[Plain(fused.stored, expert, first, height) for first in firsts] for expert in range(count)], []
    experts: list[list[Matrix]] = []
    missing = []
    for expert in range(count):
        names = [f"{prefix}.{expert}.{one}.weight" for one in made_of]
        found = [find_matrix(tensors, one, (height, shape[2])) for one in names]
        missing += [one for one, matrix in zip(names, found, strict=True) if matrix is None]
        for one, matrix in zip(names, found, strict=True):
            if matrix is not None and matrix.form == "int8":
                raise refused(f"{one} is int8; of experts fp8, int4 and NVFP4 are run, and what is not quantised")
        experts.append([matrix for matrix in found if matrix is not None])
    # None at all: it was rather the bank that was meant.
    return experts, [name] if len(missing) == count * len(made_of) else missing


def find_matrix(tensors: Mapping[str, Stored], name: str, shape: tuple[int, ...]) -> Matrix | None:
    """What is stored for the parameter `name` (`….weight`, or one without that ending), None when nothing is.

    Raises `EngineError("checkpoint")` for a layout that is not run, or another shape.
    """
    base = name.removesuffix(".weight")
    weight, packed = tensors.get(name), tensors.get(f"{base}.weight_packed")
    stored, scale = packed or weight, tensors.get(f"{base}.weight_scale")
    if stored is None:
        return None
    for asymmetric in ("weight_zero_point", "weight_g_idx"):
        if f"{base}.{asymmetric}" in tensors:
            raise refused(f"{base} has a {asymmetric}; only symmetric weights in their own order are run")
    found: Matrix | None = None
    if scale is not None:
        whole = tensors.get(f"{base}.weight_global_scale" if packed else f"{base}.weight_scale_2")
        found = _quantized(stored, scale, whole, divides=packed is not None)
    elif stored.kind in WIDE:
        found = Plain(stored)
    if found is None:
        kinds = "bf16, fp16 and fp32 weights are run, and fp8, int8, int4 and NVFP4 ones with their scales"
        raise refused(f"{stored.name} is {stored.type_name}; {kinds}")
    if tuple(found.shape) != shape:
        raise refused(f"{stored.name} is {list(found.shape)}, config.json asks for {list(shape)}")
    return found


def _quantized(stored: Stored, scale: Stored, whole: Stored | None, divides: bool) -> Matrix | None:
    """The matrix of weights and scales that fit each other."""
    kinds = stored.kind, scale.kind
    if kinds[0] in EIGHT and kinds[1] in WIDE:
        if scale.count not in (1, stored.rows):
            raise refused(f"{scale.name} is {list(scale.shape)}; only a scale for each row, or one for all, is run")
        return Eight(stored, scale, EIGHT[kinds[0]])
    found: Matrix | None = None
    if kinds[0] == "I32" and kinds[1] in WIDE:
        found = Packed4(stored, scale)
    elif kinds == ("U8", "F8_E4M3") and whole is not None:
        found = PackedFloat4(stored, scale, whole, divides)
    if found is not None and (scale.shape[:-1] != found.shape[:-1] or found.shape[-1] % scale.shape[-1]):
        raise refused(f"{scale.name} is {list(scale.shape)}, which fits no groups of {list(found.shape)}")
    return found


def refused(why: str) -> EngineError:
    return EngineError("checkpoint", why)
