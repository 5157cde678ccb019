"""The run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw_curve(history: list[dict[str, float]], evaluations: list[dict[str, Any]], path: Path) -> None:
    """Losses in nats, and exact matches in per cent by task, over millions of text tokens, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not history:
        return
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 3.8), dpi=100)
    tokens = [point["tokens"] / 1e6 for point in history]
    left.plot(tokens, [point["canvas"] for point in history], label="canvas, free rows", color="#1a73e8", linewidth=1)
    left.plot(tokens, [point["causal"] for point in history], label="encoder", color="#e8710a", linewidth=1)
    left.set_ylabel("cross-entropy (nats)")
    for name in evaluations[-1]["exact"] if evaluations else ():
        points = [(record["tokens"] / 1e6, record["exact"][name]) for record in evaluations]
        right.plot(*zip(*points, strict=True), label=name, marker=".", linewidth=1)
    right.set_ylabel("exact match on held-out packages (%)")
    right.set_ylim(0, 100)
    for axes in (left, right):
        axes.set_xlabel("text tokens seen (millions)")
        axes.grid(alpha=0.25)
        if axes.lines:
            axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    partial = path.with_suffix(".part.png")
    figure.savefig(partial)
    partial.replace(path)
    pyplot.close(figure)
