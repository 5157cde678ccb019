"""Samples, spreads and the machine they were taken on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from attrs import frozen


@frozen
class Spread:
    """Order statistics of a sample, in its own unit."""

    p5: float
    p50: float
    p95: float
    n: int

    @classmethod
    def of(cls, sample: Sequence[float]) -> Spread:
        ranked = sorted(sample)

        def at(share: float) -> float:
            return ranked[min(len(ranked) - 1, round(share * (len(ranked) - 1)))]

        return cls(at(0.05), at(0.5), at(0.95), len(ranked))

    def __str__(self) -> str:
        digits = 0 if self.p50 >= 20 else 1
        return f"{self.p50:.{digits}f} ({self.p5:.{digits}f} to {self.p95:.{digits}f}, n = {self.n})"


def machine() -> str:
    """One line: processor, cores in use, versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "tokenizers"))
    return f"{model}, {len(os.sched_getaffinity(0))} cores, no GPU; Python {platform.python_version()}, {versions}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
