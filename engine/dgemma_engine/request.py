"""What every stage of a fill needs: the options and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from attrs import define, field, frozen

from . import wire
from .sampler import PinnedSignal, Schedule


@frozen
class Options:
    """What a caller may ask of a fill; `received` is on the monotonic clock, in seconds.

    `owner` tells whose document it is, `trace` asks for drafts of every canvas with the tokens each row might become.
    """

    schedule: Schedule
    length: str
    candidates: int
    spares: bool
    deadline_ms: float | None
    seed: int | None
    on_draft: Callable[[wire.Draft], None] | None
    trace: bool
    received: float
    context: int
    pinned_signal: PinnedSignal
    owner: Hashable


@define
class Progress:
    """The clock of one request; `ms` by stage, `tokens` by place."""

    options: Options
    ms: dict[str, float] = field(factory=lambda: {"prefill": 0.0, "passes": 0.0, "rank": 0.0})
    tokens: dict[str, int] = field(factory=lambda: {"prefix": 0, "reused": 0})

    @property
    def elapsed(self) -> float:
        """Milliseconds since the request was received."""
        return 1000 * (time.monotonic() - self.options.received)

    @property
    def late(self) -> bool:
        limit = self.options.deadline_ms
        return limit is not None and self.elapsed >= limit

    def spend(self, stage: str, started: float) -> None:
        """Count the time since `started` (monotonic seconds) to a stage."""
        self.ms[stage] += 1000 * (time.monotonic() - started)
