"""Publish a run as the packaged nano: `python -m dgemma_engine.train.card`.

Copies the exported checkpoint and the curve into the package and writes MODEL_CARD.md from what the run, the corpus,
the evaluation and the studies left behind: nothing in the card is typed by hand. `--former` is the evaluation of the
checkpoint that is replaced, on the same held-out files.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from ..checkpoints import find_checkpoint
from ..model import load_model
from .recipe import Recipe
from .tables import history_table, quality_table, study_tables

Table = list[dict[str, Any]]

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dgemma_engine.train.card", description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("build/nano"), help="what the training wrote")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"), help="for SOURCES.md")
    parser.add_argument("--rows", type=Path, default=Path("build/nano/evaluation.json"), help="evaluate --out")
    parser.add_argument("--former", type=Path, help="evaluate --out of the checkpoint that is replaced")
    parser.add_argument("--study", type=Path, help="study --out")
    parser.add_argument("--demo", type=Path, help="the table of bench.demo_pair")
    parser.add_argument("--passes", type=int, default=8, help="as the evaluation ran")
    arguments = parser.parse_args()
    target = find_checkpoint("nano").folder
    target.mkdir(exist_ok=True)
    for name in FILES:
        replace(arguments.run / "checkpoint" / name, target / name)
    replace(arguments.run / "curve.png", target / "curve.png")
    findings = Findings(
        history=read(arguments.run / "history.json"),
        sources=(arguments.corpus / "SOURCES.md").read_text(encoding="utf-8"),
        rows=read(arguments.rows),
        passes=arguments.passes,
        former=read(arguments.former) if arguments.former else [],
        study=read(arguments.study) if arguments.study else {},
        demo=arguments.demo.read_text(encoding="utf-8") if arguments.demo else "",
    )
    (target / "MODEL_CARD.md").write_text(written(Recipe(), target, findings), encoding="utf-8")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def replace(source: Path, target: Path) -> None:
    """Copy beside and rename: a process that has the old file mapped keeps it whole."""
    partial = target.with_suffix(".part")
    shutil.copyfile(source, partial)
    partial.replace(target)


@frozen
class Findings:
    """What a run, its corpus and the measurements of its checkpoint left behind.

    `rows` is the evaluation at `passes` passes, `former` that of the checkpoint before; `study` has a table for each
    question, `demo` is markdown.
    """

    history: dict[str, Any]
    sources: str
    rows: Table
    passes: int
    former: Table
    study: dict[str, Table]
    demo: str


def written(recipe: Recipe, folder: Path, findings: Findings) -> str:
    """The model card of the checkpoint in `folder`."""
    model, history = load_model(folder), findings.history
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
        suffix=recipe.suffix,
        context=recipe.length,
        filler=model.config.traits.filler_id,
        machine=f"2 cores of a CPU ({platform.machine()}), torch {torch.__version__}",
        steps=history["step"],
        tokens=history["tokens"] / 1e6,
        cooled=history["cooled"] / 1e6,
        before=history["before"] / 1e6,
        canvases=recipe.canvases,
        minutes=history["seconds"] / 60,
        speed=history["tokens"] / history["seconds"],
        causal=recipe.causal_weight,
        shapes="closers, quotes, marks, runs of closers, words, the rest of a line, argument lists, values, link "
        "targets, lines, blocks, everything after, random pieces",
        history=history_table(history),
        count=findings.rows[0]["n"],
        passes=findings.passes,
        quality=quality_table(findings.rows, findings.former),
        study=study_tables(findings.study),
        demo=findings.demo.strip(),
        sources=findings.sources.split("\n", 1)[1].strip(),
    )


if __name__ == "__main__":
    main()
