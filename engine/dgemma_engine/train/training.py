"""One training run: data-parallel workers, schedule, saving, resuming, pausing."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..model import DiffusionGemma
from ..model.config import parse_config
from ..tokenizer import Tokenizer
from .batches import Batch, BatchStream, load_texts
from .checkpoint import export, save_state, write_json
from .curve import draw_curve
from .grow import grow
from .muon import Muon, split_parameters
from .progress import heldout_quality
from .recipe import RECIPES, Recipe
from .step import losses
from .vocabulary import sample_texts, save_tokenizer, train_tokenizer

SAVE_SECONDS = 240
LOG_STEPS = 50
EVALUATION_COUNT = 60
NEW = {
    "step": 0,
    "tokens": 0,
    "before": 0,
    "cooled_from": 0,
    "cooled": 0,
    "seconds": 0.0,
    "history": [],
    "evaluations": [],
}
"""`tokens` in all, of which `cooled` with a falling rate; `before` in a narrower network."""


def work(rank: int, arguments: argparse.Namespace, store: Path) -> None:
    """One worker; rank 0 also writes the files."""
    torch.set_num_threads(1)
    # Attention that has learnt to look away, and its gradients, are full of numbers that take a detour otherwise.
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=arguments.workers)
    Training(RECIPES[arguments.recipe], arguments).run()
    dist.destroy_process_group()


class Training:
    """One run, from a corpus to an exported checkpoint."""

    def __init__(self, recipe: Recipe, arguments: argparse.Namespace) -> None:
        self.recipe, self.arguments, self.out = recipe, arguments, arguments.out
        self.rank, self.workers = dist.get_rank(), dist.get_world_size()
        self.export = self.out / "checkpoint"
        self.device = torch.device(arguments.device)
        self.started = time.monotonic()
        self.updated = False
        """Whether a step has been made, after which no failure is the compiler's."""
        self.stopping, self.parent = False, os.getppid()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torch.manual_seed(recipe.seed)
        self.config = parse_config(recipe.config())
        self.model = DiffusionGemma(self.config)
        initialise(self.model)
        self.model.to(self.device)
        for kind in self.config.ropes:
            self.model.frequencies(kind)
        matrices, others = split_parameters(self.model)
        self.muon = Muon(matrices, recipe.matrix_rate)
        self.adam = torch.optim.AdamW(others, recipe.vector_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.losses = losses if arguments.eager else torch.compile(losses)
        self.state: dict[str, Any] = {**NEW, "history": [], "evaluations": []}
        self._begin()

    def run(self) -> None:
        recipe, corpus = self.recipe, self.arguments.corpus
        texts = load_texts(corpus / "train.jsonl", set(recipe.mix))
        heldout = load_texts(corpus / "heldout.jsonl", set(recipe.mix))
        tokenizer = self._tokenizer(texts)
        stream = BatchStream.of(recipe, texts, tokenizer, self.workers)
        state, saved = self.state, time.monotonic()
        window: list[tuple[float, float]] = []
        batches = stream.stream(state["step"] * self.workers + self.rank, self.workers, self.arguments.loaders)
        while self._share() < 1:
            started = time.monotonic()
            batch = next(batches)
            window.append(self._update(batch.to(self.device)))
            state["step"] += 1
            seconds, text, stop, pause = self._agreed(
                time.monotonic() - started, batch.text_tokens, self._must_stop(), self._must_pause()
            )
            state["seconds"] += seconds / self.workers
            every = 1e6 * self.arguments.evaluate
            due = (state["tokens"] + text) // every > state["tokens"] // every
            state["tokens"] += int(text)
            state["cooled"] += int(text) if self._cooling() > 0 else 0
            if state["step"] % LOG_STEPS == 0:
                self._log(window)
                window = []
            if stop or pause or due or (self.rank == 0 and time.monotonic() - saved > SAVE_SECONDS):
                self._save()
                saved = time.monotonic()
            if stop:
                return
            self._sleep()
            if due:
                self._evaluate(heldout)
        self._save()
        self._evaluate(heldout)
        self._save()

    def _update(self, batch: Batch) -> tuple[float, float]:
        scale, step = self._schedule(), self.state["step"]
        for optimizer, rate in ((self.muon, self.recipe.matrix_rate), (self.adam, self.recipe.vector_rate)):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
        rng = Random(f"{self.recipe.seed}/conditioning/{step}")
        temperature = torch.tensor(rng.uniform(0.4, 1.0)) if rng.random() < 0.5 else None
        with torch.autocast(self.device.type, torch.bfloat16):
            canvas, causal = self._losses(batch, temperature)
        (canvas + self.recipe.causal_weight * causal).backward()
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.adam.param_groups[0]["params"], 1.0)
        self.muon.step()
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        self.updated = True
        values = canvas.item(), causal.item()
        if not all(map(math.isfinite, values)):
            raise SystemExit(f"step {step}: the loss is not finite; resume from the last saved state")
        return values

    def _losses(self, batch: Batch, temperature: Tensor | None) -> tuple[Tensor, Tensor]:
        try:
            return self.losses(self.model, batch, temperature)
        except Exception as refusal:  # whatever a compiler says on a machine that nobody has seen before
            if self.losses is losses or self.updated:
                raise
            print(f"without torch.compile: {str(refusal).splitlines()[0]:.200}", flush=True)
            self.losses = losses
            return self.losses(self.model, batch, temperature)

    def _average_gradients(self) -> None:
        if self.workers == 1:
            return
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.workers
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _share(self) -> float:
        """How much of the run is over, by its tokens or its time."""
        seen = (self.state["tokens"] - self.state["cooled_from"]) / (1e6 * self.arguments.tokens)
        return max(seen, (time.monotonic() - self.started) / 60 / self.arguments.minutes)

    def _cooling(self) -> float:
        """How much of the time in which the rate falls is over; 0 before."""
        length = 1.0 if self.arguments.cool else self.arguments.cool_last
        return max(0.0, (self._share() - (1 - length)) / length) if length else 0.0

    def _schedule(self) -> float:
        """Warm-up, then constant; while cooling 1 - √share (Hägele et al. 2024, arXiv 2405.18392)."""
        warm = min(1.0, (self.state["step"] + 1) / self.recipe.warmup)
        return warm if self._cooling() == 0 else 1 - min(1.0, self._cooling()) ** 0.5

    def _agreed(self, *values: float) -> list[float]:
        """Sums over the workers: all of them must see the same clock and flags, or they would drift apart."""
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return sums.tolist()

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _must_stop(self) -> bool:
        # A worker whose parent was killed would otherwise go on for ever.
        return self.stopping or os.getppid() != self.parent

    def _must_pause(self) -> bool:
        return self.arguments.pause is not None and self.arguments.pause.exists()

    def _sleep(self) -> None:
        while self._must_pause() and not self._must_stop():
            time.sleep(0.3)

    def _evaluate(self, heldout: Any) -> None:
        dist.barrier()
        exact = heldout_quality(self.export, heldout, EVALUATION_COUNT, self.rank, self.workers, self._sleep)
        self.state["evaluations"].append({"tokens": self.state["tokens"], "exact": exact})
        if self.rank == 0:
            print(f"{self.state['tokens'] / 1e6:.2f} M tokens  {json.dumps(exact)}", flush=True)

    def _log(self, window: list[tuple[float, float]]) -> None:
        state = self.state
        canvas, causal = (sum(column) / len(window) for column in zip(*window, strict=True))
        state["history"].append({"step": state["step"], "tokens": state["tokens"], "canvas": canvas, "causal": causal})
        if self.rank == 0:
            print(
                f"step {state['step']}  {state['tokens'] / 1e6:.2f} M tokens  canvas {canvas:.3f}  "
                f"causal {causal:.3f}  {state['seconds'] / 60:.1f} min",
                flush=True,
            )

    def _tokenizer(self, texts: Any) -> Tokenizer:
        path = self.export / "tokenizer.json"
        if self.rank == 0 and not path.is_file():
            given, cool = self.arguments.vocabulary, self.arguments.cool
            if cool:
                given = cool.parent / "checkpoint" / path.name
            if given:
                shutil.copyfile(given, path)
            else:
                sample = sample_texts(texts, self.recipe.mix, self.recipe.seed)
                save_tokenizer(train_tokenizer(sample, self.recipe.vocab), self.export)
        dist.barrier()
        return Tokenizer.load(self.export, self.config)

    def _save(self) -> None:
        if self.rank:
            return
        parts = {"model": self.model.state_dict(), "muon": self.muon.state_dict(), "adam": self.adam.state_dict()}
        save_state(self.out / "state.pt", {**self.state, **parts})
        export(self.model, self.recipe, self.export)
        write_json(self.out / "history.json", self.state)
        draw_curve(self.state["history"], self.state["evaluations"], self.out / "curve.png")

    def _begin(self) -> None:
        """Take up the run in `out`, or branch off from another, or begin from a narrower network, or from nothing."""
        own, other = self.out / "state.pt", self.arguments.cool or self.arguments.grow
        path = own if own.is_file() else other
        if path is None:
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        if path == self.arguments.grow:
            grow(self.model, saved["model"])
            self.state["before"] = saved["tokens"]
            return
        self.model.load_state_dict(saved["model"])
        self.muon.load_state_dict(saved["muon"])
        self.adam.load_state_dict(saved["adam"])
        self.state = {name: saved.get(name, new) for name, new in NEW.items()}
        if path == self.arguments.cool:
            self.state["cooled_from"] = self.state["tokens"]
        if self.rank == 0:
            print(f"resumed at step {self.state['step']}, {json.dumps(self.state['history'][-1:])}", flush=True)


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
