"""What a pass came to, read by the host while the device is busy with the next pass already."""

from __future__ import annotations

from typing import Any

import torch
from attrs import fields
from torch import Tensor

from .sampler import Denoising, Pass
from .steps import Steps


def runs_ahead(device: torch.device) -> bool:
    """Whether the next pass is begun before it is known if there has to be one.

    On a GPU the host decides while the next pass runs, and throws away what was one too many; a CPU would only compute
    it.
    """
    return device.type == "cuda"


def polled(taken: Pass, denoising: Denoising | None) -> Steps[tuple[Pass, Tensor | None]]:
    """A pass on the host, and the hidden states of the next pass of `denoising` where that has been begun already.

    The copy to the host is queued behind the pass and before the next one, so that it waits for no more than it must.
    """
    if not runs_ahead(taken.done.device):
        return taken, None
    told = Pass(**{field.name: _copied(getattr(taken, field.name)) for field in fields(Pass)})
    event = None
    if taken.done.is_cuda:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(taken.done.device))
    ahead = None
    if denoising is not None:
        (ahead,) = yield [denoising.rows()]
    if event is not None:
        event.synchronize()
    return told, ahead


def _copied(value: Any) -> Any:
    """A tensor, or a tuple of them, on the host: in memory that the device writes without the host's help."""
    if isinstance(value, tuple):
        return tuple(map(_copied, value))
    return value if value is None else value.to("cpu", non_blocking=True)
