"""What a device copies and multiplies per second, measured in about a second; and which devices there are."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from attrs import frozen

from . import kernels
from .estimate import Rates

SPAN_S = 0.25
"""How long each measurement goes on; the best repetition counts."""
COPIED = {"cuda": 1 << 30, "cpu": 1 << 27}
"""Bytes, more than the caches of a device hold; less where little is free."""
WIDTH = {"cuda": 8192, "cpu": 1024}
"""Of the matrices; half of it where little is free."""
TIGHT = 16
"""So many times what is copied has to be free."""


@frozen
class Device:
    """`kind`: cuda, rocm, mps or cpu; `free` and `total` in bytes; `path` tells how a pass runs there, or why none."""

    kind: str
    name: str
    free: int
    total: int
    used: bool
    path: str


def devices() -> list[Device]:
    """Every device that torch sees, the one that models go to first."""
    found = [_gpu(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        path = "not used: the engine is not proved on MPS, it runs on the CPU"
        free, total = _memory()
        found.append(Device("mps", "Apple GPU, in the machine's memory", free, total, False, path))
    found.append(_cpu(used=not torch.cuda.is_available()))
    return sorted(found, key=lambda one: not one.used)


def measure(device: str, free: int) -> Rates:
    """Of `device`, `cuda` or `cpu`, which has so many bytes free."""
    tight = free < TIGHT * COPIED[device]
    copy = _copied(max(1, min(COPIED[device], free // TIGHT)), device)
    width = WIDTH[device] // (2 if tight else 1)
    one = torch.randn(width, width, device=device).to(torch.bfloat16)
    other = torch.randn(width, width, device=device).to(torch.bfloat16)
    flops = 2 * width**3
    matrix = flops / _best(lambda: one @ other, device)
    return Rates(copy, matrix)


def _copied(size: int, device: str) -> float:
    source = torch.empty(size, dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    return 2 * size / _best(lambda: target.copy_(source), device)


def _best(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest repetition."""
    best, end = float("inf"), 0.0
    for warm in (False, True):
        end = time.perf_counter() + (SPAN_S if warm else 0)
        while True:
            start = time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter()
            if warm:
                best = min(best, now - start)
            if now >= end:
                break
    return best


def _gpu(index: int) -> Device:
    free, total = torch.cuda.mem_get_info(index)
    kind = "rocm" if torch.version.hip else "cuda"
    major, minor = torch.cuda.get_device_capability(index)
    if index:
        path = "not used: a model runs on one GPU, the first"
    else:
        how = "quantised weights by kernels" if kernels.usable(torch.device("cuda", index)) else "plain torch"
        path = f"CUDA, compute capability {major}.{minor}: {how}"
        if kind == "rocm":
            path = f"HIP, by torch's interface of CUDA: {how}; not proved on this kind"
    return Device(kind, torch.cuda.get_device_name(index), free, total, not index, path)


def _cpu(used: bool) -> Device:
    free, total = _memory()
    threads = torch.get_num_threads()
    path = f"threads: {threads}, cores: {os.cpu_count()}" if used else "not used: there is a GPU"
    return Device("cpu", _processor(), free, total, used, path)


def _memory() -> tuple[int, int]:
    import psutil

    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, ValueError, StopIteration):
        return platform.processor() or platform.machine()
