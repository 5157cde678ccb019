"""Saving: a resumable training state, and the folder that the engine and transformers load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..model import DiffusionGemma
from ..model.load import stored_name
from .recipe import Recipe


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a run may be killed at any moment."""
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(path)


def export(model: DiffusionGemma, recipe: Recipe, folder: Path) -> None:
    """The Hugging Face layout in bf16: config.json, generation_config.json, model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        stored_name(name): value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
    }
    partial = folder / "model.safetensors.part"
    save_file(tensors, partial, metadata={"format": "pt"})
    # Never in place: a process that has the file mapped would see its weights change.
    partial.replace(folder / "model.safetensors")
    write_json(folder / "config.json", recipe.config())
    write_json(folder / "generation_config.json", GENERATION)


GENERATION = {
    "max_new_tokens": 64,
    "max_denoising_steps": 8,
    "sampler_config": {"_cls_name": "EntropyBoundSamplerConfig", "entropy_bound": 0.1},
    "t_min": 0.4,
    "t_max": 0.8,
    "stability_threshold": 0,
    "confidence_threshold": 0.005,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
