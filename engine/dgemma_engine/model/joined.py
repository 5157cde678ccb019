"""Projections of the same rows, made one matrix: on small matrices a call costs more than its arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Joined(nn.Module):
    """Projects rows by several linear layers at once; `parts` are theirs, in order.

    After `join` their weights are views of one matrix, and one product does. Layers that are more than a matrix, or
    that are still to be trained, stay apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.matrix: Tensor | None = None
        """`[sum of out, in]`, once they are joined."""

    @property
    def parts(self) -> Sequence[nn.Linear]:
        raise NotImplementedError

    def join(self) -> None:
        """Put the parts' weights into one matrix, where they are nothing but weights."""
        parts = self.parts
        if any(type(part) is not nn.Linear or part.weight.requires_grad for part in parts):
            return
        matrix = torch.cat([part.weight for part in parts])
        for part, weight in zip(parts, matrix.split([part.out_features for part in parts]), strict=True):
            part.weight = nn.Parameter(weight, requires_grad=False)
        self.matrix = matrix

    def projected(self, x: Tensor) -> Tensor:
        """`[…, in]` → `[…, sum of out]`."""
        return torch.cat(self.projections(x), dim=-1) if self.matrix is None else F.linear(x, self.matrix)

    def projections(self, x: Tensor) -> tuple[Tensor, ...]:
        """`[…, in]` → `[…, out]` of each part."""
        if self.matrix is None:
            return tuple(part(x) for part in self.parts)
        return F.linear(x, self.matrix).split([part.out_features for part in self.parts], dim=-1)


def join_projections(model: nn.Module) -> None:
    """Join what can be joined in a model that is loaded and stays where it is."""
    for module in model.modules():
        if isinstance(module, Joined):
            module.join()
