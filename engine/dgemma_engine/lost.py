"""A GPU that is lost to this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EngineError

if TYPE_CHECKING:
    import torch


def lost(device: torch.device, error: BaseException) -> EngineError | None:
    """After `error`: what to tell if nothing runs on `device` any more in this process, None where it still works.

    A reset of the driver, an illegal access or an assertion on the device leave CUDA's context broken, and every later
    call fails: only a new process helps. What the error says is no proof, so the device is asked.
    """
    import torch

    if device.type != "cuda":
        return None
    try:
        torch.cuda.synchronize(device)
        torch.zeros(1, device=device).add_(1)
        torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        return None
    except RuntimeError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return EngineError("device", f"the GPU failed ({reason:.120}): the engine ends, ask again and it starts anew")
    return None
