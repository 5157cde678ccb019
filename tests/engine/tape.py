"""A recording of a pass that can be played again: what a CUDA graph is, on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

WAITING = ("_local_scalar_dense", "nonzero", "_unique", "unique", "masked_select", "equal")
"""What makes the host wait for the device, or its shapes depend on data."""


class Tape(TorchDispatchMode):
    """Runs a step once, and plays the same operations on the same memory whenever it is called.

    Nothing of Python is run again: what a step decides on the host, it has decided for good. As with a graph, what it
    makes on the way is made anew, and what it was given must stay where it is.
    """

    def __init__(self, step: Callable[[], object]) -> None:
        super().__init__()
        self.played = 0
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        with self:
            step()

    @property
    def names(self) -> set[str]:
        """Of the operations."""
        return {function.overloadpacket.__name__ for function, *_ in self._calls}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        # What is written in place has its own name already.
        self._calls.append((function, args, kwargs or {}, out))
        return out

    def __call__(self) -> None:
        made: dict[int, Tensor] = {}

        def now(value: Any) -> Any:
            return made.get(id(value), value) if isinstance(value, Tensor) else value

        for function, args, kwargs, out in self._calls:
            again = function(*tree_map(now, args), **tree_map(now, kwargs))
            outs, news = ([one] if isinstance(one, Tensor) else list(one or ()) for one in (out, again))
            made |= {id(one): new for one, new in zip(outs, news, strict=True) if isinstance(one, Tensor)}
        self.played += 1
