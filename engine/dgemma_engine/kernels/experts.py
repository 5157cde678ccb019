"""The experts of a layer as two grouped matrix products: gate, up and GELU in one, down and weighting in the other.

Every expert sees few rows (16 of them at a canvas of 256 and the released shape), so a product is bound by reading the
weights: they are read once, as they are stored, and widened in registers. Tiles are 16 or 32 rows high; the 64 of a
common grouped GEMM would be mostly padding.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..model.experts import Bank
from ..model.quantized import Quantized
from .e4m3 import read, readable
from .gated import gelu
from .grouping import Grouping, group

FORMS = {"plain": 0, "fp8": 1, "int4": 2, "nvfp4": 3}
ROWS = (16, 32)
"""Heights of a tile."""
COLUMNS, DEPTH = 64, 64
"""Of a tile: outputs, and inputs that are added up at a time."""


def run(x: Tensor, weights: Tensor, index: Tensor, gate_up: Bank, down: Bank) -> Tensor:
    """Rows `[N, D]`, their experts' `weights` and `index` `[N, k]` → `[N, D]`; see `model.experts.Experts`."""
    experts, width, hidden = gate_up.shape
    pairs, chosen = index.numel(), index.shape[1]
    height = ROWS[0] if pairs <= ROWS[0] * experts else ROWS[1]
    groups = group(index, experts, height)
    inner = torch.empty(pairs, width // 2, dtype=x.dtype, device=x.device)
    _launch(_up, x, inner, groups, gate_up, width // 2, hidden, height, chosen, None)
    out = torch.empty(pairs, hidden, dtype=x.dtype, device=x.device)
    _launch(_down, inner, out, groups, down, hidden, width // 2, height, chosen, weights.contiguous())
    return out.view(-1, chosen, hidden).sum(dim=1)


def _launch(
    kernel: triton.JITFunction,
    source: Tensor,
    target: Tensor,
    groups: Grouping,
    bank: Bank,
    columns: int,
    depth: int,
    height: int,
    chosen: int,
    weights: Tensor | None,
) -> None:
    parts = bank.parts if isinstance(bank, Quantized) else (bank,)
    form = bank.form if isinstance(bank, Quantized) else "plain"
    values, scales, rows = map(readable, (*parts, *[parts[0]] * (3 - len(parts))))
    grouped = form in ("int4", "nvfp4")
    kernel[(len(groups.expert), triton.cdiv(columns, COLUMNS))](
        source,
        target,
        groups.order,
        groups.expert,
        groups.first,
        groups.last,
        values,
        scales,
        rows,
        source if weights is None else weights,
        bank.shape[0],
        columns,
        depth,
        chosen,
        FORM=FORMS[form],
        GROUP=depth // scales.shape[-1] if grouped else 1,
        HEIGHT=height,
        COLUMNS=COLUMNS,
        DEPTH=DEPTH,
        # The interpreter multiplies bf16 wrongly.
        DOT=tl.float32
        if not source.is_cuda
        else {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}.get(source.dtype, tl.float32),
        # Widening NVFP4 takes twice the registers.
        num_warps=8 if form == "nvfp4" else 4,
    )


@triton.jit
def _weight(
    values, scales, at, inputs, depth, first, inside, FORM: tl.constexpr, GROUP: tl.constexpr, DEPTH: tl.constexpr
):
    """`[COLUMNS, DEPTH]` of a bank's rows `at` `[COLUMNS]`, from input `first` on, without whole rows' scales."""
    mask = inside[:, None] & (first + inputs < depth)[None, :]
    if FORM < 2:
        weight = read(values + at[:, None] * depth + (first + inputs)[None, :], mask)
    else:
        pairs = tl.arange(0, DEPTH // 2) + first // 2
        there = inside[:, None] & (pairs < depth // 2)[None, :]
        packed = tl.load(values + at[:, None] * (depth // 2) + pairs[None, :], mask=there, other=0)
        bits = tl.interleave(packed & 15, packed >> 4).to(tl.int32)
        if FORM == 2:
            wide = (bits - 8).to(tl.float32)
        else:
            exponent, half = (bits >> 1) & 3, 0.5 * (bits & 1).to(tl.float32)
            size = tl.where(exponent == 0, half, (1 + half) * tl.exp2((exponent - 1).to(tl.float32)))
            wide = tl.where(bits >= 8, -size, size)
        group = (first + inputs) // GROUP
        scale = read(scales + at[:, None] * (depth // GROUP) + group[None, :], mask).to(tl.float32)
        weight = wide * scale
    return weight


@triton.jit
def _whole(scales, rows, at, inside, FORM: tl.constexpr):
    """What every output `[COLUMNS]` is scaled by as a whole."""
    whole = scales if FORM == 1 else rows
    return tl.load(whole + at, mask=inside, other=0.0)


@triton.jit
def _up(
    source,
    target,
    order,
    experts,
    firsts,
    lasts,
    values,
    scales,
    rows,
    weights,
    count,
    columns,
    depth,
    chosen,
    FORM: tl.constexpr,
    GROUP: tl.constexpr,
    HEIGHT: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    DOT: tl.constexpr,
):
    """gelu(gate(x)) · up(x) of a tile's pairs, into `target` `[pairs, columns]` in their sorted order."""
    tile = tl.program_id(0)
    expert = tl.load(experts + tile).to(tl.int64)
    if expert >= count:
        return
    pair = tl.load(firsts + tile) + tl.arange(0, HEIGHT)
    real = pair < tl.load(lasts + tile)
    row = tl.load(order + pair, mask=real, other=0).to(tl.int64) // chosen
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < columns
    gate_at = expert * 2 * columns + column
    up_at = gate_at + columns
    inputs = tl.arange(0, DEPTH)
    gate = tl.zeros((HEIGHT, COLUMNS), dtype=tl.float32)
    up = tl.zeros((HEIGHT, COLUMNS), dtype=tl.float32)
    for first in range(0, depth, DEPTH):
        mask = real[:, None] & (first + inputs < depth)[None, :]
        x = tl.load(source + row[:, None] * depth + (first + inputs)[None, :], mask=mask, other=0.0).to(DOT)
        one = _weight(values, scales, gate_at, inputs, depth, first, inside, FORM, GROUP, DEPTH).to(DOT)
        gate = tl.dot(x, tl.trans(one), gate)
        two = _weight(values, scales, up_at, inputs, depth, first, inside, FORM, GROUP, DEPTH).to(DOT)
        up = tl.dot(x, tl.trans(two), up)
    if FORM == 1 or FORM == 3:
        gate *= _whole(scales, rows, gate_at, inside, FORM)[None, :]
        up *= _whole(scales, rows, up_at, inside, FORM)[None, :]
    inner = gelu(gate) * up
    out = target + pair.to(tl.int64)[:, None] * columns + column[None, :]
    tl.store(out, inner.to(target.dtype.element_ty), mask=real[:, None] & inside[None, :])


@triton.jit
def _down(
    source,
    target,
    order,
    experts,
    firsts,
    lasts,
    values,
    scales,
    rows,
    weights,
    count,
    columns,
    depth,
    chosen,
    FORM: tl.constexpr,
    GROUP: tl.constexpr,
    HEIGHT: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    DOT: tl.constexpr,
):
    """down(inner) times the pair's weight, into `target` `[pairs, columns]` in the rows' own order."""
    tile = tl.program_id(0)
    expert = tl.load(experts + tile).to(tl.int64)
    if expert >= count:
        return
    pair = tl.load(firsts + tile) + tl.arange(0, HEIGHT)
    real = pair < tl.load(lasts + tile)
    place = tl.load(order + pair, mask=real, other=0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < columns
    at = expert * columns + column
    inputs = tl.arange(0, DEPTH)
    total = tl.zeros((HEIGHT, COLUMNS), dtype=tl.float32)
    for first in range(0, depth, DEPTH):
        mask = real[:, None] & (first + inputs < depth)[None, :]
        inner = source + pair.to(tl.int64)[:, None] * depth + (first + inputs)[None, :]
        x = tl.load(inner, mask=mask, other=0.0).to(DOT)
        one = _weight(values, scales, at, inputs, depth, first, inside, FORM, GROUP, DEPTH).to(DOT)
        total = tl.dot(x, tl.trans(one), total)
    if FORM == 1 or FORM == 3:
        total *= _whole(scales, rows, at, inside, FORM)[None, :]
    total *= tl.load(weights + place, mask=real, other=0.0).to(tl.float32)[:, None]
    out = target + place[:, None] * columns + column[None, :]
    tl.store(out, total.to(target.dtype.element_ty), mask=real[:, None] & inside[None, :])
