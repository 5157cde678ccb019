"""Attention for heads of up to 512, which the fused kernels that torch brings refuse.

A canvas' rows see the whole prefix from `start` on and the whole canvas: there is no mask. The query heads of a group
share their keys, so they are one block of rows: keys and values are read once for all of them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

KEYS = 32
"""Of a step."""


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`query` `[T, heads, hd]`, `keys` and `values` `[kv_heads, S, hd]` → `[T, heads, hd]`; scores are not scaled."""
    rows, heads, size = query.shape
    kv_heads, length, _ = keys.shape
    group = heads // kv_heads
    out = torch.empty_like(query)
    height = 32 if size > 256 else 64
    grid = (triton.cdiv(rows * group, height), kv_heads)
    _attend[grid](
        query,
        keys,
        values,
        out,
        *(query.stride(0), query.stride(1), keys.stride(0), keys.stride(1), values.stride(0), values.stride(1)),
        *(out.stride(0), out.stride(1), rows, length),
        GROUP=group,
        SIZE=size,
        HEIGHT=height,
        KEYS=KEYS,
        DOT=tl.float32 if not query.is_cuda else tl.bfloat16,
        num_warps=8 if size > 256 else 4,
    )
    return out


@triton.jit
def _attend(
    query,
    keys,
    values,
    out,
    query_row,
    query_head,
    key_head,
    key_row,
    value_head,
    value_row,
    out_row,
    out_head,
    rows,
    length,
    GROUP: tl.constexpr,
    SIZE: tl.constexpr,
    HEIGHT: tl.constexpr,
    KEYS: tl.constexpr,
    DOT: tl.constexpr,
):
    head = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    real = place < rows * GROUP
    row, member = (place // GROUP).to(tl.int64), head * GROUP + place % GROUP
    column = tl.arange(0, SIZE)
    at = row * query_row + member * query_head
    asked = tl.load(query + at[:, None] + column[None, :], mask=real[:, None], other=0.0).to(DOT)
    top = tl.full((HEIGHT,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((HEIGHT,), dtype=tl.float32)
    gathered = tl.zeros((HEIGHT, SIZE), dtype=tl.float32)
    for first in range(0, length, KEYS):
        key = (first + tl.arange(0, KEYS)).to(tl.int64)
        there = key < length
        spot = keys + head * key_head + key[:, None] * key_row + column[None, :]
        seen = tl.load(spot, mask=there[:, None], other=0.0).to(DOT)
        score = tl.dot(asked, tl.trans(seen))
        score = tl.where(there[None, :], score, -float("inf"))
        higher = tl.maximum(top, tl.max(score, axis=1))
        share = tl.exp(score - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(share, axis=1)
        spot = values + head * value_head + key[:, None] * value_row + column[None, :]
        held = tl.load(spot, mask=there[:, None], other=0.0).to(DOT)
        gathered = gathered * shrink[:, None] + tl.dot(share.to(DOT), held)
        top = higher
    gathered /= total[:, None]
    at = row * out_row + member * out_head
    tl.store(out + at[:, None] + column[None, :], gathered.to(out.dtype.element_ty), mask=real[:, None])
