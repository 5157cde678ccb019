"""The interpreter takes what the compiler refuses: here every kernel is compiled, for GPUs that need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import triton

SCRIPT = Path(__file__).with_name("build_all.py")
ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
KERNELS = {
    *(
        "_norm",
        "_fan_out",
        "_close",
        "_turn",
        "_gated",
        "_attend",
        "_join",
        "_split",
        "_share",
        "_up",
        "_down",
        "_product",
    ),
}


@pytest.mark.skipif(not ASSEMBLER.exists(), reason="install a Triton with its own ptxas, as its Linux wheels have")
@pytest.mark.parametrize(("capability", "shared"), [(80, 166_912), (86, 101_376), (89, 101_376), (90, 232_448)])
def test_every_kernel_builds_at_the_released_shape(tmp_path: Path, capability: int, shared: int) -> None:
    """And has room on cards of that capability: `shared` bytes of memory a program, and registers that suffice."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, str(SCRIPT), str(capability)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr[-2000:]
    needs = defaultdict(list)
    for line in ran.stdout.splitlines():
        name, room, spilled = line.split()
        needs[name].append((int(room), int(spilled)))
    assert set(needs) == KERNELS
    assert max(room for one in needs.values() for room, _ in one) <= shared
    assert not [name for name, one in needs.items() if any(spilled for _, spilled in one)]
