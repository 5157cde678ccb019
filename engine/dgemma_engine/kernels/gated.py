"""gelu(gate) · up of a gated MLP, one read and one write."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .norms import rounded

BLOCK = 1024


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """`gate` and `up` `[…, size]`, such as the halves of one product's rows → `[…, size]`."""
    size = gate.shape[-1]
    gates, ups = gate.reshape(-1, size), up.reshape(-1, size)
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    block = min(BLOCK, triton.next_power_of_2(size))
    grid = (len(gates), triton.cdiv(size, block))
    _gated[grid](gates, ups, out, gates.stride(0), ups.stride(0), size, BLOCK=block)
    return out


@triton.jit
def gelu(x):
    """By tanh, and that by an exponential: the interpreter has no tanh, and neither has every GPU's library."""
    z = tl.minimum(0.7978845608028654 * (x + 0.044715 * x * x * x), 15.0)
    return 0.5 * x * (2 - 2 / (1 + tl.exp(2 * z)))


@triton.jit
def _gated(gate, up, out, gate_row, up_row, size, BLOCK: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < size
    gates = tl.load(gate + row * gate_row + column, mask=inside, other=0.0).to(tl.float32)
    ups = tl.load(up + row * up_row + column, mask=inside, other=0.0).to(tl.float32)
    inner = rounded(gelu(gates), out) * ups
    tl.store(out + row * size + column, inner.to(out.dtype.element_ty), mask=inside)
