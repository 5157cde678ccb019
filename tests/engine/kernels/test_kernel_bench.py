"""The roofline lines of `bench/gpu.py`: what is timed there is what it is called, beside what it replaces."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import gpu_kernels
from dgemma_engine.model import load_model
from dgemma_engine.model.experts import Experts

NAMES = [
    "norm",
    "fan_out",
    "close",
    "gelu·up",
    "turn, heads of 16",
    "attention, heads of 16, 23 keys",
    "turn, heads of 32",
    "attention, heads of 32, 23 keys",
    "row statistics, 3 rows",
    "experts, bf16",
    "experts, fp8",
    "experts, int4",
]


def flat(result: Any) -> Iterable[Tensor]:
    return (result,) if isinstance(result, Tensor) else result


@torch.inference_mode()
def test_every_kernel_stands_beside_its_twin(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    for one in model.modules():
        if isinstance(one, Experts):
            one.dense = False
    names = []
    for work in gpu_kernels.works(model, rows=3, context=20):
        names.append(work.name)
        assert work.size > 0
        kernel, twin = work.make()
        found = flat(kernel())
        wanted = found if twin is None else flat(twin())
        for ours, other in zip(found, wanted, strict=True):
            assert torch.allclose(ours.float(), other.float(), rtol=1e-3, atol=1e-3), work.name
    assert names == NAMES


def test_nothing_is_said_to_be_measured_without_a_gpu(tiny_checkpoint: Path) -> None:
    found = gpu_kernels.roofline(load_model(tiny_checkpoint), 3, 20, 1.0)
    assert gpu_kernels.lines(found) == ["", "Kernels: not measured: no GPU."]


def test_a_kernel_that_fails_has_a_line() -> None:
    def broken() -> tuple[gpu_kernels.Run, None]:
        raise RuntimeError("no room\nfor it")

    line = gpu_kernels.measured(gpu_kernels.Work("norm", 1000, broken), 1.0)
    assert "| norm | 0.0 | failed: RuntimeError: no room | | |" in gpu_kernels.lines([line])
