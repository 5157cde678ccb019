"""Triton kernels for a GPU; each stands beside the plain torch that it replaces, in the model or in this package.

Nothing here is imported before a model lies on a GPU that has Triton: `usable` says whether it does. On a CPU they run
in Triton's interpreter (`TRITON_INTERPRET=1` before the first import), which is how they are tested without a GPU.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import nn

CAPABILITY = (8, 0)
"""The least compute capability: bf16 matrix units."""


def usable(device: torch.device) -> bool:
    """Whether the kernels run on `device`."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    # ROCm's devices answer to the same name; their numbers are not NVIDIA's.
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= CAPABILITY


def use(model: nn.Module) -> None:
    """Let the layers of `model` run on kernels where those are known to be better: quantised experts."""
    from ..model.experts import Experts
    from . import experts

    for module in model.modules():
        if isinstance(module, Experts):
            module.kernel = experts.run
