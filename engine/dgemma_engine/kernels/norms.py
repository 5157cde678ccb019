"""What stands between the matrix products of a layer: norms and sums, each row read once.

Three norms of the same rows feed the dense MLP, the router and the experts; three more and two sums close the layer. In
plain torch that is forty small kernels.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """`x` `[…, D]` over its root mean square, times `weight` `[D]` where there is one."""
    x, size = x.contiguous(), x.shape[-1]
    out = torch.empty_like(x)
    scaled = weight is not None
    _norm[(x.numel() // size,)](x, weight if scaled else x, out, size, eps, SCALED=scaled, **_block(size))
    return out


def fan_out(
    x: Tensor,
    attended: Tensor,
    after: Tensor,
    dense: Tensor,
    experts: Tensor,
    router: Tensor,
    root: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`x` `[…, D]` plus the norm `after` of `attended` `[…, D]`, and of that the inputs of dense MLP, experts, router.

    `after`, `dense`, `experts` `[D]` are norms' weights; `router` `[D]` and then `root` scale the router's bare norm.
    """
    x, attended = x.contiguous(), attended.contiguous()
    out = [torch.empty_like(x) for _ in range(4)]
    size = x.shape[-1]
    _fan_out[(x.numel() // size,)](x, attended, after, dense, experts, router, *out, size, root, eps, **_block(size))
    return out[0], out[1], out[2], out[3]


def close(
    x: Tensor,
    dense: Tensor,
    routed: Tensor,
    after_dense: Tensor,
    after_experts: Tensor,
    after: Tensor,
    scalars: tuple[Tensor, Tensor],
    encoded: int,
    eps: float,
) -> Tensor:
    """(x + after(after_dense(dense) + after_experts(routed))) · scalar, all `[…, D]`.

    The first `encoded` rows of all take the first of `scalars` `[1]`, the others the second.
    """
    x, dense, routed = x.contiguous(), dense.contiguous(), routed.contiguous()
    out = torch.empty_like(x)
    size, weights = x.shape[-1], (after_dense, after_experts, after)
    _close[(x.numel() // size,)](x, dense, routed, *weights, *scalars, out, encoded, size, eps, **_block(size))
    return out


def _block(size: int) -> dict[str, int]:
    """How a row of `size` is cut for a program."""
    width = triton.next_power_of_2(size)
    return {"SIZE": width, "num_warps": min(max(width // 512, 1), 8)}


@triton.jit
def _normed(x, size, eps):
    """x / rms(x), fp32; rows behind `size` are zero."""
    return x * tl.rsqrt(tl.sum(x * x) / size + eps)


@triton.jit
def rounded(x, like):
    """As a kernel of its own would have left it in memory."""
    return x.to(like.dtype.element_ty).to(tl.float32)


@triton.jit
def _norm(x, weight, out, size, eps, SIZE: tl.constexpr, SCALED: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    inside = column < size
    at = row * size + column
    normed = _normed(tl.load(x + at, mask=inside, other=0.0).to(tl.float32), size, eps)
    if SCALED:
        normed *= tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, normed.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _fan_out(
    x,
    attended,
    after,
    dense,
    experts,
    router,
    total_out,
    dense_out,
    experts_out,
    router_out,
    size,
    root,
    eps,
    SIZE: tl.constexpr,
):
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    inside = column < size
    at = row * size + column
    gathered = _normed(tl.load(attended + at, mask=inside, other=0.0).to(tl.float32), size, eps)
    gathered = rounded(gathered * tl.load(after + column, mask=inside, other=0.0).to(tl.float32), x)
    total = rounded(tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + gathered, x)
    tl.store(total_out + at, total.to(x.dtype.element_ty), mask=inside)
    normed = _normed(total, size, eps)
    for_dense = normed * tl.load(dense + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(dense_out + at, for_dense.to(x.dtype.element_ty), mask=inside)
    for_experts = normed * tl.load(experts + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(experts_out + at, for_experts.to(x.dtype.element_ty), mask=inside)
    for_router = rounded(normed, x) * tl.load(router + column, mask=inside, other=0.0).to(tl.float32)
    for_router = rounded(for_router, x) * root
    tl.store(router_out + at, for_router.to(x.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["encoded"])
def _close(
    x,
    dense,
    routed,
    after_dense,
    after_experts,
    after,
    encoder_scalar,
    decoder_scalar,
    out,
    encoded,
    size,
    eps,
    SIZE: tl.constexpr,
):
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    inside = column < size
    at = row * size + column
    one = _normed(tl.load(dense + at, mask=inside, other=0.0).to(tl.float32), size, eps)
    one = rounded(one * tl.load(after_dense + column, mask=inside, other=0.0).to(tl.float32), x)
    two = _normed(tl.load(routed + at, mask=inside, other=0.0).to(tl.float32), size, eps)
    two = rounded(two * tl.load(after_experts + column, mask=inside, other=0.0).to(tl.float32), x)
    both = _normed(rounded(one + two, x), size, eps)
    both = rounded(both * tl.load(after + column, mask=inside, other=0.0).to(tl.float32), x)
    total = rounded(tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + both, x)
    scalar = tl.where(row < encoded, tl.load(encoder_scalar).to(tl.float32), tl.load(decoder_scalar).to(tl.float32))
    tl.store(out + at, (total * scalar).to(x.dtype.element_ty), mask=inside)
