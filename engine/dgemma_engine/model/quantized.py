"""Matrices that stay quantised in memory: banks of experts, and linear layers in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import packing

Form = Literal["plain", "fp8", "int8", "int4", "nvfp4"]
"""How a matrix is held: `plain` is floating point, the others are those of `packing`. Of experts none is `int8`."""
DenseForm = Literal["plain", "fp8", "int8"]
"""Of linear layers that every row goes through."""

LinearKernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Rows `[…, in]`, e4m3 or int8 weights `[out, in]` and their scales `[out, 1]`, to their product `[…, out]`."""


class Quantized(nn.Module):
    """Matrices `[E, out, in]` in fewer bits; `part_names` are its buffers, each `[E, out, …]`."""

    form: Form
    part_names: tuple[str, ...]

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, parts: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.dtype = dtype
        for name, part in zip(self.part_names, parts, strict=True):
            self.register_buffer(name, part)

    @property
    def parts(self) -> tuple[Tensor, ...]:
        return tuple(self.get_buffer(name) for name in self.part_names)

    def put(self, expert: int, first: int, parts: tuple[Tensor, ...]) -> None:
        """Write the rows from `first` on of one matrix, quantised as this bank is."""
        for bank, part in zip(self.parts, parts, strict=True):
            bank[expert, first : first + part.shape[0]].copy_(part)

    def __getitem__(self, expert: int) -> Tensor:
        """One matrix `[out, in]` in the model's dtype."""
        raise NotImplementedError


class Int4(Quantized):
    form = "int4"
    part_names = ("packed", "scales")

    def __getitem__(self, expert: int) -> Tensor:
        packed, scales = self.parts
        return packing.dequantize_int4(packed[expert], scales[expert], self.dtype)


class Fp8(Quantized):
    form = "fp8"
    part_names = ("values", "scales")

    def __getitem__(self, expert: int) -> Tensor:
        values, scales = self.parts
        return packing.dequantize_rows(values[expert], scales[expert], self.dtype)


class NvFp4(Quantized):
    form = "nvfp4"
    part_names = ("packed", "scales", "rows")

    def __getitem__(self, expert: int) -> Tensor:
        packed, scales, rows = self.parts
        return packing.dequantize_nvfp4(packed[expert], scales[expert], rows[expert], self.dtype)


class QuantizedLinear(nn.Module):
    """A linear layer without a bias whose weight `[out, in]` stays in 8 bits; what it multiplies does not.

    Buffers: `values` `[out, in]` e4m3 or int8, `scales` `[out, 1]` fp32, of which each row has one.
    """

    values: Tensor
    scales: Tensor

    def __init__(self, values: Tensor, scales: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.out_features, self.in_features = values.shape
        self.dtype = dtype
        """Of the rows and of the low-rank changes beside the weight."""
        self.kernel: LinearKernel | None = None
        """A product that reads the weight as it is, where there is one for the device."""
        self.register_buffer("values", values)
        self.register_buffer("scales", scales)

    @property
    def wide(self) -> Tensor:
        """The weight `[out, in]` in the model's dtype."""
        return packing.dequantize_rows(self.values, self.scales, self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Rows `[…, in]` → `[…, out]`."""
        return F.linear(x, self.wide) if self.kernel is None else self.kernel(x, self.values, self.scales)


def empty_bank(
    form: Form, shape: tuple[int, int, int], group: int, dtype: torch.dtype, device: torch.device | str
) -> Quantized:
    """A bank of `form` to be filled by `put`; `group` is the number of values a scale, where the form has groups."""
    count, rows, width = shape

    def new(last: int, kind: torch.dtype) -> Tensor:
        return torch.empty(count, rows, last, dtype=kind, device=device)

    if form == "int4":
        return Int4(shape, dtype, (new(width // 2, torch.uint8), new(width // group, torch.bfloat16)))
    if form == "fp8":
        return Fp8(shape, dtype, (new(width, torch.float8_e4m3fn), new(1, torch.float32)))
    assert form == "nvfp4"
    scales = new(width // group, torch.float8_e4m3fn)
    return NvFp4(shape, dtype, (new(width // 2, torch.uint8), scales, new(1, torch.float32)))


QUANTIZE: dict[Form, Callable[[Tensor], tuple[Tensor, ...]]] = {
    "int4": packing.quantize_int4,
    "int8": packing.quantize_int8,
    "fp8": packing.quantize_fp8,
}


def quantize(weight: Tensor, form: Form) -> tuple[Tensor, ...]:
    """`weight` `[out, in]` as the parts of a bank or of a linear layer of `form`, which is neither plain nor NVFP4."""
    return QUANTIZE[form](weight)
