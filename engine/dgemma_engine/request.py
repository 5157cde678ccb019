"""What every stage of a fill needs: the options, the clock, the way to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, field, frozen

from . import wire
from .errors import EngineError
from .sampler import PinnedSignal, Schedule


@frozen
class Options:
    """What a caller may ask of a fill; `received` is on the monotonic clock, in seconds."""

    schedule: Schedule
    length: str
    candidates: int
    deadline_ms: float | None
    seed: int | None
    on_draft: Callable[[wire.Draft], None] | None
    cancelled: Callable[[], bool] | None
    received: float
    context: int
    pinned_signal: PinnedSignal


@define
class Progress:
    """The clock of one request; `ms` by stage, `tokens` by place."""

    options: Options
    ms: dict[str, float] = field(factory=lambda: {"prefill": 0.0, "passes": 0.0, "rank": 0.0})
    tokens: dict[str, int] = field(factory=dict)

    @property
    def elapsed(self) -> float:
        """Milliseconds since the request was received."""
        return 1000 * (time.monotonic() - self.options.received)

    @property
    def late(self) -> bool:
        limit = self.options.deadline_ms
        return limit is not None and self.elapsed >= limit

    def check_cancelled(self) -> None:
        """Raises `EngineError("cancelled")` once the caller wants no answer any more."""
        if self.options.cancelled is not None and self.options.cancelled():
            raise EngineError("cancelled", "the request was cancelled")

    def spend(self, stage: str, started: float) -> None:
        """Count the time since `started` (monotonic seconds) to a stage."""
        self.ms[stage] += 1000 * (time.monotonic() - started)
