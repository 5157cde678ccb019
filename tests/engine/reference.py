"""The oracle: transformers' `DiffusionGemmaForBlockDiffusion`, and what its sampler did, pass by pass.

Its cache is always the dynamic one built from the text config. The two others are wrong past the sliding
window: the static cache lets the canvas overwrite the oldest rows, `DynamicCache()` without the config keeps
too many.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from attrs import define, field, frozen
from torch import Tensor
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion, DynamicCache
from transformers.utils.logging import disable_progress_bar

from .random_weights import randomise

disable_progress_bar()

VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 0,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "position_embedding_size": 8,
}


@frozen
class Shape:
    """A small checkpoint; `full_*` are the full layers' own, `spelling` is how the config says so."""

    name: str
    layers: str
    window: int
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    full_kv_heads: int = 1
    full_head_dim: int = 32
    experts: int = 4
    chosen: int = 2
    expert_size: int = 24
    vocab: int = 300
    canvas: int = 32
    spelling: str = "per_layer_config"

    def config(self) -> dict[str, Any]:
        """The JSON of `config.json`; `layers` is a word of s(liding) and f(ull)."""
        kinds = {"s": "sliding_attention", "f": "full_attention"}
        full: dict[str, Any] = {"head_dim": self.full_head_dim, "num_key_value_heads": self.full_kv_heads}
        if self.spelling == "per_layer_config":
            own = {"per_layer_config": {str(i): full for i, kind in enumerate(self.layers) if kind == "f"}}
        else:
            own = {"global_head_dim": self.full_head_dim, "num_global_key_value_heads": self.full_kv_heads}
        return {
            "model_type": "diffusion_gemma",
            "canvas_length": self.canvas,
            "tie_word_embeddings": True,
            "vision_config": VISION,
            "text_config": {
                "model_type": "diffusion_gemma_text",
                "vocab_size": self.vocab,
                "hidden_size": self.hidden,
                "intermediate_size": 2 * self.hidden,
                "num_hidden_layers": len(self.layers),
                "num_attention_heads": self.heads,
                "num_key_value_heads": self.kv_heads,
                "head_dim": self.head_dim,
                "layer_types": [kinds[kind] for kind in self.layers],
                "sliding_window": self.window,
                "max_position_embeddings": 4096,
                "num_experts": self.experts,
                "top_k_experts": self.chosen,
                "moe_intermediate_size": self.expert_size,
                "hidden_activation": "gelu_pytorch_tanh",
                "rms_norm_eps": 1e-6,
                "pad_token_id": 0,
                "eos_token_id": 1,
                "bos_token_id": 2,
                "tie_word_embeddings": True,
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                    "full_attention": {
                        "rope_type": "proportional",
                        "rope_theta": 1e6,
                        "partial_rotary_factor": 0.25,
                    },
                },
                **own,
            },
        }

    def write(self, folder: Path, seed: int = 0) -> Path:
        """Random weights in transformers' own layout under our spelling of the config."""
        model = DiffusionGemmaForBlockDiffusion(DiffusionGemmaConfig.from_dict(self.config()))
        randomise(model.state_dict().items(), seed)
        model.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps(self.config()), encoding="utf-8")
        return folder


class Oracle:
    """The reference model of a checkpoint folder, one prefix at a time."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        loaded: Any = DiffusionGemmaForBlockDiffusion.from_pretrained(folder, dtype=dtype)
        self.model: Any = loaded.eval().requires_grad_(False)
        self.model.set_experts_implementation("eager")  # the plain loop: runs in every dtype
        self.text = self.model.config.get_text_config()

    def prefill(self, ids: Tensor) -> tuple[Tensor, Any]:
        """A fresh prefix of `ids` `[1, T]`: hidden states `[1, T, D]` and the cache."""
        cache = DynamicCache(config=self.text)
        return self.model.model.encoder(input_ids=ids, past_key_values=cache).last_hidden_state, cache

    def decode(self, canvas: Tensor, cache: Any, logits: Tensor | None = None) -> Tensor:
        """Hidden states `[1, C, D]` of one pass; `logits` are the previous pass's, tempered."""
        return self.model.model.decoder(
            decoder_input_ids=canvas, past_key_values=cache, self_conditioning_logits=logits
        ).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """The capped logits, as the last lines of the reference's `forward` make them."""
        cap = self.model.final_logit_softcapping
        return torch.tanh(self.model.lm_head(hidden).float() / cap) * cap

    def run(self, ids: Tensor, passes: int, seed: int, canvases: int = 1, **settings: Any) -> Run:
        """Denoise canvases after the prefix `ids` `[1, T]` by `generate`; tells what it drew and decided.

        `settings` go to `generate`. Its end-of-text rule, which pads what follows, is off.
        """
        run = Run()
        original = self.model._denoising_step

        def step(**inputs: Any) -> Any:
            outputs = original(**inputs)
            canvas, argmax, logits, finished = outputs
            run.passes.append(
                Pass(
                    remaining=int(inputs["cur_step"]),
                    before=inputs["current_canvas"].clone(),
                    sample=run.samples[-1],
                    noise=run.noises[-1],
                    accepted=inputs["sampler"].accepted_token_mask.clone(),
                    canvas=canvas.clone(),
                    argmax=argmax.clone(),
                    logits=logits.clone(),
                    finished=bool(finished.all()),
                )
            )
            return outputs

        torch.manual_seed(seed)
        with recorded_draws(run), mock.patch.object(self.model, "_denoising_step", step):
            output = self.model.generate(
                input_ids=ids,
                max_new_tokens=canvases * self.model.config.canvas_length,
                max_denoising_steps=passes,
                eos_token_id=None,
                **settings,
            )
        run.result = output.sequences[:, ids.shape[1] :]
        return run


@frozen
class Pass:
    """One `_denoising_step`: canvases `[1, C]`, tempered logits `[1, C, V]`.

    `before` is the canvas it read, `sample` and `noise` what it drew, `canvas` what it left. `remaining`
    counts down to 1.
    """

    remaining: int
    before: Tensor
    sample: Tensor
    noise: Tensor
    accepted: Tensor
    canvas: Tensor
    argmax: Tensor
    logits: Tensor
    finished: bool


@define
class Run:
    """What one `generate` did. Before the noise of its passes, each canvas has the one it started from."""

    passes: list[Pass] = field(factory=list)
    noises: list[Tensor] = field(factory=list)
    samples: list[Tensor] = field(factory=list)
    result: Tensor = field(factory=lambda: torch.empty(1, 0, dtype=torch.long))


@contextmanager
def recorded_draws(run: Run) -> Iterator[None]:
    """Note every `torch.randint` as noise and every `torch.multinomial` as a sample of `run`."""
    randint, multinomial = torch.randint, torch.multinomial

    def noisy(*args: Any, **kwargs: Any) -> Tensor:
        run.noises.append(randint(*args, **kwargs))
        return run.noises[-1].clone()

    def sampled(*args: Any, **kwargs: Any) -> Tensor:
        drawn = multinomial(*args, **kwargs)
        run.samples.append(drawn.view(1, -1).clone())
        return drawn

    with mock.patch.object(torch, "randint", noisy), mock.patch.object(torch, "multinomial", sampled):
        yield


class Replay:
    """The draws of a recorded run, handed out again in order to a sampler that is given its randomness."""

    def __init__(self, run: Run) -> None:
        self._noises = iter(run.noises)
        self._samples = iter(run.samples)

    def noise(self, shape: tuple[int, ...] | torch.Size) -> Tensor:
        return next(self._noises).view(shape)

    def sample(self, probabilities: Tensor) -> Tensor:
        return next(self._samples).view(probabilities.shape[:-1])
