"""`python -m bench.loading`: the memory that loading the released checkpoint takes, at its full size.

Its weights are not needed for that: the shards are written as holes, which take no room on a disk and read as zeros. A
GPU is stood in for by torch's `meta` device, which holds nothing: what the process takes then is all that it ever has
in host memory on the way to a GPU. `--host` really loads the int4 form into host memory, 18 GB. Prints a table and
draws the memory over time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from dgemma_engine.released import released_config

SHARDS = 11
"""As the released checkpoint has."""
EVERY_S = 0.02
OUT = Path("build/bench")


def write_holes(folder: Path, config: dict[str, Any], layout: str = "bf16") -> int:
    """A checkpoint of that shape in `folder`, all zeros: its bytes. `layout` is `bf16` or compressed-tensors `int4`."""
    import torch

    from dgemma_engine.model import DiffusionGemma, read_config
    from dgemma_engine.model.load import stored_name

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with torch.device("meta"):
        model = DiffusionGemma(read_config(folder))
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, value in model.state_dict().items():
        shape = tuple(value.shape)
        if ".experts." in name and layout == "int4":
            tensors.update(_packed(stored_name(name), shape))
        else:
            tensors[stored_name(name)] = ("BF16", shape)
    tensors["model.encoder.vision_tower.patch_embedder.weight"] = ("BF16", (1152, 4096))
    names = sorted(tensors)
    share = math.ceil(len(names) / SHARDS)
    weight_map, size = {}, 0
    for number in range(SHARDS):
        part = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        mine = names[number * share : (number + 1) * share]
        size += _write_shard(folder / part, {name: tensors[name] for name in mine})
        weight_map.update(dict.fromkeys(mine, part))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return size


def _packed(bank: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    prefix, _, name = bank.rpartition(".")
    made_of = ("gate_proj", "up_proj") if name == "gate_up_proj" else ("down_proj",)
    count, rows, width = shape
    for expert in range(count):
        for one in made_of:
            base = f"{prefix}.{expert}.{one}"
            yield f"{base}.weight_packed", ("I32", (rows // len(made_of), width // 8))
            yield f"{base}.weight_scale", ("BF16", (rows // len(made_of), width // 32))
            yield f"{base}.weight_shape", ("I64", (2,))


def _write_shard(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> int:
    header: dict[str, Any] = {}
    end = 0
    for name, (kind, shape) in tensors.items():
        size = math.prod(shape) * {"BF16": 2, "I32": 4, "I64": 8}[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return end


class Watch:
    """The process's memory over time, in bytes above what it had at first."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = []
        self._process, self._over = psutil.Process(), threading.Event()
        self._first, self._start = self._process.memory_info().rss, time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def peak(self) -> int:
        return max(size for _, size in self.points)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self.points.append((time.monotonic() - self._start, self._process.memory_info().rss - self._first))


def load(folder: Path, device: str, precision: str | None) -> dict[str, Any]:
    """Load it here; memory and time."""
    from dgemma_engine.model import load_model
    from dgemma_engine.model.load import Precision  # noqa: F401 - torch and all are there before the watch begins

    watch = Watch()
    start = time.monotonic()
    model = load_model(folder, device=device, precision=precision)  # type: ignore[arg-type]
    seconds = time.monotonic() - start
    watch.stop()
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return {"peak": watch.peak, "model": size, "seconds": seconds, "points": watch.points}


CASES = [
    ("bf16, to a GPU", "bf16", "meta", None),
    ("bf16, quantised to int4 on the way to a GPU", "bf16", "meta", "int4"),
    ("int4 of compressed-tensors, to a GPU", "int4", "meta", "int4"),
]
HOST = ("int4 of compressed-tensors, into host memory", "int4", "cpu", "int4")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.loading", description=__doc__)
    parser.add_argument("--host", action="store_true", help="load 18 GB into host memory too")
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "DEVICE", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        folder, device, precision = arguments.one
        print(json.dumps(load(Path(folder), device, None if precision == "stored" else precision)))
        return
    found = {}
    print("| what | files | model | host memory beside it, peak | time |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("DGEMMA_BENCH_DIR")) as place:
        for name, layout, device, precision in [*CASES, *([HOST] if arguments.host else [])]:
            folder = Path(place) / layout
            size = write_holes(folder, released_config(), layout)
            command = [sys.executable, "-m", "bench.loading", "--one", str(folder), device, precision or "stored"]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            one = json.loads(ran.stdout)
            beside = one["peak"] - (one["model"] if device == "cpu" else 0)
            sizes = f"{size / 1e9:.1f} GB | {one['model'] / 1e9:.1f} GB | {beside / 1e6:.0f} MB"
            print(f"| {name} | {sizes} | {one['seconds']:.0f} s |", flush=True)
            found[name] = one["points"]
    _draw(found, OUT / "loading.png")


def _draw(found: dict[str, list[tuple[float, int]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.5))
    for name, points in found.items():
        axes.plot([second for second, _ in points], [size / 1e6 for _, size in points], label=name)
    axes.set(xlabel="s", ylabel="MB above the start", title="Memory of the process while it loads the released shape")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f"{path}")


if __name__ == "__main__":
    main()
