"""What the full shape is to reach on a GPU, and where a report of `gpu.py` has it."""

from __future__ import annotations

from typing import Any

from .measure import Spread
from .results import Goal

OURS = "ours"
CONTEXT = 2048
"""Tokens before the canvas, at which the goals are set."""

GOALS = (
    Goal("bf16_canvas256", "bf16 pass, canvas 256", "ms", 16.5, 13.2),
    Goal("fp8_canvas256", "pass with fp8 experts and dense layers, canvas 256", "ms", 10.5, 7.4),
    Goal("int4_canvas256", "pass with int4 experts, canvas 256", "ms", 9.5, 6),
    Goal("int4_canvas64", "pass with int4 experts, canvas 64", "ms", 6.5, 4.5),
    Goal("bf16_speedup", "bf16 pass against transformers' best arm, canvas 256", "×", 2.5, least=True),
    Goal("int4_keystroke", "8 typed tokens to a finished hole of 32, canvas 64, 8 passes", "ms", 80),
    Goal("int4_batch4_canvas64", "four requests beside one, canvas 64", "×", 2),
    Goal("int4_batch4_canvas256", "four requests beside one, canvas 256", "×", 3),
    Goal("int4_peak", "peak memory with a window of 8192", "GB", 18),
    Goal("int4_prefill", "first prefix of 2048 tokens", "ms", 45),
)


def reached(report: dict[str, Any]) -> dict[str, Spread | float]:
    """The figures of `report` by goal, none where it is not of the full shape in bf16; the fastest arm counts."""
    found: dict[str, Spread | float] = {}
    if report["shape"] != "full" or report["environment"]["dtype"] != "bfloat16" or report["context"] != CONTEXT:
        return found
    for precision in ("bf16", "fp8", "int4"):
        for canvas in (256, 64):
            ours = _medians(report, canvas, precision, ours=True)
            if ours:
                found[f"{precision}_canvas{canvas}"] = min(ours, key=lambda spread: spread.p50)
    rivals = _medians(report, 256, "bf16", ours=False)
    mine = found.get("bf16_canvas256")
    if rivals and isinstance(mine, Spread):
        found["bf16_speedup"] = min(spread.p50 for spread in rivals) / mine.p50
    played = report["scenes"]
    precision = played["precision"]
    scenes = {name: Spread.of(ms) for name, ms in played["ms"].items()}
    found |= {f"{precision}_{name}": scenes[name] for name in ("keystroke", "prefill") if name in scenes}
    for canvas in (64, 256):
        one, four = (scenes.get(f"canvas{canvas}_batch{count}") for count in (1, 4))
        if one and four:
            found[f"{precision}_batch4_canvas{canvas}"] = four.p50 / one.p50
    if played["peak_bytes"]:
        found[f"{precision}_peak"] = played["peak_bytes"] / 1e9
    return found


def _medians(report: dict[str, Any], canvas: int, precision: str, *, ours: bool) -> list[Spread]:
    count = report["passes"]
    return [
        Spread(entry["device"]["p5"], entry["device"]["median"], entry["device"]["p95"], count)
        for entry in report["timings"]
        if entry["canvas"] == canvas
        and not entry["failure"]
        and entry["arm"].startswith(OURS) is ours
        and _precision(entry["arm"]) == precision
    ]


def _precision(arm: str) -> str:
    """`other` where no goal is set for what the arm holds in which precision."""
    if "int4" in arm:
        return "int4"
    if "fp8" in arm:
        return "fp8" if "experts and dense" in arm else "other"
    return "bf16"
