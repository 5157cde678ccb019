"""What the log says of a bug: where it happened, and nothing of what it happened to."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

log = logging.getLogger(__name__)

FRAMES = 6
"""The innermost ones tell."""


def log_bug(error: BaseException) -> None:
    """Its kind and its place; the message of an exception may hold the user's text."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    log.error("bug: %s at %s", type(error).__name__, places or "an unknown place")
