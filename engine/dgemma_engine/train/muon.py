"""Muon for matrices, AdamW for the rest: more learnt per token than AdamW alone, which is what a CPU lacks.

Source: Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


def orthogonalise(update: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices to `update` `[..., M, N]`, by a quintic Newton-Schulz iteration."""
    # bf16 is enough: the singular values need only end near 1.
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(update.dtype)


def orthogonalise_together(updates: Tensor) -> Tensor:
    """`orthogonalise` of `updates` `[N, …]` that all workers of a run have: each does a part of them."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return orthogonalise(updates)
    share = -(-len(updates) // dist.get_world_size())
    mine = updates.new_zeros(share, *updates.shape[1:], dtype=torch.bfloat16)
    part = updates[dist.get_rank() * share :][:share]
    # The iteration ends in bf16: nothing is lost on the way.
    mine[: len(part)] = orthogonalise(part)
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return torch.cat(parts)[: len(updates)].to(updates.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised per matrix; 3-D parameters are stacks of matrices.

    The workers of a run share the work: they must step together, with the same gradients.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            # Matrices of one shape go through the iteration as one stack: few large calls instead of many small.
            stacks: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    stacks.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in stacks.items():
                updates = orthogonalise_together(torch.stack([self._momentum(one, group) for one in parameters]))
                rate = group["lr"] * max(1.0, shape[-2] / shape[-1]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["decay"])
                    parameter.add_(update, alpha=-rate)

    def _momentum(self, parameter: nn.Parameter, group: dict[str, float]) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        kept = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        return parameter.grad.lerp(kept, group["momentum"])


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Hidden matrices for Muon; embedding, router and vectors for AdamW."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        hidden = parameter.dim() >= 2 and "embed_tokens" not in name and "router" not in name
        (matrices if hidden else others).append(parameter)
    return matrices, others
