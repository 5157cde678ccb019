"""One denoising pass at the released 26B-A4B shape: ours beside transformers, on one GPU, random weights.

    python bench/gpu.py --full-shape                             # needs 62 GB of GPU memory, 100 with all arms
    python bench/gpu.py --shape small --device cpu               # the same code on any machine

Both engines run in one process on the same storages; `gpu_pair.py` builds them. First a parity gate
(`gpu_parity.py`): every layer on the reference's input, end to end with the reference's routing and with our own (in
bf16 ties flip), and one pass of both samplers on the same logits and draws, whose canvases must be equal. Then the
arms (`gpu_arms.py`) are timed in interleaved blocks of passes (`gpu_timing.py`). transformers' static cache is wrong
past the sliding window: it is timed, never compared. Ours runs on kernels where they prove right; one arm of it does
not, one takes our grouped product for experts in bf16 in place of torch's, and those with quantised experts or dense
layers share every other tensor.

Random weights route near-uniformly, the worst case for bytes, and never converge: read ms per pass, not
quality. Ours with graphs pads every pass to a bucket and replays it; a check beside the gate compares that with a
plain pass. After the arms come the scenes of `gpu_scenes.py`. Prints a markdown table and writes it to OUT/gpu.md, all
that was measured to OUT/gpu.json, and what was to be reached to OUT/gpu_reach.json and .md (`--out bench/results`
publishes). Exit status 1 when the parity gate fails; 0 with one line where there is no GPU that can hold the shape.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

# Runs from a bare checkout: a rented GPU machine installs nothing.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

from bench import gpu_kernels
from bench.gpu_arms import ARMS, OursArm, static
from bench.gpu_goals import GOALS, OURS, reached
from bench.gpu_pair import SHAPES, Pair, build, random_ids, raw_config
from bench.gpu_parity import parity, static_error
from bench.gpu_scenes import Sizes, Stage, peak_bytes, play
from bench.gpu_timing import copy_bandwidth, time_canvas
from bench.measure import machine
from bench.results import publish
from dgemma_engine import kernels
from dgemma_engine.model.config import parse_config
from dgemma_engine.model.load import FORMS

FULL_GB_PER_PASS = 53.9
"""What a bf16 pass at canvas 256 and context 2048 moves at the full shape; smaller canvases a little less."""
FULL_GB_RESIDENT = 62
REACH = "gpu_reach"


def environment(pair: Pair) -> dict[str, str]:
    cuda = pair.device.type == "cuda"
    versions = {}
    for name in ("torch", "triton", "transformers"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "none"
    return {
        "device": torch.cuda.get_device_name() if cuda else f"{platform.machine()}, {torch.get_num_threads()} threads",
        "dtype": str(pair.dtype).removeprefix("torch."),
        "python": platform.python_version(),
        "experts_in_transformers": str(getattr(pair.reference.config, "_experts_implementation", None)),
        "attention_in_transformers": str(pair.reference.config._attn_implementation),
        **versions,
    }


def table(report: dict[str, Any]) -> str:
    """The report as markdown; a speed-up is against transformers' best arm at the same canvas."""
    where, gate = report["environment"], report["parity"]
    forced, free = max(gate["forced"].values()), max(gate["free"].values())
    lines = [
        f"{where['device']} · torch {where['torch']}, triton {where['triton']}, "
        f"transformers {where['transformers']} · {where['dtype']} · shape {report['shape']} · "
        f"context {report['context']} · batch 1 · {report['passes']} passes after {report['warmup']} · "
        f"copy {report['copy_gb_s']:.0f} GB/s",
        "",
        f"Parity, largest relative error at canvas {gate['canvas']}: one layer {gate['layer']:.1g}; end to end "
        f"{forced:.1g} with the routing forced, {free:.1g} free; samplers agree: {gate['samplers_agree']}. "
        f"A replayed pass beside a plain one: {report['static']}.",
        "",
        "| canvas | arm | ms a pass | p5 | p95 | wall ms | speed-up | launches | kernels | syncs | peak GB | "
        "of copy bandwidth |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in report["timings"]:
        start = f"| {entry['canvas']} | {entry['arm']} |"
        if entry["failure"]:
            lines.append(f"{start} failed: {entry['failure']} |" + " |" * 9)
            continue
        device, rivals = entry["device"], rival_medians(report["timings"], entry["canvas"])
        speedup = f"{min(rivals) / device['median']:.2f}×" if rivals and entry["arm"].startswith(OURS) else ""
        quantised = "fp8" in entry["arm"] or "int4" in entry["arm"]
        full = report["shape"] == "full" and where["dtype"] == "bfloat16" and not quantised
        share = FULL_GB_PER_PASS / device["median"] * 1e3 / report["copy_gb_s"]
        lines.append(
            f"{start} {device['median']:.2f} | {device['p5']:.2f} | {device['p95']:.2f} | "
            f"{entry['wall']['median']:.2f} | {speedup} | {entry['launches']:.0f} | {entry['kernels']:.0f} | "
            f"{entry['syncs']:.0f} | {entry['peak_gb']:.1f} | {f'{share:.0%}' if full else ''} |"
        )
    if report["refused"] is not None:
        errors = {name: report["refused"][name] for name in ("layer", "forced", "free")}
        lines += ["", f"On kernels the parity gate failed, so `{OURS}` ran on plain torch: {errors}."]
    lines += ["", f"Kernels that `{OURS}` ran on: {', '.join(report['on']) or 'none'}."]
    lines += gpu_kernels.lines(report["kernels"])
    return "\n".join(lines) + "\n"


def rival_medians(timings: list[dict[str, Any]], canvas: int) -> list[float]:
    alike = [entry for entry in timings if entry["canvas"] == canvas and not entry["failure"]]
    return [entry["device"]["median"] for entry in alike if not entry["arm"].startswith(OURS)]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for gpu.json and gpu.md")
    parser.add_argument("--shape", choices=list(SHAPES), default="full")
    parser.add_argument("--full-shape", dest="shape", action="store_const", const="full", help="that of the release")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--canvas", type=int, nargs="+", default=[256, 128, 64], help="tokens")
    parser.add_argument("--context", type=int, default=2048, help="prefix tokens")
    parser.add_argument("--passes", type=int, default=100, help="timed, per arm and canvas")
    parser.add_argument("--warmup", type=int, default=20, help="passes before them")
    parser.add_argument("--arms", choices=list(ARMS), nargs="+", default=list(ARMS))
    parser.add_argument("--scenes", choices=list(FORMS), default="int4", help="the precision that scenes are played in")
    return parser.parse_args()


def unfit(arguments: argparse.Namespace) -> str | None:
    """Why nothing can be timed here, in one line."""
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        return "no CUDA device here; `--shape small --device cpu` checks the script"
    if arguments.shape == "full":
        if device.type != "cuda":
            return f"the full shape needs a CUDA device with {FULL_GB_RESIDENT} GB"
        free = torch.cuda.mem_get_info(device)[0] / 1e9
        if free < FULL_GB_RESIDENT:
            return f"the full shape needs {FULL_GB_RESIDENT} GB of GPU memory, {free:.0f} GB are free"
    return None


@torch.no_grad()
def main() -> int:
    arguments = parse_arguments()
    if reason := unfit(arguments):
        print(reason)
        publish(arguments.out, REACH, machine(), GOALS, {}, reason)
        return 0
    device = torch.device(arguments.device)
    cuda = device.type == "cuda"
    sizes = Sizes() if cuda else Sizes(arguments.context, arguments.context, rounds=arguments.passes, settle=0)
    # Before anything else lies in the memory.
    config = parse_config(raw_config(SHAPES[arguments.shape]))
    peak = peak_bytes(config, arguments.scenes, device, sizes) if cuda and arguments.scenes != "bf16" else None
    pair = build(SHAPES[arguments.shape], device, getattr(torch, arguments.dtype))
    prefix = random_ids(pair, arguments.context)
    gate, refused = parity(pair, prefix, arguments.canvas[0]), None
    if pair.on and not (gate["ok"] and gate["samplers_agree"]):
        # What else there is to be learnt on a machine that was rented is learnt on plain torch.
        refused = gate
        kernels.leave(pair.ours)
        gate = parity(pair, prefix, arguments.canvas[0])
    report: dict[str, Any] = {
        "shape": arguments.shape,
        "context": arguments.context,
        "passes": arguments.passes,
        "warmup": arguments.warmup,
        "environment": environment(pair),
        "copy_gb_s": copy_bandwidth(device),
        "on": [] if refused else pair.on,
        "refused": refused,
        "parity": gate,
        "static": static_error(pair, prefix, arguments.canvas[0]),
        "timings": [],
        "scenes": {"precision": arguments.scenes, "ms": {}, "peak_bytes": peak},
        "kernels": "not measured yet",
    }
    sound = report["parity"]["ok"] and report["parity"]["samplers_agree"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for canvas in arguments.canvas if sound else ():
        timings = time_canvas(pair, arguments.arms, prefix, canvas, arguments.warmup, arguments.passes)
        report["timings"] += [timing.summary() for timing in timings]
        write(arguments.out, report)
    if sound:
        model = OursArm.model(pair, *FORMS[arguments.scenes])
        for name, ms in play(Stage(model, static(model).forward), sizes):
            report["scenes"]["ms"][name] = ms
            write(arguments.out, report)
    report["kernels"] = gpu_kernels.roofline(pair.ours, arguments.canvas[0], arguments.context, report["copy_gb_s"])
    write(arguments.out, report)
    print(table(report))
    if not sound:
        print("the parity gate failed: nothing was timed", file=sys.stderr)
    return 0 if sound else 1


def write(out: Path, report: dict[str, Any]) -> None:
    """After every canvas and scene, so that a run that is cut short leaves what it has."""
    (out / "gpu.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text(table(report), encoding="utf-8")
    where = report["environment"]
    on = f"{where['device']}, torch {where['torch']}, triton {where['triton']}, shape {report['shape']}"
    publish(out, REACH, on, GOALS, reached(report), "this run did not come to it, or was of another shape")


if __name__ == "__main__":
    sys.exit(main())
