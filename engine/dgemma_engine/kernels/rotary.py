"""Norms and rotation of queries, keys and values, one read and one write each."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def turn(
    x: Tensor, weight: Tensor | None, rotation: tuple[Tensor, Tensor] | None, eps: float, out: Tensor | None = None
) -> Tensor:
    """Heads `[N, heads, head_dim]`, normalised, times `weight` `[head_dim]`, turned by cosine and sine `[N, head_dim]`.

    Without a weight or a rotation (values have neither) that step is left out. `out` may be any view of that shape,
    such as the rows of a cache; by default new memory.
    """
    rows, heads, size = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device) if out is None else out
    cos, sin = rotation or (x, x)
    _turn[(rows, heads)](
        x,
        x if weight is None else weight,
        cos,
        sin,
        out,
        *(x.stride(0), x.stride(1), cos.stride(0), out.stride(0), out.stride(1)),
        eps,
        SIZE=size,
        WEIGHTED=weight is not None,
        TURNED=rotation is not None,
    )
    return out


@triton.jit
def _turn(
    x,
    weight,
    cos,
    sin,
    out,
    x_row,
    x_head,
    turn_row,
    out_row,
    out_head,
    eps,
    SIZE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    TURNED: tl.constexpr,
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    half: tl.constexpr = SIZE // 2
    pair = tl.arange(0, half)
    source = x + row * x_row + head * x_head
    low, high = tl.load(source + pair).to(tl.float32), tl.load(source + half + pair).to(tl.float32)
    scale = tl.rsqrt((tl.sum(low * low) + tl.sum(high * high)) / SIZE + eps)
    low, high = low * scale, high * scale
    if WEIGHTED:
        low *= tl.load(weight + pair).to(tl.float32)
        high *= tl.load(weight + half + pair).to(tl.float32)
    low, high = low.to(x.dtype.element_ty).to(tl.float32), high.to(x.dtype.element_ty).to(tl.float32)
    if TURNED:
        # Both halves of a row turn by the same angles.
        c, s = tl.load(cos + row * turn_row + pair).to(tl.float32), tl.load(sin + row * turn_row + pair).to(tl.float32)
        low, high = low * c - high * s, high * c + low * s
    target = out + row * out_row + head * out_head
    tl.store(target + pair, low.to(out.dtype.element_ty))
    tl.store(target + half + pair, high.to(out.dtype.element_ty))
