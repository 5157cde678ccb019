"""`bench/gpu.py` is run on a rented GPU, once: here it must not have rotted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARMS = (
    "ours",
    "ours, plain torch",
    "ours, int4 experts, bf16 dense",
    "ours, int4 experts, 8-bit dense",
    "ours, fp8 experts",
    "ours, fp8 experts and dense",
    "ours, graphs",
    "ours, int4 experts, 8-bit dense, graphs",
    "transformers, dynamic cache",
)


def test_every_arm_is_timed_after_the_parity_gate(tmp_path: Path) -> None:
    few = ["--canvas", "32", "--context", "40", "--passes", "2", "--warmup", "1"]
    small = ["--shape", "small", "--device", "cpu", "--dtype", "float32", *few]
    script = str(ROOT / "bench" / "gpu.py")
    command = [sys.executable, script, *small, "--scenes", "bf16", "--out", str(tmp_path), "--arms", *ARMS]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["parity"]["ok"]
    assert report["parity"]["samplers_agree"]
    assert float(report["static"]) < 1e-4
    assert [(one["arm"], one["failure"]) for one in report["timings"]] == [(arm, None) for arm in ARMS]
    table = (tmp_path / "gpu.md").read_text()
    assert "Kernels that `ours` ran on: none." in table
    assert "Kernels: not measured: no GPU." in table
    assert "| 32 | ours, int4 experts, 8-bit dense |" in table
    scenes = {f"canvas{canvas}_batch{count}" for canvas in (64, 256) for count in (1, 4)} | {"prefill", "keystroke"}
    assert {name for name, ms in report["scenes"]["ms"].items() if len(ms) == 2} == scenes
    reach = json.loads((tmp_path / "gpu_reach.json").read_text())
    assert "not_measured" in reach["int4_canvas256"]
    assert reach["command"].startswith("python bench/gpu.py --shape small")


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    script = str(ROOT / "bench" / "gpu.py")
    command = [sys.executable, script, "--full-shape", "--device", "cpu", "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.strip() == "the full shape needs a CUDA device with 62 GB"
    reach = json.loads((tmp_path / "gpu_reach.json").read_text())
    assert reach["int4_canvas64"]["not_measured"] == ran.stdout.strip()
