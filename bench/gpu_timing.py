"""How `gpu.py` times its arms: in interleaved blocks of passes, with what a pass launches, waits for and holds."""

from __future__ import annotations

import gc
import statistics
import sys
import time
import warnings
from collections import Counter
from typing import Any

import attrs
import torch
from torch import Tensor

from bench.gpu_arms import ARMS, Arm
from bench.gpu_pair import Pair

LAUNCHES = {
    "cudaLaunchKernel",
    "cudaLaunchKernelExC",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
    "cudaGraphLaunch",
}
BLOCKS = 5
PROFILED = 3


@attrs.define
class Timing:
    """What was measured of one arm at one canvas: `device_ms` and `wall_ms` have one value per pass."""

    arm: str
    canvas: int
    device_ms: list[float] = attrs.field(factory=list)
    wall_ms: list[float] = attrs.field(factory=list)
    launches: float = 0
    kernels: float = 0
    syncs: float = 0
    peak_gb: float = 0
    failure: str | None = None

    def summary(self) -> dict[str, Any]:
        numbers = {} if self.failure else {"device": spread(self.device_ms), "wall": spread(self.wall_ms)}
        counts = {
            "launches": self.launches,
            "kernels": self.kernels,
            "syncs": self.syncs,
            "peak_gb": self.peak_gb,
        }
        return {"arm": self.arm, "canvas": self.canvas, **numbers, **counts, "failure": self.failure}


def spread(values: list[float]) -> dict[str, float]:
    """Median and the 5th and 95th percentile."""
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return {"median": statistics.median(values), "p5": cuts[0], "p95": cuts[-1]}


def time_canvas(pair: Pair, names: list[str], prefix: Tensor, canvas: int, warmup: int, passes: int) -> list[Timing]:
    """Set up every arm, warm it up, count; then time blocks in turn. An arm that fails is left out."""
    arms: dict[str, Arm] = {}
    timings = [Timing(name, canvas) for name in names]
    for timing in timings:
        reset_peak(pair.device)
        try:
            arm = ARMS[timing.arm](pair, prefix, canvas, warmup + passes + 2 * PROFILED + 1)
            for _ in range(warmup):
                arm.step()
            timing.syncs = count_syncs(arm, pair.device)
            timing.launches, timing.kernels = count_launches(arm, pair.device)
        except Exception as error:  # a compiler or a full card may fail one arm; the others still count
            timing.failure = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            print(f"{timing.arm}, canvas {canvas}: {timing.failure}", file=sys.stderr)
        else:
            arms[timing.arm] = arm
            timing.peak_gb = peak_gb(pair.device)
    for block in range(BLOCKS):
        for timing in timings:
            if timing.arm in arms:
                share = passes * (block + 1) // BLOCKS - passes * block // BLOCKS
                time_block(arms[timing.arm], timing, share, pair.device)
    for arm in arms.values():
        arm.close()
    return timings


def time_block(arm: Arm, timing: Timing, passes: int, device: torch.device) -> None:
    """Wall clock around each pass, which ends in a read of its stop flag; device time between events."""
    events = []
    for _ in range(passes):
        start = time.perf_counter()
        if device.type == "cuda":
            pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            pair[0].record()
            arm.step()
            pair[1].record()
            events.append(pair)
        else:
            arm.step()
        timing.wall_ms.append(1e3 * (time.perf_counter() - start))
    if device.type == "cuda":
        torch.cuda.synchronize()
        timing.device_ms += [begin.elapsed_time(end) for begin, end in events]
    else:
        timing.device_ms += timing.wall_ms[-passes:]


def count_syncs(arm: Arm, device: torch.device) -> float:
    """Times a pass makes the host wait for the GPU, as torch's sync debug mode sees it."""
    if device.type != "cuda":
        return 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(PROFILED):
                arm.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught) / PROFILED


def count_launches(arm: Arm, device: torch.device) -> tuple[float, float]:
    """Launch calls and kernels a pass: a captured graph is one launch of many kernels."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(PROFILED):
            arm.step()
    events = profile.events() or []
    names = Counter(event.name for event in events)
    kernels = [event.name for event in events if str(event.device_type).endswith("CUDA")]
    kernels = [name for name in kernels if not name.startswith(("Mem", "gpu_", "ProfilerStep"))]
    return sum(names[name] for name in LAUNCHES) / PROFILED, len(kernels) / PROFILED


def copy_bandwidth(device: torch.device) -> float:
    """GB/s of a large copy within the device's memory, bytes read and written counted: the median of 20."""
    size = 2**30 if device.type == "cuda" else 2**26
    source = torch.randint(255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(25):
        synchronize(device)
        start = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size / statistics.median(seconds[5:]) / 1e9


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0
