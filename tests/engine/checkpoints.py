"""Variants of the tiny checkpoint: its config or its weights changed in one respect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

INDEX = "model.safetensors.index.json"
EMBEDDING = "model.decoder.embed_tokens.weight"


def variant(
    source: Path,
    folder: Path,
    *,
    dgemma: dict[str, Any] | None = None,
    weights: Callable[[dict[str, Tensor]], None] | None = None,
    **top: Any,
) -> Path:
    """A copy of `source` in `folder`: `dgemma` replaces that block (empty: none), `top` fields of config.json."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    config = {**json.loads((source / "config.json").read_text()), **top}
    if dgemma is not None:
        config["dgemma"] = dgemma
    (folder / "config.json").write_text(json.dumps(config))
    if weights is not None:
        tensors = load_file(folder / "model.safetensors")
        weights(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def shard(source: Path, folder: Path) -> Path:
    """A copy of `source` in `folder` in two shards, every second tensor in each."""
    shutil.copytree(source, folder)
    single = folder / "model.safetensors"
    tensors = load_file(single)
    single.unlink()
    weight_map = {}
    for number, part in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        name = f"model-{number:05}-of-00002.safetensors"
        save_file({tensor: tensors[tensor] for tensor in part}, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder
