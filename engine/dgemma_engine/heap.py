"""The C library's heap, told what a model's passes do to it."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT = 64 << 20
"""Bytes that the heap may keep."""
LARGEST = 32 << 20
"""Bytes up to which a block comes from the heap, the most that glibc allows."""


def share() -> None:
    """Let threads that start from now on take memory from one arena.

    In an arena of its own glibc keeps the free end, up to 64 MB, whatever `give_back` says: it stays when
    the model that was loaded in it has left.
    """
    _change(M_ARENA_MAX, 1)


def keep_freed() -> None:
    """Let freed memory stay in the heap.

    By default glibc returns it to the system where it is more than a little, and a pass on a CPU, which frees as much
    as the next one takes, gets it back page by page: a third of the time of encoding a prefix.
    """
    _change(M_MMAP_THRESHOLD, LARGEST)
    _change(M_TRIM_THRESHOLD, KEPT)


def give_back() -> None:
    """Return freed memory to the system."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _change(parameter: int, value: int) -> None:
    if sys.platform == "linux":
        change = getattr(ctypes.CDLL(None), "mallopt", None)
        if change is not None:
            change(parameter, value)
