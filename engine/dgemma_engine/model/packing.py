"""Weights in fewer bits: int4 in groups, int8 and fp8 by the row, and NVFP4, to and from floating point.

Two 4-bit values share a byte, the first one in the lower half. That is how compressed-tensors and modelopt store them
too (an int32 of the former is eight such values on a little-endian machine), so stored bytes are used as they are.
All functions take any leading dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GROUP = 64
"""Values that share a scale in what is quantised here."""
INT4_ZERO = 8
INT8_LARGEST = 127.0
FP8_LARGEST = 448.0
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The magnitudes of a 4-bit float; the fourth bit is the sign. Source: OCP Microscaling Formats, FP4."""
SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Shares of the widest scale that are tried for every group: cutting off its largest value may cost less than
spreading the steps over it."""


def group_size(width: int) -> int:
    """The number of values a scale that fits rows of `width`."""
    return math.gcd(GROUP, width)


def pack_nibbles(values: Tensor) -> Tensor:
    """0 to 15, uint8 `[..., n]` → `[..., n / 2]`."""
    low, high = values[..., 0::2], values[..., 1::2]
    return low | (high << 4)


def unpack_nibbles(packed: Tensor) -> Tensor:
    """uint8 `[..., n]` → `[..., 2·n]`."""
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def quantize_int4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`[..., out, in]` → packed uint8 `[..., out, in / 2]`, scales bf16 `[..., out, in / group]`; symmetric.

    Of a few scales that of the smallest squared error is taken, group by group.
    """
    grouped = weight.float().unflatten(-1, (-1, group_size(weight.shape[-1])))
    widest = grouped.abs().amax(dim=-1, keepdim=True) / 7.5
    best = steps = scales = None
    for shrink in SHRINKS:
        scale = (widest * shrink).to(torch.bfloat16).float()
        rounded = (grouped / scale.where(scale > 0, 1.0)).round_().clamp_(-8, 7)
        error = torch.sub(rounded * scale, grouped).square_().sum(dim=-1, keepdim=True)
        if best is None or steps is None or scales is None:
            best, steps, scales = error, rounded, scale
        else:
            better = error < best
            best = torch.where(better, error, best)
            steps, scales = torch.where(better, rounded, steps), torch.where(better, scale, scales)
    assert steps is not None
    assert scales is not None
    packed = pack_nibbles((steps.flatten(-2) + INT4_ZERO).to(torch.uint8))
    return packed, scales.squeeze(-1).to(torch.bfloat16)


def dequantize_int4(packed: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `quantize_int4`; any group that divides the row."""
    steps = unpack_nibbles(packed).to(torch.float32) - INT4_ZERO
    return _scaled(steps, scales).to(dtype)


def quantize_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`[..., out, in]` → e4m3 of the same shape, scales fp32 `[..., out, 1]` that bf16 can hold."""
    scaled, scales = _by_the_row(weight, FP8_LARGEST)
    return scaled.to(torch.float8_e4m3fn), scales


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`[..., out, in]` → int8 of the same shape, scales fp32 `[..., out, 1]` that bf16 can hold; symmetric."""
    scaled, scales = _by_the_row(weight, INT8_LARGEST)
    return scaled.round_().to(torch.int8), scales


def dequantize_rows(values: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `quantize_fp8` and of `quantize_int8`."""
    return (values.float() * scales).to(dtype)


def dequantize_nvfp4(packed: Tensor, scales: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Packed E2M1 `[..., out, in / 2]`, scales e4m3 `[..., out, in / 16]`, `rows` fp32 `[..., out, 1]`."""
    magnitudes = torch.tensor((*E2M1, *(-value for value in E2M1)), device=packed.device)
    return _scaled(magnitudes[unpack_nibbles(packed).long()], scales.float() * rows).to(dtype)


def _by_the_row(weight: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """fp32 between ± `largest` `[..., out, in]`, and what a row is to be multiplied by `[..., out, 1]`."""
    weight = weight.float()
    scales = (weight.abs().amax(dim=-1, keepdim=True) / largest).to(torch.bfloat16).float()
    scales = scales.where(scales > 0, 1.0)
    return (weight / scales).clamp_(-largest, largest), scales


def _scaled(values: Tensor, scales: Tensor) -> Tensor:
    """`values` `[..., n]`, every run of n / g of them times one of `scales` `[..., g]`."""
    grouped = values.unflatten(-1, (scales.shape[-1], -1))
    return (grouped * scales.float().unsqueeze(-1)).flatten(-2)
