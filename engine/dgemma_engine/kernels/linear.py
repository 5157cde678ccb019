"""A product with a weight in 8 bits: it is read as it is stored and widened in registers, once for many rows.

The weight is the left factor of each tile's product, since what was just widened is in registers, and matrix units take
a left factor from there; the rows are the right one, and a tile is as wide as they are many.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .e4m3 import read, readable

ROWS = (16, 32, 64, 128)
"""Of a tile; the least that holds all rows is taken, or the largest."""
COLUMNS, DEPTH = 64, 64
"""Of a tile: outputs, and inputs that are added up at a time."""


def run(x: Tensor, values: Tensor, scales: Tensor) -> Tensor:
    """Rows `[…, in]`, 8-bit `values` `[out, in]`, fp32 `scales` `[out, 1]` → `[…, out]`; see `QuantizedLinear`."""
    columns, depth = values.shape
    flat = x.reshape(-1, depth).contiguous()
    count = len(flat)
    out = torch.empty(count, columns, dtype=x.dtype, device=x.device)
    rows = next((height for height in ROWS if count <= height), ROWS[-1])
    # Tiles of the same weights are neighbours, and find them in the cache.
    _product[(triton.cdiv(count, rows), triton.cdiv(columns, COLUMNS))](
        flat,
        readable(values),
        scales,
        out,
        count,
        columns,
        depth,
        ROWS=rows,
        COLUMNS=COLUMNS,
        DEPTH=DEPTH,
        # The interpreter multiplies bf16 wrongly.
        DOT=tl.float32
        if not x.is_cuda
        else {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}.get(x.dtype, tl.float32),
        num_warps=4,
        # What is read ahead has to fit beside itself: into 99 kB on a GeForce, 64 kB on an AMD.
        num_stages=4 if x.element_size() == 2 and torch.version.hip is None else 2,
    )
    return out.view(*x.shape[:-1], columns)


@triton.jit
def _product(
    source,
    values,
    scales,
    target,
    count,
    columns,
    depth,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    DOT: tl.constexpr,
):
    """`source` `[count, depth]` times the scaled `values` `[columns, depth]`, into `target` `[count, columns]`."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    real, inside = row < count, column < columns
    inputs = tl.arange(0, DEPTH)
    total = tl.zeros((COLUMNS, ROWS), dtype=tl.float32)
    for first in range(0, depth, DEPTH):
        place = first + inputs
        known = place < depth
        weight_at = values + column[:, None] * depth + place[None, :]
        weight = read(weight_at, inside[:, None] & known[None, :]).to(tl.float32)
        x_at = source + row[None, :] * depth + place[:, None]
        x = tl.load(x_at, mask=real[None, :] & known[:, None], other=0.0)
        total = tl.dot(weight.to(DOT), x.to(DOT), total)
    total *= tl.load(scales + column, mask=inside, other=0.0)[:, None]
    out = target + row[None, :] * columns + column[:, None]
    tl.store(out, total.to(target.dtype.element_ty), mask=real[None, :] & inside[:, None])
