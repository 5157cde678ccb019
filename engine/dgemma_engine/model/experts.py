"""The feed-forward half of a layer: the dense MLP, the router, and the experts beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .joined import Joined
from .quantized import Quantized

Bank = nn.Parameter | Tensor | Quantized
Kernel = Callable[[Tensor, Tensor, Tensor, Bank, Bank], Tensor]
"""Rows, their experts' weights and index, and the two banks, to what the experts make of the rows."""


def gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def gated(gate: Tensor, up: Tensor) -> Tensor:
    return gelu(gate) * up


@cache
def _has_grouped(device: str, dtype: torch.dtype) -> bool:
    """Whether torch has a grouped GEMM; on a CPU that is a loop too, but not one in Python, and twice as fast."""
    if not hasattr(torch, "_grouped_mm") or device not in ("cpu", "cuda"):
        return False
    if device == "cuda":
        return dtype == torch.bfloat16
    # Which releases have it for a CPU, and for which dtypes, is written nowhere.
    try:
        ends = torch.tensor([8], dtype=torch.int32)
        ones = torch.ones(8, 8, dtype=dtype)
        torch._grouped_mm(ones, ones[None], offs=ends)  # pyright: ignore[reportPrivateImportUsage]
    except (RuntimeError, NotImplementedError):
        return False
    return True


class MLP(Joined):
    """down(gelu(gate(x)) · up(x)), `[…, hidden]`, `size` wide in between."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(hidden, size, bias=False), nn.Linear(hidden, size, bias=False)
        self.down_proj = nn.Linear(size, hidden, bias=False)
        self.gated = gated
        """`gated`, or a kernel that does the same."""

    @property
    def parts(self) -> tuple[nn.Linear, nn.Linear]:
        return self.gate_proj, self.up_proj

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.gated(*self.projections(x)))


class Router(nn.Module):
    """Chooses `experts_per_token` experts for each row, by the residual's norm without a weight."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.chosen = config.experts_per_token
        self.root_size = config.hidden_size**-0.5
        self.scale = nn.Parameter(torch.ones(config.hidden_size))
        self.proj = nn.Linear(config.hidden_size, config.experts, bias=False)
        self.per_expert_scale = nn.Parameter(torch.ones(config.experts))

    def scaled(self, normed: Tensor) -> Tensor:
        """What it reads of rows that are normalised."""
        return normed * self.scale * self.root_size

    def forward(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, D]` → weights `[N, k]` in fp32 and expert indices `[N, k]`."""
        weights, index = torch.topk(F.softmax(self.proj(scaled), dim=-1, dtype=torch.float32), self.chosen, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return weights * self.per_expert_scale[index], index


class Experts(nn.Module):
    """Gated MLPs whose weights are fused into two 3-D banks, gate and up in one.

    `gate_up_proj` `[E, 2·size, D]`, `down_proj` `[E, D, size]`: parameters, or quantised.
    """

    gate_up_proj: nn.Parameter | Quantized
    down_proj: nn.Parameter | Quantized

    # With this few experts a token, one wide matmul over all of them beats gathering rows expert by expert.
    DENSE_RATIO = 4

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = config.experts <= self.DENSE_RATIO * config.experts_per_token
        self.kernel: Kernel | None = None
        """A grouped product that reads the banks as they are stored, where there is one for the device."""
        self.gated = gated
        shape = (config.experts, 2 * config.expert_size, config.hidden_size)
        self.gate_up_proj = nn.Parameter(torch.empty(shape))
        self.down_proj = nn.Parameter(torch.empty(config.experts, config.hidden_size, config.expert_size))

    def forward(self, x: Tensor, weights: Tensor, index: Tensor) -> Tensor:
        """Rows `[N, D]`, their experts' `weights` and `index` `[N, k]` → `[N, D]`."""
        up, down = self.gate_up_proj, self.down_proj
        if self.kernel is not None:
            return self.kernel(x, weights, index, up, down)
        if isinstance(up, Quantized) or isinstance(down, Quantized):
            return self.each(x, weights, index)
        if self.dense:
            return self._all(x, weights, index)
        if _has_grouped(x.device.type, x.dtype) and up.shape[1] % 16 == 0 and up.shape[2] % 8 == 0:
            return self._grouped(x, weights, index)
        return self.each(x, weights, index)

    def _all(self, x: Tensor, weights: Tensor, index: Tensor) -> Tensor:
        """Every expert for every row, the unchosen ones weighted zero: a plain MLP of width E·size."""
        gate_up_proj, down_proj = self._plain()
        count, width, hidden = gate_up_proj.shape
        spread = torch.zeros(x.shape[0], count, dtype=weights.dtype, device=x.device)
        spread = spread.scatter(1, index, weights).to(x.dtype)
        gate, up = F.linear(x, gate_up_proj.view(-1, hidden)).view(-1, count, width).chunk(2, dim=-1)
        inner = gelu(gate) * up * spread[..., None]
        down = down_proj.transpose(1, 2).reshape(-1, hidden)
        return inner.reshape(x.shape[0], -1) @ down

    def each(self, x: Tensor, weights: Tensor, index: Tensor) -> Tensor:
        """Expert by expert over the rows that chose it: for quantised banks, and without a grouped GEMM."""
        out = torch.zeros_like(x)
        for expert in index.unique().tolist():
            rows, slot = torch.where(index == expert)
            gate, up = F.linear(x[rows], self.gate_up_proj[expert]).chunk(2, dim=-1)
            inner = F.linear(gelu(gate) * up, self.down_proj[expert])
            out.index_add_(0, rows, (inner * weights[rows, slot, None]).to(x.dtype))
        return out

    def _grouped(self, x: Tensor, weights: Tensor, index: Tensor) -> Tensor:
        """Rows sorted by expert, one grouped GEMM up and one down, no host sync."""
        gate_up_proj, down_proj = self._plain()
        rows, chosen = index.shape
        order = index.flatten().argsort()
        counts = F.one_hot(index.flatten(), gate_up_proj.shape[0]).sum(dim=0)
        ends = counts.cumsum(0).to(torch.int32)
        multiply = torch._grouped_mm  # pyright: ignore[reportPrivateImportUsage] - no public name in torch 2.11
        gate, up = multiply(x[order // chosen], gate_up_proj.transpose(1, 2), offs=ends).chunk(2, dim=-1)
        inner = multiply(self.gated(gate, up), down_proj.transpose(1, 2), offs=ends)
        inner = (inner * weights.flatten()[order, None]).to(x.dtype)
        back = torch.empty_like(order)
        back[order] = torch.arange(order.numel(), device=x.device)
        return inner[back].view(rows, chosen, -1).sum(dim=1)

    def _plain(self) -> tuple[Tensor, Tensor]:
        """The banks, which are not quantised."""
        up, down = self.gate_up_proj, self.down_proj
        assert not isinstance(up, Quantized)
        assert not isinstance(down, Quantized)
        return up, down
