"""Memory that a thread has freed goes back to the system, whichever thread it was."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import psutil
import pytest
import torch

from dgemma_engine import heap

BLOCKS, BLOCK = 5, 10_000_000
"""Below 64 MB in all, which is what an arena of glibc may keep."""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is what is told here")
def test_what_another_thread_freed_is_given_back() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        taken, kept = process.submit(freed_by_a_thread).result(timeout=120)
    assert taken > 0.9 * BLOCKS * BLOCK
    assert kept < 0.1 * BLOCKS * BLOCK


def freed_by_a_thread() -> tuple[int, int]:
    """Bytes that this process takes when a thread allocates, and that it keeps when all is freed."""
    heap.share()
    heap.keep_freed()
    process, sizes = psutil.Process(), []

    def allocate() -> None:
        before = process.memory_info().rss
        blocks = [torch.ones(BLOCK, dtype=torch.uint8) for _ in range(BLOCKS)]
        sizes.append(process.memory_info().rss - before)
        del blocks
        heap.give_back()
        sizes.append(process.memory_info().rss - before)

    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()
    return sizes[0], sizes[1]
