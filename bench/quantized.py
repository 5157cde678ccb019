"""`python -m bench.quantized`: how far a model moves when its experts are quantised, and its dense layers too.

Takes texts of the standard library: a prefix in the encoder, a canvas behind it of which half is noise. Prints, beside
the checkpoint as it is stored, the Kullback-Leibler divergence of the next token in the encoder and of the noised rows
on the canvas, in nats, and how often the likeliest token is the same.
"""

from __future__ import annotations

import argparse
import statistics
import sysconfig
from pathlib import Path

import torch
import torch.nn.functional as F
from attrs import define, field
from torch import Tensor

from dgemma_engine.canvas import prefix_ids
from dgemma_engine.checkpoints import find_checkpoint
from dgemma_engine.engine import Engine
from dgemma_engine.model import DiffusionGemma, Rows, load_model
from dgemma_engine.model.load import Precision
from dgemma_engine.model.quantized import DenseForm

FORMS: list[tuple[Precision, DenseForm]] = [
    ("bf16", "plain"),
    ("bf16", "fp8"),
    ("bf16", "int8"),
    ("fp8", "plain"),
    ("fp8", "fp8"),
    ("int4", "plain"),
    ("int4", "fp8"),
    ("int4", "int8"),
]
"""Of experts and of dense layers."""


@define
class Moved:
    """Of each text: mean divergences in nats, and shares of rows whose likeliest token stays."""

    encoder: list[float] = field(factory=list)
    canvas: list[float] = field(factory=list)
    encoder_same: list[float] = field(factory=list)
    canvas_same: list[float] = field(factory=list)

    def row(self, name: str) -> str:
        """Means with the standard error of the divergences."""
        cells = [f"{_mean(self.encoder)} | {100 * statistics.fmean(self.encoder_same):.1f} %"]
        cells += [f"{_mean(self.canvas)} | {100 * statistics.fmean(self.canvas_same):.1f} %"]
        return f"| {name} | {' | '.join(cells)} |"


def _mean(values: list[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):.4f} ± {error:.4f}"


@torch.inference_mode()
def logits(model: DiffusionGemma, prefix: list[int], canvas: Tensor) -> tuple[Tensor, Tensor]:
    """Of the prefix's rows and of the canvas' rows, fp32 `[T, V]` and `[C, V]`."""
    cache = model.new_cache()
    ids = torch.tensor([prefix])
    encoded = model.encode(ids, cache)
    (hidden,) = model.forward([Rows(cache, canvas[None])])
    return model.logits(encoded[0]), model.logits(hidden[0])


def texts(count: int) -> list[str]:
    """Files of the standard library that are long enough, in a fixed order."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    found = [path.read_text(encoding="utf-8", errors="ignore") for path in sorted(folder.glob("*.py"))]
    return [text for text in found if len(text) > 8000][:count]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quantized", description=__doc__)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a hub id")
    parser.add_argument("--texts", type=int, default=40)
    arguments = parser.parse_args()
    plain = Engine.load(f"{arguments.model}@bf16")
    config, draws = plain.model.config, torch.Generator().manual_seed(0)
    work = []
    for text in texts(arguments.texts):
        middle = len(text) // 2
        after = plain.tokenizer.encode(text[middle : middle + 4000])[: config.canvas_length]
        noise = torch.randint(config.vocab_size, (len(after),), generator=draws)
        free = torch.rand(len(after), generator=draws) < 0.5
        prefix = prefix_ids(plain.tokenizer, text[:middle], config.bos_id, plain.context)
        canvas = torch.where(free, noise, torch.tensor(after))
        work.append((prefix, canvas, free, *logits(plain.model, prefix, canvas)))
    print(f"{arguments.model}, {len(work)} texts, beside the checkpoint as stored\n")
    print("| experts | dense layers | encoder, nats | same | canvas, nats | same |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    folder = find_checkpoint(arguments.model).folder
    for precision, dense in FORMS:
        model, moved = load_model(folder, precision=precision, dense=dense), Moved()
        for prefix, canvas, free, encoded, read in work:
            ours_encoded, ours_read = logits(model, prefix, canvas)
            moved.encoder.append(_divergence(encoded, ours_encoded))
            moved.canvas.append(_divergence(read[free], ours_read[free]))
            moved.encoder_same.append(_same(encoded, ours_encoded))
            moved.canvas_same.append(_same(read[free], ours_read[free]))
        print(moved.row(f"{precision} | {'bf16' if dense == 'plain' else dense}"), flush=True)


def _divergence(truth: Tensor, other: Tensor) -> float:
    one, two = F.log_softmax(truth, dim=-1), F.log_softmax(other, dim=-1)
    return float(F.kl_div(two, one, log_target=True, reduction="batchmean"))


def _same(truth: Tensor, other: Tensor) -> float:
    return float((truth.argmax(dim=-1) == other.argmax(dim=-1)).float().mean())


if __name__ == "__main__":
    main()
