"""What a shape of network costs before it is trained: `python -m dgemma_engine.train.shapes --vocabulary FILE`.

For each shape the text tokens that one worker trains on in a second of processor time, and the time of a fill (16-token
hole, 8 passes, the engine's own length rule) with random weights, which never settle: the worst case. Nothing else
should run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import torch
from attrs import evolve

from .. import wire
from ..engine import Engine
from ..model import DiffusionGemma
from ..model.config import parse_config
from ..tokenizer import Tokenizer
from .batches import BatchStream, load_texts
from .checkpoint import export
from .muon import Muon, split_parameters
from .recipe import Recipe
from .step import losses
from .training import initialise

FIVE = ("sliding", "sliding", "full", "sliding", "full")
FOUR = ("sliding", "full", "sliding", "full")
SHAPES = {
    "192 × 6, MLP 384": {"hidden": 192, "heads": 3, "intermediate": 384},
    "192 × 6, MLP 768, experts 128": {"hidden": 192, "heads": 3, "intermediate": 768, "expert_size": 128},
    "256 × 6, MLP 512": {},
    "256 × 5, MLP 640, experts 96": {"layers": FIVE, "intermediate": 640, "expert_size": 96},
    "256 × 4, MLP 768, experts 128": {"layers": FOUR, "intermediate": 768, "expert_size": 128},
    "320 × 4, MLP 640, experts 96": {"hidden": 320, "heads": 5, "layers": FOUR, "intermediate": 640, "expert_size": 96},
}
FILLS = 25
STEPS = 6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dgemma_engine.train.shapes", description=__doc__)
    parser.add_argument("--vocabulary", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--eager", action="store_true", help="time steps without torch.compile")
    parser.add_argument("--out", type=Path, default=Path("build/shapes.json"))
    arguments = parser.parse_args()
    texts = load_texts(arguments.corpus / "heldout.jsonl", set(Recipe().mix))
    (sample,) = (files[0] for files in list(texts["python"].values())[:1])
    rows = []
    for name, changes in SHAPES.items():
        recipe = evolve(Recipe(), **changes)
        model = DiffusionGemma(parse_config(recipe.config()))
        initialise(model)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(arguments.vocabulary, Path(folder) / "tokenizer.json")
            export(model, recipe, Path(folder))
            fill_ms = time_fills(Engine.load(folder), sample)
            stream = BatchStream.of(recipe, texts, Tokenizer.load(Path(folder), model.config), workers=2)
        speed = time_steps(model, stream, not arguments.eager)
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        rows.append({"shape": name, "millions": millions, "fill_p50_ms": fill_ms, "tokens_per_second": speed})
        print(json.dumps(rows[-1]), flush=True)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def time_fills(engine: Engine, text: str) -> float:
    """The median of `FILLS`, in ms."""
    ms = []
    for number in range(FILLS):
        at = len(text) // 2 + 7 * number
        masked = wire.MaskedText((text[:at], wire.Hole(16), text[at + 40 :]))
        ms.append(engine.fill(masked, passes=8, seed=number).ms["total"])
    return sorted(ms)[FILLS // 2]


def time_steps(model: DiffusionGemma, stream: BatchStream, compiled: bool) -> float:
    """Text tokens a second of processor time, one thread, a worker's share of a batch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    matrices, others = split_parameters(model)
    muon, adam = Muon(matrices, 0.0), torch.optim.AdamW(others, 0.0)
    lost = torch.compile(losses) if compiled else losses
    spent, tokens = 0.0, 0
    for number in range(-2, STEPS):
        batch = stream.make(number)
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            canvas, causal = lost(model, batch, torch.tensor(0.7) if number % 2 else None)
        (canvas + causal).backward()
        muon.step()
        adam.step()
        model.zero_grad(set_to_none=True)
        if number >= 0:
            spent += time.process_time() - started
            tokens += batch.text_tokens
    torch.set_num_threads(threads)
    return tokens / spent


if __name__ == "__main__":
    main()
