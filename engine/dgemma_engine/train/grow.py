"""A wider network that begins as a narrower one: what was learnt is kept, what is new starts silent.

Rows and columns that did not exist read at random and write nothing, so that every layer computes what it did; norms
make up for the zeros that they now average over. Only the decoder's entry, whose norm has no weight, grows by
√(new / old); that heals in the first steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..model import DiffusionGemma

WRITERS = ("embed_tokens.weight", "o_proj.weight", "down_proj.weight", "experts.down_proj")
"""They add to the residual stream, or to what does: their new entries are zero."""


@torch.no_grad()
def grow(model: DiffusionGemma, old: dict[str, Tensor]) -> None:
    """Fill the initialised `model` from the state of one with as many layers and experts, and no dimension larger."""
    width = model.config.hidden_size
    shrink = (old["embed_tokens.weight"].shape[1] / width) ** 0.5
    for name, new in model.state_dict().items():
        kept = old[name]
        if name.endswith(WRITERS):
            new.zero_()
        block = new[tuple(slice(size) for size in kept.shape)]
        averaged = name != "norm.weight" and new.shape == (width,) and "norm" in name
        block.copy_(kept * shrink if averaged or name == "embed_tokens.weight" else kept)
