"""The same checkpoint, dtype, threads, canvas and passes through transformers' `generate` and through ours.

Whole canvases, nothing pinned, no early stop, prefill included on both sides; rounds alternate in one process.
"""

from __future__ import annotations

import time
from functools import partial

import torch
from transformers import DiffusionGemmaForBlockDiffusion
from transformers.utils import logging

from dgemma_engine.checkpoints import find_checkpoint
from dgemma_engine.draws import SeededDraws
from dgemma_engine.model import DiffusionGemma, load_model
from dgemma_engine.sampler import Denoising, Schedule

from .measure import Spread

CONTEXT = 512
PASSES = 8
NEVER = 1e-12
"""A confidence, in nats, that no pass reaches: both sides run every pass."""


def versus_rows(model: str, rounds: int) -> list[tuple[str, str, str]]:
    """One row a dtype and canvas width."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = find_checkpoint(model).folder
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        ours = load_model(folder, dtype)
        theirs = DiffusionGemmaForBlockDiffusion.from_pretrained(folder, dtype=dtype).eval()
        for canvas in (64, 128):
            mine, other = _alternate(ours, theirs, canvas, rounds)
            times = other.p50 / mine.p50
            rows.append(
                (
                    f"canvas {canvas}, context {CONTEXT}, {PASSES} passes, {str(dtype).removeprefix('torch.')}, "
                    f"against transformers",
                    "≥ 4×",
                    f"{times:.1f}×: {mine} ms against {other} ms",
                )
            )
    return rows


@torch.inference_mode()
def _alternate(
    ours: DiffusionGemma, theirs: DiffusionGemmaForBlockDiffusion, canvas: int, rounds: int
) -> tuple[Spread, Spread]:
    theirs.config.canvas_length = canvas
    prefix = torch.randint(16, ours.config.vocab_size, (1, CONTEXT), generator=torch.Generator().manual_seed(0))
    runs = partial(_ours, ours), partial(_theirs, theirs)
    samples: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 3):
        for sample, run in zip(samples, runs, strict=True):
            started = time.monotonic()
            run(prefix, canvas)
            if number >= 3:
                sample.append(1000 * (time.monotonic() - started))
    return Spread.of(samples[0]), Spread.of(samples[1])


def _ours(model: DiffusionGemma, prefix: torch.Tensor, canvas: int) -> None:
    cache = model.new_cache(CONTEXT + canvas)
    model.encode(prefix, cache)
    everywhere = torch.ones(1, canvas, dtype=torch.bool)
    run = Denoising(
        model=model,
        cache=cache,
        canvas=torch.zeros(1, canvas, dtype=torch.long),
        free=everywhere,
        kept=~everywhere,
        schedule=Schedule(PASSES, confidence=NEVER),
        draws=SeededDraws(model.config.vocab_size, model.device, 0),
        forbidden=torch.zeros(model.config.vocab_size, dtype=torch.bool),
    )
    for _ in range(PASSES):
        run.advance()


def _theirs(model: DiffusionGemmaForBlockDiffusion, prefix: torch.Tensor, canvas: int) -> None:
    model.generate(
        input_ids=prefix,  # pyright: ignore[reportArgumentType] - its annotation is the legacy LongTensor
        max_new_tokens=canvas,
        max_denoising_steps=PASSES,
        confidence_threshold=NEVER,
        eos_token_id=None,
        t_min=0.4,
        t_max=0.8,
    )
