"""Triton kernels for a GPU; each stands beside the plain torch that it replaces, in the model or in this package.

`use` is where a model is asked, once, which path it is on. Nothing here is imported before a model lies on a GPU that
has Triton: `usable` says whether it does. On a CPU they run in Triton's interpreter (`TRITON_INTERPRET=1` before the
first import), which is how they are tested without a GPU.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from ..model import DiffusionGemma
    from .families import Family

log = logging.getLogger(__name__)

CAPABILITY = (8, 0)
"""The least compute capability: bf16 matrix units."""
TOLERANCE = 0.03
"""Of a kernel beside torch, both in bf16."""

Grouped = Literal["torch", "triton"]
"""Whose grouped product multiplies experts that are not quantised."""


def usable(device: torch.device) -> bool:
    """Whether the kernels run on `device`."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    # ROCm's devices answer to the same name; their numbers are not NVIDIA's.
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= CAPABILITY


def use(model: DiffusionGemma, grouped: Grouped = "torch") -> list[str]:
    """Let `model` run on kernels, each family of them on its own; the names of those that it does run on.

    A family that this machine's Triton cannot build, or that is wrong here, is left alone, with a line in the log.
    """
    from .families import families

    on = []
    for family in families(model, grouped):
        if _proved(family):
            family.switch(True)
            on.append(family.name)
    return on


def leave(model: DiffusionGemma) -> None:
    """Let `model` run on plain torch again."""
    from .families import families

    for family in families(model, "triton"):
        family.switch(False)


def _proved(family: Family) -> bool:
    try:
        with torch.inference_mode():
            error = family.error()
    except Exception as refusal:  # whatever a compiler or a driver says
        said = f"{type(refusal).__name__}: {refusal}".splitlines()[0]
        log.warning("%s: plain torch instead of kernels, which fail here: %s", family.name, said)
        return False
    if not error < TOLERANCE:
        log.warning("%s: plain torch instead of kernels, which are off by %.2g here", family.name, error)
        return False
    return True
