"""Builds every kernel at the released shape for a GPU that need not be there: `build_all.py CAPABILITY`.

Triton compiles for any NVIDIA GPU with the assembler that it brings along; nothing is launched, and tensors are torch's
fake ones. Prints a line for each program: its name, its shared memory in bytes, and the bytes that its registers spill.
Run in a process of its own, since Triton is either interpreter or compiler.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from dgemma_engine.kernels import attention, e4m3, experts, gated, linear, norms, rotary, row_statistics
from dgemma_engine.kernels.grouping import Grouping
from dgemma_engine.model.quantized import empty_bank

ROWS, WIDTH, VOCABULARY, EXPERTS, EXPERT = 256, 2816, 262_144, 128, 704
INSPECTOR = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
EPS = 1e-6


class Driver:
    """Of a GPU of the capability that is asked for."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _: int) -> int:
        return 0


def new(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda")


def build(capability: int) -> None:
    weight, x, scalars = new(WIDTH), new(1, ROWS, WIDTH), (new(1), new(1))
    norms.norm(x, weight, EPS)
    norms.norm(x, None, EPS)
    norms.fan_out(x, x, weight, weight, weight, weight, WIDTH**-0.5, EPS)
    norms.close(x, x, x, weight, weight, weight, scalars, 8, EPS)
    gated.gated(new(ROWS, 2112), new(ROWS, 2112))
    for rows in linear.ROWS:
        for kind in (torch.float8_e4m3fn, torch.int8):
            linear.run(new(rows, WIDTH), new(2112, WIDTH, dtype=kind), new(2112, 1, dtype=torch.float32))
    for size, read, kv_heads in ((256, 32, 8), (512, 18, 2)):
        angles = new(1, ROWS, 1, size), new(1, ROWS, 1, size)
        rotary.turn(new(1, ROWS, read, size), (16, kv_heads), new(size), new(size), angles, EPS)
        keys = new(1, kv_heads, 2304, size)
        # In one piece and split; with a mask or not.
        for rows in (2048, 8):
            attention.attend(new(1, rows, 16, size), keys, keys)
            attention.attend(new(1, rows, 16, size), keys, keys, new(1, rows, 2304))
    raw, flags = new(64, VOCABULARY), new(64, dtype=torch.bool)
    never, opening = new(1, VOCABULARY, dtype=torch.bool), new(VOCABULARY, dtype=torch.bool)
    row_statistics.row_statistics(raw, 30.0, 0.7, 5)
    for opens in (None, opening):
        refusal = row_statistics.Refusal(never, new(64, dtype=torch.int64), opens, flags)
        row_statistics.row_statistics(raw, 30.0, 0.7, 5, refusal)
    for form in ("plain", "int4", "fp8", "nvfp4"):
        build_experts(form)


def build_experts(form: Any) -> None:
    tiles = (new(EXPERTS, dtype=torch.int32) for _ in range(3))
    groups = Grouping(new(8 * ROWS, dtype=torch.int32), *tiles)
    shapes = (EXPERTS, 2 * EXPERT, WIDTH), (EXPERTS, WIDTH, EXPERT)
    banks = [new(*one) if form == "plain" else empty_bank(form, one, 32, torch.bfloat16, "cuda") for one in shapes]
    with mock.patch.object(experts, "group", return_value=groups):
        index, weights = new(ROWS, 8, dtype=torch.int64), new(ROWS, 8, dtype=torch.float32)
        experts.run(new(ROWS, WIDTH), weights, index, *banks)


def spilled(binary: bytes) -> int:
    """Bytes of a thread's stack."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(INSPECTOR), "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"STACK:(\d+)", said)
    assert found, said
    return int(found[1])


def main() -> None:
    capability = int(sys.argv[1])
    run = JITFunction.run
    seen: set[int] = set()

    def built(self: Any, *given: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        kernel: Any = run(self, *given, grid=grid, warmup=True, **named)
        if id(kernel) not in seen:
            seen.add(id(kernel))
            print(self.__name__, kernel.metadata.shared, spilled(kernel.asm["cubin"]), flush=True)
        return kernel

    triton.runtime.driver.set_active(Driver(capability))
    with (
        mock.patch.object(JITFunction, "run", built),
        mock.patch.object(FakeTensor, "data_ptr", return_value=4096),
        mock.patch.object(e4m3, "converts", return_value=capability >= 89),
        FakeTensorMode(),
    ):
        build(capability)


if __name__ == "__main__":
    main()
