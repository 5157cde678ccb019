"""Norms and rotation of a layer's queries, keys and values: one read of what the projections give, one write."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .norms import rounded

HEADS = 8
"""Of a program, which share cosine and sine."""


def turn(
    heads: Tensor,
    split: tuple[int, int],
    query_weight: Tensor,
    key_weight: Tensor,
    rotation: tuple[Tensor, Tensor],
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values `[B, T, …, hd]` of what the projections give, `heads` `[B, T, all, hd]`.

    `split`: how many heads are queries, and how many keys; as many values stand behind those, or none where the keys
    are the values. All are normalised; queries and keys are multiplied by their weights `[hd]` and turned by
    `rotation`, cosine and sine `[1 or B, T, 1, hd]`.
    """
    batch, rows, _, size = heads.shape
    queries, keys = split
    flat = heads.reshape(batch * rows, -1, size)
    cos, sin = (part.expand(batch, -1, -1, -1).reshape(batch * rows, size) for part in rotation)
    out = torch.empty(batch * rows, queries + 2 * keys, size, dtype=heads.dtype, device=heads.device)
    half = triton.next_power_of_2(size // 2)
    _turn[(batch * rows, triton.cdiv(out.shape[1], HEADS))](
        flat,
        query_weight,
        key_weight,
        cos,
        sin,
        out,
        *(flat.stride(0), flat.stride(1), cos.stride(0)),
        *(queries, keys, flat.shape[1], size // 2, eps),
        HEADS=HEADS,
        HALF=half,
        num_warps=4 if half <= 128 else 8,
    )
    query, key, value = out.view(batch, rows, -1, size).split([queries, keys, keys], dim=2)
    return query, key, value


@triton.jit
def _turn(
    heads,
    query_weight,
    key_weight,
    cos,
    sin,
    out,
    row_stride,
    head_stride,
    turn_stride,
    queries,
    keys,
    count,
    half,
    eps,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    # Values that have no heads of their own are the keys before their norm.
    held = tl.where(head < count, head, head - keys)
    pair = tl.arange(0, HALF)
    inside = (head < queries + 2 * keys)[:, None] & (pair < half)[None, :]
    source = heads + row * row_stride + held[:, None] * head_stride + pair[None, :]
    low = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(source + half, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt((tl.sum(low * low, axis=1) + tl.sum(high * high, axis=1)) / (2 * half) + eps)
    low, high = low * scale[:, None], high * scale[:, None]
    # Values have no weight and are not turned.
    turning = (head < queries + keys)[:, None] & (pair < half)[None, :]
    weight = tl.where(head < queries, query_weight, key_weight)[:, None] + pair[None, :]
    low *= tl.load(weight, mask=turning, other=1.0).to(tl.float32)
    high *= tl.load(weight + half, mask=turning, other=1.0).to(tl.float32)
    low, high = rounded(low, out), rounded(high, out)
    # Both halves of a head turn by the same angles.
    at = row * turn_stride + pair
    c = tl.load(cos + at, mask=pair < half, other=0.0).to(tl.float32)[None, :]
    s = tl.load(sin + at, mask=pair < half, other=0.0).to(tl.float32)[None, :]
    turned_low = rounded(low * c, out) - rounded(high * s, out)
    turned_high = rounded(high * c, out) + rounded(low * s, out)
    target = out + (row * (queries + 2 * keys) + head[:, None]) * 2 * half + pair[None, :]
    tl.store(target, tl.where(turning, turned_low, low).to(out.dtype.element_ty), mask=inside)
    tl.store(target + half, tl.where(turning, turned_high, high).to(out.dtype.element_ty), mask=inside)
