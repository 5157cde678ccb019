"""One training run: data-parallel workers, schedule, saving and resuming."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.distributed as dist

from ..model import DiffusionGemma
from ..model.config import parse_config
from ..tokenizer import Tokenizer
from .batches import Batch, BatchStream, load_texts
from .checkpoint import export, save_state, write_json
from .curve import draw_curve
from .muon import Muon, split_parameters
from .recipe import Recipe
from .step import losses
from .vocabulary import save_tokenizer, train_tokenizer

TOKENIZER_CHARS = 24_000_000
SAVE_SECONDS = 240


def work(rank: int, arguments: argparse.Namespace, store: Path) -> None:
    """One worker; rank 0 also writes the files."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=arguments.workers)
    Training(Recipe(), arguments.corpus, arguments.out, arguments.minutes, not arguments.eager).run()
    dist.destroy_process_group()


class Training:
    """One run, from a corpus to an exported checkpoint."""

    def __init__(self, recipe: Recipe, corpus: Path, out: Path, minutes: float, compiled: bool) -> None:
        self.recipe, self.out, self.minutes = recipe, out, minutes
        self.rank, self.workers = dist.get_rank(), dist.get_world_size()
        self.export = out / "checkpoint"
        torch.manual_seed(recipe.seed)
        self.texts = load_texts(corpus / "train.jsonl", set(recipe.mix))
        self.config = parse_config(recipe.config())
        self.model = DiffusionGemma(self.config)
        initialise(self.model)
        for kind in self.config.ropes:
            self.model.frequencies(kind)
        matrices, others = split_parameters(self.model)
        self.muon = Muon(matrices, recipe.matrix_rate)
        self.adam = torch.optim.AdamW(others, recipe.vector_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.losses = torch.compile(losses) if compiled else losses
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.history: list[dict[str, float]] = []
        self._resume()

    def run(self) -> None:
        recipe = self.recipe
        stream = BatchStream(
            self.texts,
            {kind: weight for kind, weight in recipe.mix.items() if kind in self.texts},
            self._tokenizer(),
            batch=recipe.batch // self.workers,
            length=recipe.length,
            canvases=recipe.canvases,
            width=recipe.width,
            vocab=recipe.vocab,
            seed=recipe.seed,
        )
        saved = time.monotonic()
        window: list[tuple[float, float]] = []
        while self.seconds < 60 * self.minutes:
            started = time.monotonic()
            batch = stream.make(self.step * self.workers + self.rank)
            window.append(self._update(batch))
            self.step += 1
            self.tokens += batch.text_tokens * self.workers
            self.seconds = self._agreed(self.seconds + time.monotonic() - started)
            if self.rank:
                continue
            if self.step % 50 == 0:
                self._log(window)
                window = []
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save()
                saved = time.monotonic()
        if self.rank == 0:
            self._save()

    def _log(self, window: list[tuple[float, float]]) -> None:
        canvas, causal = (sum(column) / len(window) for column in zip(*window, strict=True))
        self.history.append({"step": self.step, "tokens": self.tokens, "canvas": canvas, "causal": causal})
        print(
            f"step {self.step}  {self.tokens / 1e6:.2f} M tokens  canvas {canvas:.3f}  "
            f"causal {causal:.3f}  {self.tokens / self.seconds:.0f} tokens/s  "
            f"{self.seconds / 60:.1f}/{self.minutes:.0f} min",
            flush=True,
        )

    def _update(self, batch: Batch) -> tuple[float, float]:
        scale = self._schedule()
        for optimizer, rate in ((self.muon, self.recipe.matrix_rate), (self.adam, self.recipe.vector_rate)):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
        rng = Random(f"{self.recipe.seed}/conditioning/{self.step}")
        temperature = torch.tensor(rng.uniform(0.4, 1.0)) if rng.random() < 0.5 else None
        with torch.autocast("cpu", torch.bfloat16):
            canvas, causal = self.losses(self.model, batch, temperature)
        (canvas + self.recipe.causal_weight * causal).backward()
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.adam.param_groups[0]["params"], 1.0)
        self.muon.step()
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        values = canvas.item(), causal.item()
        if not all(map(math.isfinite, values)):
            raise SystemExit(f"step {self.step}: the loss is not finite; resume from the last saved state")
        return values

    def _average_gradients(self) -> None:
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.workers
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _schedule(self) -> float:
        """Warm-up, plateau, linear cool-down to zero; by the clock, so that a busy machine does not leave it out."""
        left = 1 - self.seconds / (60 * self.minutes)
        return min((self.step + 1) / self.recipe.warmup, left / self.recipe.decay, 1.0)

    def _agreed(self, seconds: float) -> float:
        """The workers' mean: all of them must see the same clock, or their weights would drift apart."""
        mean = torch.tensor(seconds, dtype=torch.float64)
        dist.all_reduce(mean)
        return mean.item() / self.workers

    def _tokenizer(self) -> Tokenizer:
        if self.rank == 0 and not (self.export / "tokenizer.json").is_file():
            save_tokenizer(train_tokenizer(self._tokenizer_texts(), self.recipe.vocab), self.export)
        dist.barrier()
        return Tokenizer.load(self.export, self.config)

    def _tokenizer_texts(self) -> list[str]:
        """A sample in the proportions of the mix."""
        rng = Random(self.recipe.seed)
        total = sum(self.recipe.mix.values())
        chosen: list[str] = []
        for kind, texts in sorted(self.texts.items()):
            budget = TOKENIZER_CHARS * self.recipe.mix[kind] / total
            for text in rng.sample(texts, len(texts)):
                if budget <= 0:
                    break
                chosen.append(text)
                budget -= len(text)
        return chosen

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "history": self.history,
        }

    def _save(self) -> None:
        save_state(self.out / "state.pt", self._state())
        export(self.model, self.recipe, self.export)
        write_json(self.out / "history.json", {"seconds": self.seconds, "points": self.history})
        draw_curve(self.history, self.out / "curve.png")

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        self.history = state["history"]
        print(f"resumed at step {self.step}, {json.dumps(self.history[-1:])}", flush=True)


def initialise(model: DiffusionGemma) -> None:
    """Unit-variance rows after the embedding, fan-in scaled matrices, and q/k norms that stand in for 1/√head_dim."""
    for name, parameter in model.named_parameters():
        if name == "embed_tokens.weight":
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        elif parameter.dim() >= 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        elif name.endswith(("q_norm.weight", "k_norm.weight")):
            torch.nn.init.constant_(parameter, parameter.shape[0] ** -0.25)
        elif ".post_" in name:
            torch.nn.init.constant_(parameter, 0.5)
