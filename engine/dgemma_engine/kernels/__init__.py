"""Triton kernels for a GPU; each stands beside the plain torch that it replaces, in the model or in this package.

Nothing here is imported before a model lies on a GPU that has Triton: `usable` says whether it does. On a CPU they run
in Triton's interpreter (`TRITON_INTERPRET=1` before the first import), which is how they are tested without a GPU.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from ..model.experts import Experts
    from ..model.quantized import QuantizedLinear

log = logging.getLogger(__name__)

CAPABILITY = (8, 0)
"""The least compute capability: bf16 matrix units."""
TOLERANCE = 0.03
"""Of a kernel beside torch, both in bf16."""


def usable(device: torch.device) -> bool:
    """Whether the kernels run on `device`."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    # ROCm's devices answer to the same name; their numbers are not NVIDIA's.
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= CAPABILITY


def use(model: nn.Module) -> bool:
    """Let the layers of `model` run on kernels where those are known to be better: whatever is quantised.

    Whether all of it does: a kernel that this machine's Triton cannot build, or that is wrong here, is left alone.
    """
    from ..model.experts import Experts
    from ..model.quantized import Quantized, QuantizedLinear
    from . import experts, linear

    routed = [one for one in model.modules() if isinstance(one, Experts) and isinstance(one.gate_up_proj, Quantized)]
    dense = [one for one in model.modules() if isinstance(one, QuantizedLinear)]
    proved = []
    if routed:
        proved.append(_proved("experts", lambda: _experts_error(routed[0])))
        if proved[-1]:
            for one in routed:
                one.kernel = experts.run
    if dense:
        proved.append(_proved("dense layers", lambda: _linear_error(dense[0])))
        if proved[-1]:
            for one in dense:
                one.kernel = linear.run
    return bool(proved) and all(proved)


def _proved(what: str, error: Callable[[], float]) -> bool:
    try:
        found = error()
    except Exception as refusal:  # whatever a compiler or a driver says
        log.warning("quantised %s run without their kernel: %s: %s", what, type(refusal).__name__, refusal)
        return False
    if not found < TOLERANCE:
        log.warning("quantised %s run without their kernel: its result is off by %.2g", what, found)
        return False
    return True


def _experts_error(module: Experts) -> float:
    """‖kernel − torch‖ / ‖torch‖ on a few rows."""
    from . import experts

    count, _, width = module.gate_up_proj.shape
    weight = module.gate_up_proj[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, width, generator=generator).to(weight)
    weights, index = torch.rand(5, count, generator=generator).topk(min(2, count))
    given = x, weights.to(weight.device), index.to(weight.device)
    with torch.inference_mode():
        wanted = module.each(*given).float()
        found = experts.run(*given, module.gate_up_proj, module.down_proj).float()
    return float((found - wanted).norm() / wanted.norm())


def _linear_error(module: QuantizedLinear) -> float:
    """The largest ‖kernel − torch‖ / ‖torch‖ of its tiles, each of which is a program of its own to a compiler."""
    from . import linear

    generator = torch.Generator().manual_seed(0)
    errors = []
    for rows in linear.ROWS:
        x = torch.randn(rows, module.in_features, generator=generator).to(module.values.device, module.dtype)
        with torch.inference_mode():
            wanted = F.linear(x, module.wide).float()
            found = linear.run(x, module.values, module.scales).float()
        errors.append((found - wanted).norm() / wanted.norm())
    return float(torch.stack(errors).max())
