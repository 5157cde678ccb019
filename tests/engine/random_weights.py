"""Random weights under which a wrong sign, scale, mask or scalar anywhere shows in the logits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

SCORE_SPREAD = 3.0
"""Standard deviation of attention scores: selective, but no amplifier of rounding as unit norms would be."""


@torch.no_grad()
def randomise(named: Iterable[tuple[str, Tensor]], seed: int) -> None:
    """Fill tensors in place, by name: logits and routing peaked, every norm and scalar different from one.

    Names are those of a state dict, ours or transformers'. A tied tensor met twice keeps its last values.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in named:
        values = torch.randn(tensor.shape, generator=generator)
        if name.endswith("_scalar"):
            values = 0.9 + 0.2 * values.clamp(-1, 1)
        elif "q_norm" in name or "k_norm" in name:
            values = (1 + 0.2 * values.clamp(-2, 2)) * SCORE_SPREAD**0.5 / tensor.shape[-1] ** 0.25
        elif "post_attention" in name or name.endswith("post_feedforward_layernorm.weight"):
            values = 0.3 + 0.1 * values.clamp(-2, 2)
        elif tensor.dim() == 1:
            values = 1 + 0.2 * values.clamp(-2, 2)
        elif "embed_tokens" in name or "lm_head" in name:
            values *= 3 / tensor.shape[-1] ** 0.5
        elif "router" in name:
            values *= 1.5
        else:
            values /= tensor.shape[-1] ** 0.5
        tensor.copy_(values)
