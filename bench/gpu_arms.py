"""What `gpu.py` times: one way each of denoising a canvas pass by pass, driven from outside."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor

from bench.gpu_goals import OURS
from bench.gpu_pair import Pair, on_torch, quantised, with_own_experts
from dgemma_engine.draws import Draws, SeededDraws
from dgemma_engine.graphs import CudaGraphs, Runner
from dgemma_engine.model import DiffusionGemma
from dgemma_engine.model.attention import GATHERS
from dgemma_engine.model.quantized import DenseForm, Form
from dgemma_engine.sampler import Denoising, Schedule

NEVER = 1e-9
"""A confidence (nats) that no pass reaches."""


class ReferenceArm:
    """transformers' own denoising loop, set up by its `generate` and then driven one pass at a time."""

    def __init__(self, pair: Pair, prefix: Tensor, canvas: int, passes: int, static: bool) -> None:
        self.model = pair.reference
        self.model.config.canvas_length = canvas
        self.inputs: dict[str, Any] = {}

        def capture(**inputs: Any) -> None:
            self.inputs = inputs
            raise _SetUpError

        settings: dict[str, Any] = {
            "max_new_tokens": canvas,
            "max_denoising_steps": passes,
            "eos_token_id": None,
        }
        settings |= {"cache_implementation": "static"} if static else {}
        with mock.patch.object(self.model, "_denoising_step", capture), suppress(_SetUpError):
            self.model.generate(input_ids=prefix, confidence_threshold=NEVER, **settings)

    def step(self) -> None:
        inputs = self.inputs
        state = self.model._denoising_step(**inputs)
        names = ("current_canvas", "argmax_canvas", "self_conditioning_logits", "finished_denoising")
        inputs.update(zip(names, state, strict=True))
        inputs["cur_step"] -= 1
        bool(torch.all(inputs["finished_denoising"]))  # generate asks this after every pass

    def close(self) -> None:
        for name in [name for name in vars(self.model) if name == "_cache" or name.startswith("_compiled_")]:
            delattr(self.model, name)
        torch._dynamo.reset()


class _SetUpError(Exception):
    """Leaves `generate` once everything before its first pass is done."""


class OursArm:
    """Our denoising run with every row free; experts in `form` and dense layers in `dense` are quantised for it.

    With `graphs` each pass is replayed as on the way of a fill; without a GPU it runs over static memory as it is.
    """

    made: ClassVar[dict[tuple[Form, DenseForm], DiffusionGemma]] = {}

    def __init__(
        self,
        pair: Pair,
        prefix: Tensor,
        canvas: int,
        passes: int,
        form: Form = "plain",
        dense: DenseForm = "plain",
        graphs: bool = False,
        model: DiffusionGemma | None = None,
    ) -> None:
        model = self.model(pair, form, dense) if model is None else model
        cache = model.new_cache(capacity=prefix.shape[1] + canvas)
        model.encode(prefix, cache)
        draws = SeededDraws(model.config.vocab_size, pair.device, seed=0)
        self.run = denoising(model, cache, canvas, pair.device, Schedule(passes, confidence=NEVER), draws)
        self.runner = static(model) if graphs else model
        self.steps = 0

    @classmethod
    def model(cls, pair: Pair, form: Form, dense: DenseForm) -> DiffusionGemma:
        """Made once; what arms have in common they share."""
        if (form, dense) == ("plain", "plain"):
            return pair.ours
        if (form, dense) not in cls.made:
            base = pair.ours if dense == "plain" else cls.model(pair, form, "plain")
            cls.made[form, dense] = quantised(base, form if dense == "plain" else "plain", dense)
        return cls.made[form, dense]

    def step(self) -> None:
        (hidden,) = self.runner.forward([self.run.rows()])
        bool(self.run.take(hidden).done.all())  # the loop around it asks this after every pass, as generate does
        self.steps += 1
        if isinstance(self.runner, Runner) and self.steps > 2 and not self.runner.buckets:
            raise RuntimeError("no pass was captured: the warning above says why")

    def close(self) -> None:
        if isinstance(self.runner, Runner):
            self.runner.drop()


class TorchArm(OursArm):
    """Ours without a kernel of its own."""

    def __init__(self, pair: Pair, prefix: Tensor, canvas: int, passes: int) -> None:
        with mock.patch.dict(GATHERS, clear=True):
            super().__init__(pair, prefix, canvas, passes, model=on_torch(pair.ours))

    def step(self) -> None:
        with mock.patch.dict(GATHERS, clear=True):
            super().step()


class OwnExpertsArm(OursArm):
    """Ours with its experts in bf16 on our grouped product in place of torch's."""

    def __init__(self, pair: Pair, prefix: Tensor, canvas: int, passes: int, graphs: bool = False) -> None:
        super().__init__(pair, prefix, canvas, passes, graphs=graphs, model=with_own_experts(pair.ours))


Arm = ReferenceArm | OursArm
FORMS: dict[str, dict[str, Any]] = {
    "": {},
    ", fp8 experts": {"form": "fp8"},
    ", fp8 experts and dense": {"form": "fp8", "dense": "fp8"},
    ", int4 experts, bf16 dense": {"form": "int4"},
    ", int4 experts, 8-bit dense": {"form": "int4", "dense": "int8"},
}
ARMS: dict[str, Callable[[Pair, Tensor, int, int], Arm]] = {
    "transformers, dynamic cache": partial(ReferenceArm, static=False),
    "transformers, static cache, compiled": partial(ReferenceArm, static=True),
    **{f"{OURS}{name}": partial(OursArm, **form) for name, form in FORMS.items()},
    **{f"{OURS}{name}, graphs": partial(OursArm, **form, graphs=True) for name, form in FORMS.items()},
    f"{OURS}, plain torch": TorchArm,
    f"{OURS}, bf16 experts by Triton": OwnExpertsArm,
    f"{OURS}, bf16 experts by Triton, graphs": partial(OwnExpertsArm, graphs=True),
}


def denoising(model: Any, cache: Any, canvas: int, device: torch.device, schedule: Schedule, draws: Draws) -> Denoising:
    """A run over one canvas without pinned rows and without a draft."""
    free = torch.ones(1, canvas, dtype=torch.bool, device=device)
    return Denoising(
        model=model,
        cache=cache,
        canvas=torch.zeros(1, canvas, dtype=torch.long, device=device),
        free=free,
        kept=~free,
        schedule=schedule,
        draws=draws,
        forbidden=torch.zeros(model.config.vocab_size, dtype=torch.bool, device=device),
    )


def static(model: DiffusionGemma) -> Runner:
    """What runs the passes of `model` over static memory: replayed on CUDA, one kernel after the other elsewhere."""
    if model.device.type == "cuda":
        return Runner(model, CudaGraphs())
    return Runner(model)
