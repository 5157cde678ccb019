"""The loss curve as a picture."""

from __future__ import annotations

from pathlib import Path


def draw_curve(history: list[dict[str, float]], path: Path) -> None:
    """Canvas and causal loss in nats over millions of text tokens, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not history:
        return
    figure, axes = pyplot.subplots(figsize=(7, 3.6), dpi=110)
    tokens = [point["tokens"] / 1e6 for point in history]
    axes.plot(tokens, [point["canvas"] for point in history], label="canvas, free rows", color="#1a73e8")
    axes.plot(tokens, [point["causal"] for point in history], label="encoder, next token", color="#e8710a")
    axes.set_xlabel("text tokens seen (millions)")
    axes.set_ylabel("cross-entropy (nats)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
