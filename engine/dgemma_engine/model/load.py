"""Reading a checkpoint folder in the Hugging Face layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..errors import EngineError
from .config import ModelConfig, read_config
from .diffusion_gemma import DiffusionGemma

DECODER = "model.decoder."
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""Of stored weights; a quantised tensor under its plain name would load as garbage without its scales."""
ENCODER_SCALAR = "model.encoder.language_model.layers.{}.layer_scalar"


def load_model(
    folder: Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] | None = None,
) -> DiffusionGemma:
    """Load `folder` (config.json and safetensors, one file or an indexed set) for inference.

    `dtype` None keeps the stored one. Vision tensors are skipped unread. `on_progress` hears which share of the tensors
    is loaded. Raises `EngineError("checkpoint")` naming the file, tensor or field that is wrong.
    """
    if not folder.is_dir():
        raise EngineError("checkpoint", f"{folder} is not a folder: name one with config.json and *.safetensors")
    config = read_config(folder)
    with torch.device("meta"):
        model = DiffusionGemma(config)
    wanted = {stored_name(name): (name, tuple(value.shape)) for name, value in model.state_dict().items()}
    state: dict[str, torch.Tensor] = {}
    for stored, tensor in _tensors(folder, wanted):
        name, shape = wanted[stored]
        if tuple(tensor.shape) != shape:
            raise EngineError(
                "checkpoint",
                f"{folder}: {stored} is {list(tensor.shape)}, config.json asks for {list(shape)}",
            )
        if tensor.dtype not in DTYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise EngineError("checkpoint", f"{folder}: {stored} is {kind}; only bf16, fp16 and fp32 weights are run")
        state[name] = tensor.to(device=device, dtype=dtype or tensor.dtype)
        if on_progress is not None:
            on_progress(len(state) / len(wanted))
    missing = sorted(stored for stored, (name, _) in wanted.items() if name not in state)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise EngineError("checkpoint", f"{folder} lacks {', '.join(missing[:3])}{more}")
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def stored_name(name: str) -> str:
    """Our parameter's name in the file: everything lives under the decoder but the encoder's layer scalars."""
    if name.endswith(".encoder_scalar"):
        return ENCODER_SCALAR.format(name.split(".")[1])
    return DECODER + name


def _tensors(folder: Path, wanted: dict[str, tuple[str, tuple[int, ...]]]) -> Iterator[tuple[str, torch.Tensor]]:
    for path in _files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for stored in file.keys():  # noqa: SIM118 - the handle is no mapping and cannot be iterated
                    if stored in wanted:
                        yield stored, file.get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise EngineError("checkpoint", f"{path} is not a readable safetensors file: {error}") from None


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(weight_map.values()))
            strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise EngineError("checkpoint", f"{index} is not a safetensors index") from None
        if strange:
            raise EngineError("checkpoint", f"{index} names {strange[0]!r}, which is not a shard in this folder")
        return [folder / name for name in names]
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    unsafe = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if unsafe:
        raise EngineError(
            "checkpoint",
            f"{folder} holds {unsafe[0]}, a pickle that can run code; convert it to safetensors first",
        )
    raise EngineError("checkpoint", f"{folder} has no model.safetensors and no model.safetensors.index.json")


__all__ = ["ModelConfig", "load_model", "stored_name"]
