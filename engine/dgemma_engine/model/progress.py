"""How far the reading of a checkpoint is."""

from __future__ import annotations

from collections.abc import Callable


class Progress:
    """Whoever follows a load hears which share of its bytes is there."""

    def __init__(self, size: int, heard: Callable[[float], None] | None) -> None:
        self._size, self._heard, self._done = max(size, 1), heard, 0

    def add(self, size: int) -> None:
        self._done += size
        if self._heard is not None:
            self._heard(self._done / self._size)
