"""What an editor asks of a model, beyond a single pass: keystrokes, several fills at once, a first prefix, memory.

Timed by the host's clock from the request's ids to the answer's, with the GPU idle before. Weights are random and never
settle: every fill takes all of its passes.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

import torch
from attrs import frozen
from torch import Tensor

from bench.gpu_arms import NEVER, static
from bench.gpu_pair import random_tensor
from dgemma_engine import kernels
from dgemma_engine.draws import SeededDraws
from dgemma_engine.model import DiffusionGemma, KVCache, Rows
from dgemma_engine.model.config import ModelConfig
from dgemma_engine.model.experts import Experts
from dgemma_engine.model.load import FORMS, Precision
from dgemma_engine.model.packing import group_size
from dgemma_engine.model.quantized import QuantizedLinear, empty_bank, quantize
from dgemma_engine.model.sources import DENSE
from dgemma_engine.prefix_cache import CHUNK_ROWS
from dgemma_engine.sampler import Denoising, Schedule

CONTEXT = 2048
WINDOW = 8192
DELTA = 8
HOLE = 32
CANVAS = 64
CANVASES = (64, 256)
PASSES = 8


@frozen
class Sizes:
    """Of the scenes: tokens of a prefix and of a full window, and how often a scene is played, at first untimed."""

    context: int = CONTEXT
    window: int = WINDOW
    rounds: int = 30
    settle: int = 3


@frozen
class Stage:
    """A model that scenes are played on, and the forward that it is run by."""

    model: DiffusionGemma
    forward: Callable[[list[Rows]], list[Tensor]]

    def ids(self, count: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.model.config.vocab_size, (1, count), generator=generator).to(self.model.device)

    def encode(self, ids: Tensor, cache: KVCache) -> None:
        """As the engine does it: in chunks, of which only the last hidden state is wanted."""
        for chunk in ids.split(CHUNK_ROWS, dim=1):
            self.forward([self.delta(chunk, cache)])

    def delta(self, ids: Tensor, cache: KVCache) -> Rows:
        last = torch.tensor([ids.shape[1] - 1], device=self.model.device)
        return Rows(cache, ids, encoder=True, kept=True, asked=last)

    def denoising(self, cache: KVCache, canvas: int, hole: int, seed: int = 0) -> Denoising:
        """A run over a canvas with a hole at its beginning and pinned text behind."""
        model = self.model
        free = (torch.arange(canvas, device=model.device) < hole)[None]
        return Denoising(
            model=model,
            cache=cache,
            canvas=self.ids(canvas, seed + 1),
            free=free,
            kept=torch.zeros_like(free),
            schedule=Schedule(PASSES, confidence=NEVER),
            draws=SeededDraws(model.config.vocab_size, model.device, seed),
            forbidden=torch.zeros(model.config.vocab_size, dtype=torch.bool, device=model.device),
        )

    def timed(self, run: Callable[[], object], sizes: Sizes) -> list[float]:
        """Milliseconds of each round."""
        ms = []
        for _ in range(sizes.settle + sizes.rounds):
            self.wait()
            started = time.perf_counter()
            run()
            self.wait()
            ms.append(1000 * (time.perf_counter() - started))
        return ms[sizes.settle :]

    def wait(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()


def keystroke(stage: Stage, sizes: Sizes) -> list[float]:
    """Eight typed tokens on a warm prefix to a finished hole of 32 tokens, canvas 64, 8 passes."""
    cache = stage.model.new_cache(sizes.context + CANVAS)
    ids = stage.ids(sizes.context)
    stage.encode(ids, cache)

    def typed() -> list[int]:
        cache.truncate(sizes.context - DELTA)
        run = stage.denoising(cache, CANVAS, HOLE)
        _, hidden = stage.forward([stage.delta(ids[:, -DELTA:], cache), run.rows()])
        state = run.take(hidden)
        for _ in range(PASSES - 1):
            (hidden,) = stage.forward([run.rows()])
            state = run.take(hidden)
        return state.readout[0, :HOLE].tolist()

    return stage.timed(typed, sizes)


def together(stage: Stage, sizes: Sizes, canvas: int, count: int) -> list[float]:
    """A pass over the free canvases of `count` requests, each with a prefix of its own."""
    runs = []
    for seed in range(count):
        cache = stage.model.new_cache(sizes.context + canvas)
        stage.encode(stage.ids(sizes.context, seed), cache)
        runs.append(stage.denoising(cache, canvas, canvas, seed))

    def step() -> None:
        for run in runs:
            run.remaining = PASSES
        for run, hidden in zip(runs, stage.forward([run.rows() for run in runs]), strict=True):
            run.take(hidden)

    return stage.timed(step, sizes)


def first_prefix(stage: Stage, sizes: Sizes) -> list[float]:
    """A prefix from nothing."""
    ids = stage.ids(sizes.context)
    return stage.timed(lambda: stage.encode(ids, stage.model.new_cache(sizes.context)), sizes)


def play(stage: Stage, sizes: Sizes) -> Iterator[tuple[str, list[float]]]:
    """Every timed scene by name, in milliseconds."""
    yield "prefill", first_prefix(stage, sizes)
    yield "keystroke", keystroke(stage, sizes)
    for canvas in CANVASES:
        for count in (1, 4):
            yield f"canvas{canvas}_batch{count}", together(stage, sizes, canvas, count)


def peak_bytes(config: ModelConfig, precision: Precision, device: torch.device, sizes: Sizes) -> int:
    """Of a model with nothing beside it: a full window is encoded and a free canvas denoised for three passes.

    The second of them is captured.
    """
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = random_model(config, precision, device)
    stage = Stage(model, static(model).forward)
    cache = model.new_cache(sizes.window + config.canvas_length)
    stage.encode(stage.ids(sizes.window), cache)
    run = stage.denoising(cache, config.canvas_length, config.canvas_length)
    for _ in range(3):
        (hidden,) = stage.forward([run.rows()])
        run.take(hidden)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def random_model(config: ModelConfig, precision: Precision, device: torch.device) -> DiffusionGemma:
    """Experts, all of a layer's alike, and dense layers are quantised as `precision` says from the beginning."""
    form, dense = FORMS[precision]
    with torch.device("meta"):
        model = DiffusionGemma(config)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        owner, _, last = name.rpartition(".")
        module = model.get_submodule(owner)
        if isinstance(module, Experts):
            count, rows, width = value.shape
            bank = empty_bank(form, (count, rows, width), group_size(width), torch.bfloat16, device)
            parts = quantize(random_tensor(name, torch.Size((rows, width)), device, torch.bfloat16), form)
            for expert in range(count):
                bank.put(expert, 0, parts)
            delattr(module, last)
            module.add_module(last, bank)
        elif DENSE.fullmatch(name):
            above, _, layer = owner.rpartition(".")
            values, scales = quantize(random_tensor(name, value.shape, device, torch.bfloat16), dense)
            model.get_submodule(above).add_module(layer, QuantizedLinear(values, scales, torch.bfloat16))
        elif last in module._buffers:
            module.register_buffer(last, torch.ones(value.shape, dtype=torch.bfloat16, device=device))
        else:
            tensor = random_tensor(name, value.shape, device, torch.bfloat16)
            module.register_parameter(last, torch.nn.Parameter(tensor, requires_grad=False))
    if kernels.usable(device):
        kernels.use(model)
    return model.eval()
