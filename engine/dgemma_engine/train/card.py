"""Publish a run as the packaged nano: `python -m dgemma_engine.train.card`.

Copies the exported checkpoint and the curve into the package and writes MODEL_CARD.md from what the run, the corpus
and the evaluation left behind: nothing in the card is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import find_checkpoint
from ..model import load_model
from .recipe import Recipe

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dgemma_engine.train.card", description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("build/nano"), help="what the training wrote")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"), help="for SOURCES.md")
    parser.add_argument("--rows", type=Path, default=Path("build/nano/evaluation.json"), help="evaluate --out")
    parser.add_argument("--passes", type=int, default=8, help="as the evaluation ran")
    arguments = parser.parse_args()
    target = find_checkpoint("nano")
    target.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(arguments.run / "checkpoint" / name, target / name)
    shutil.copyfile(arguments.run / "curve.png", target / "curve.png")
    history = json.loads((arguments.run / "history.json").read_text(encoding="utf-8"))
    rows = json.loads(arguments.rows.read_text(encoding="utf-8"))
    sources = (arguments.corpus / "SOURCES.md").read_text(encoding="utf-8")
    card = write_card(Recipe(), target, history, rows, sources, arguments.passes)
    (target / "MODEL_CARD.md").write_text(card, encoding="utf-8")


def write_card(
    recipe: Recipe,
    folder: Path,
    history: dict[str, Any],
    rows: list[dict[str, Any]],
    sources: str,
    passes: int,
) -> str:
    """The model card of the checkpoint in `folder`."""
    model = load_model(folder)
    points = history["points"]
    quarters = [points[max(0, round(len(points) * share / 4) - 1)] for share in (1, 2, 3, 4)]
    template = (Path(__file__).parent / "card_template.md").read_text(encoding="utf-8")
    return template.format(
        millions=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        hidden=recipe.hidden,
        layers=len(recipe.layers),
        kinds=", ".join(recipe.layers),
        heads=recipe.heads,
        head_dim=recipe.head_dim,
        intermediate=recipe.intermediate,
        experts=recipe.experts,
        expert_size=recipe.expert_size,
        chosen=recipe.experts_per_token,
        vocab=recipe.vocab,
        window=recipe.window,
        width=recipe.width,
        context=recipe.length,
        filler=model.config.traits.filler_id,
        machine=f"2 cores of a CPU ({platform.machine()}), torch {torch.__version__}",
        steps=points[-1]["step"],
        tokens=points[-1]["tokens"] / 1e6,
        canvases=recipe.canvases,
        minutes=history["seconds"] / 60,
        causal=recipe.causal_weight,
        shapes="closers, quotes, marks, runs of closers, words, the rest of a line, argument lists, values, link "
        "targets, lines, blocks, everything after, random pieces",
        quarters="\n".join(
            f"| {point['tokens'] / 1e6:.1f} | {point['canvas']:.2f} | {point['causal']:.2f} |" for point in quarters
        ),
        count=rows[0]["n"],
        passes=passes,
        quality="\n".join(quality_rows(rows)),
        sources=sources.split("\n", 1)[1].strip(),
    )


def quality_rows(rows: list[dict[str, Any]]) -> list[str]:
    """One line a task out of one record a task and column."""
    tasks: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        tasks.setdefault(row["task"], {})[row["column"]] = row
    lines = []
    for task, columns in tasks.items():
        exact = [f"{columns[name]['exact']:.1f}" for name in ("true length", "50 % slack", "own rule")]
        own = columns["own rule"]
        more = [f"{own['first_line']:.1f}", f"{own['empty']:.1f}", f"{own['passes']:.0f}"]
        lines.append("| " + " | ".join([task, *exact, *more]) + " |")
    return lines


if __name__ == "__main__":
    main()
