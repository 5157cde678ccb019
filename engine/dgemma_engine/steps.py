"""Work on a model, cut where it can be stopped, put off, or share a forward with other work."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeAlias, TypeVar

from torch import Tensor

from .errors import EngineError
from .model import Rows

T = TypeVar("T")

Steps: TypeAlias = Generator[list[Rows], list[Tensor], T]
"""Yields the rows of its next forward and is sent their hidden states, in the same order; returns its result.

Nothing that takes long happens between two yields. Closing it at any of them leaves everything it borrowed in order.
"""


class Forward(Protocol):
    """What runs a pass: a `DiffusionGemma`, or what stands before it on some device."""

    def forward(self, parts: Sequence[Rows], /) -> list[Tensor]:
        """See `DiffusionGemma.forward`."""
        ...


def drive(model: Forward, steps: Steps[T], cancelled: Callable[[], bool] | None = None) -> T:
    """Run `steps` to the end, alone. Raises `EngineError("cancelled")` as soon as `cancelled` says so."""
    try:
        parts = next(steps)
        while True:
            if cancelled is not None and cancelled():
                raise EngineError("cancelled", "the request was cancelled")
            parts = steps.send(model.forward(parts))
    except StopIteration as end:
        return end.value
    finally:
        steps.close()
