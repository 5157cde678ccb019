"""Rotary positions and grouped-query attention, both layer kinds.

Source: transformers `DiffusionGemma{Encoder,Decoder}TextAttention`. Scores are not scaled (q_norm and k_norm stand
in), V is normalised without a weight, and in full layers V is the raw key projection.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import LayerShape, ModelConfig, Rope
from .joined import Joined

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""What query rows `[B, T, heads, head_dim]` gather, in their shape; key and value rows are those of the same tokens,
`[B, T, kv_heads, head_dim]`, and it is up to the function which others there are and who may see whom."""

Turn = Callable[..., tuple[Tensor, Tensor, Tensor]]
"""A kernel in the place of `Attention.turned`; `kernels.rotary` says what it takes."""

PLAIN_SCORES = 1 << 18
"""Scores of a head up to which a CPU does better to write them down in bf16: half the time of torch's fused kernel.

nano was trained so; random networks come out as near to fp32 as with that kernel.
"""


def inverse_frequencies(rope: Rope, head_dim: int) -> Tensor:
    """`[head_dim / 2]` in fp32; the denominator stays `head_dim` when only a part of the pairs turns."""
    turning = int(rope.partial * head_dim // 2)
    exponents = torch.arange(0, 2 * turning, 2, dtype=torch.float32) / head_dim
    still = torch.zeros(head_dim // 2 - turning)
    return torch.cat([1.0 / rope.theta**exponents, still])


def rotation(frequencies: Tensor, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine `[B, T, 1, head_dim]` for `positions` `[B, T]`; angles in fp32, results in `dtype`."""
    angles = positions[..., None].float() * frequencies
    angles = torch.cat([angles, angles], dim=-1).unsqueeze(2)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (i, i + head_dim/2) of `x` `[B, T, heads, head_dim]`."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


Gather = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""`gather`, or a kernel in its place."""

GATHERS: dict[tuple[torch.device, torch.dtype, int], Gather] = {}
"""Kernels that gather in torch's place, by device, dtype and head size for which they were proved in this process.

They hold no weights, so they belong to no model.
"""

FUSED = 256
"""The largest head that torch's flash kernel takes on a GPU; its other fused kernel takes more, and is slower."""


def kernel_for(device: torch.device, dtype: torch.dtype, head_dim: int) -> Gather | None:
    """What gathers in the place of torch, where that has no fast kernel for such heads."""
    return GATHERS.get((device, dtype, head_dim)) if head_dim > FUSED else None


def gather(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of `query` `[B, T, heads, hd]` to `keys`, `values` `[B, kv_heads, S, hd]`, in the query's shape.

    `mask` `[T, S]`, or `[B, 1, S]` for all rows of a member alike, is added to the scores; None lets everybody see
    everything.
    """
    kernel = kernel_for(query.device, query.dtype, query.shape[-1])
    return (kernel or plain_gather)(query, keys, values, mask)


def plain_gather(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """`gather` by torch."""
    batch, rows, heads, head_dim = query.shape
    kv_heads = keys.shape[1]
    # The heads of a group share K and V: folding them into the rows saves expanding the cache.
    groups = heads // kv_heads
    query = query.transpose(1, 2).reshape(batch, kv_heads, groups * rows, head_dim)
    if mask is not None:
        if mask.dim() == 2:
            mask = mask.repeat(groups, 1)
        else:
            mask = (mask if mask.shape[1] == 1 else mask.repeat(1, groups, 1)).unsqueeze(1)
    if query.is_cpu and query.dtype == torch.bfloat16 and rows * keys.shape[2] <= PLAIN_SCORES:
        scores = query @ keys.mT
        out = (scores if mask is None else scores.add_(mask)).softmax(-1) @ values
    else:
        out = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=1.0)
    return out.reshape(batch, heads, rows, head_dim).transpose(1, 2)


class RMSNorm(nn.Module):
    """x / rms(x) × weight, in fp32; without a weight when `scaled` is False."""

    def __init__(self, size: int, eps: float, scaled: bool = True) -> None:
        super().__init__()
        self.size = (size,)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size)) if scaled else None
        self.kernel: Callable[[Tensor, Tensor | None, float], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel is not None:
            return self.kernel(x, self.weight, self.eps)
        return self.weighted(self.bare(x), x.dtype)

    def bare(self, x: Tensor) -> Tensor:
        """x / rms(x) in fp32, which norms of the same rows have in common."""
        return F.rms_norm(x.float(), self.size, None, self.eps)

    def weighted(self, bare: Tensor, dtype: torch.dtype) -> Tensor:
        """The norm in `dtype` of rows that are `bare` already."""
        return (bare if self.weight is None else bare * self.weight.float()).to(dtype)


class Attention(Joined):
    """Projections, norms and rotation around the attention that the caller brings."""

    def __init__(self, config: ModelConfig, shape: LayerShape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, shape.kv_heads, shape.head_dim
        hidden, q_size, kv_size = (
            config.hidden_size,
            config.heads * shape.head_dim,
            shape.kv_heads * shape.head_dim,
        )
        self.q_proj = nn.Linear(hidden, q_size, bias=False)
        self.k_proj = nn.Linear(hidden, kv_size, bias=False)
        self.v_proj = nn.Linear(hidden, kv_size, bias=False) if shape.value_proj else None
        self.o_proj = nn.Linear(q_size, hidden, bias=False)
        self.q_norm = RMSNorm(shape.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(shape.head_dim, config.norm_eps)
        self.v_norm = RMSNorm(shape.head_dim, config.norm_eps, scaled=False)
        self.kernel: Turn | None = None

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Rows `[B, T, D]`, turned by `turn`, to what they gather, `[B, T, D]`."""
        batch, rows, _ = x.shape
        heads = self.projected(x).view(batch, rows, -1, self.head_dim)
        if self.kernel is None:
            query, key, value = self.turned(heads, turn)
        else:
            weights = self.q_norm.weight, self.k_norm.weight
            query, key, value = self.kernel(heads, (self.heads, self.kv_heads), *weights, turn, self.q_norm.eps)
        return self.o_proj(attend(query, key, value).reshape(batch, rows, -1))

    def turned(self, heads: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """What the projections give `[B, T, all heads, hd]` as queries, keys and values, normalised and turned."""
        # One norm and one rotation over all heads: as with the projections, it is the calls that take time.
        if self.v_proj is None:
            heads = torch.cat([heads, heads[:, :, self.heads :]], dim=2)
        turning, value = self.v_norm.bare(heads).split([self.heads + self.kv_heads, self.kv_heads], dim=2)
        turned = rotate((turning * self._head_weights()).to(heads.dtype), *turn)
        query, key = turned.split([self.heads, self.kv_heads], dim=2)
        return query, key, value.to(heads.dtype)

    @property
    def parts(self) -> list[nn.Linear]:
        return [part for part in (self.q_proj, self.k_proj, self.v_proj) if part is not None]

    def _head_weights(self) -> Tensor:
        """Of the norms of queries and keys, `[heads + kv_heads, head_dim]`."""
        query, key = self.q_norm.weight, self.k_norm.weight
        assert query is not None
        assert key is not None
        return torch.cat([query.expand(self.heads, -1), key.expand(self.kv_heads, -1)]).float()
