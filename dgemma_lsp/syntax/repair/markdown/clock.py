"""The end of the time a diagnosis may take."""

from __future__ import annotations

import time


class OutOfTime(Exception):
    """The deadline has passed; what was found so far is all there is."""


def check_time(deadline: float) -> None:
    """Raises OutOfTime past `deadline`, an instant of `time.monotonic`."""
    if time.monotonic() > deadline:
        raise OutOfTime
