"""Checkpoints in the layouts that are published of the released model, packed by the library that packs those.

What the published ones hold, by their headers: FP8-dynamic has e4m3 linears in all of a layer but the router; AWQ
int4 packs the experts, NVFP4 of compressed-tensors the dense MLP and the experts, NVFP4 of modelopt the experts.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import load_file, save_file
from torch import Tensor

EXPERTS = re.compile(r"(model\.decoder\.layers\.\d+\.experts)\.(gate_up_proj|down_proj)")
LINEAR = re.compile(r"model\.decoder\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.\w+_proj|experts\.\d+\.\w+_proj)")
DENSE = re.compile(r"model\.decoder\.layers\.\d+\.(mlp\.\w+_proj|experts\.\d+\.\w+_proj)")
BESIDE = re.compile(r"model\.decoder\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.\w+_proj)")
ALONE = re.compile(r"model\.decoder\.layers\.\d+\.experts\.\d+\.\w+_proj")

FORMATS = {
    "FP8_DYNAMIC": "float-quantized",
    "W8A8": "int-quantized",
    "W4A16": "pack-quantized",
    "NVFP4A16": "nvfp4-pack-quantized",
}

Layout = Callable[[dict[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor]]]
"""Weights by stored name to what the file holds, and to what those come to when they are unpacked."""


def unfused(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every expert's matrices under names of their own."""
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        found = EXPERTS.fullmatch(name)
        if found is None:
            out[name] = value
            continue
        for expert, matrix in enumerate(value):
            parts = matrix.chunk(2) if found[2] == "gate_up_proj" else (matrix,)
            names = ("gate_proj", "up_proj") if len(parts) == 2 else ("down_proj",)
            for part_name, part in zip(names, parts, strict=True):
                out[f"{found[1]}.{expert}.{part_name}.weight"] = part.clone()
    return out


def packed(preset: str, pattern: re.Pattern[str]) -> Layout:
    """A preset scheme of compressed-tensors for the linears that `pattern` matches."""
    scheme: QuantizationScheme = preset_name_to_scheme(preset, ["Linear"])
    compressor: Any = BaseCompressor.get_value_from_registry(FORMATS[preset])
    assert scheme.weights is not None
    if preset == "W4A16":
        scheme.weights.group_size = 32

    def apply(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        stored: dict[str, Tensor] = {}
        wide: dict[str, Tensor] = {}
        for name, value in unfused(tensors).items():
            base = name.removesuffix(".weight")
            if not pattern.fullmatch(base):
                stored[name] = wide[name] = value
                continue
            state = quantisation(value.to(torch.bfloat16), scheme)
            small = compressor.compress(state, scheme)
            stored.update({f"{base}.{key}": part.contiguous() for key, part in small.items()})
            wide[name] = compressor.decompress(small, scheme)["weight"].float()
        return stored, wide

    return apply


def quantisation(weight: Tensor, scheme: QuantizationScheme) -> dict[str, Tensor]:
    """`weight` with the scales that the scheme's plain observer would give it."""
    args = scheme.weights
    assert args is not None
    state: dict[str, Tensor] = {"weight": weight}
    grouped = weight.float().unflatten(-1, (-1, args.group_size or weight.shape[-1]))
    low, high = grouped.amin(dim=-1), grouped.amax(dim=-1)
    options: dict[str, Any] = {}
    if args.strategy == "tensor_group":
        state["weight_global_scale"] = generate_gparam(weight.min(), weight.max()).reshape(1)
        options["global_scale"] = state["weight_global_scale"]
    scale, _ = calculate_qparams(low, high, args, **options)
    state["weight_scale"] = scale if args.strategy == "tensor_group" else scale.to(torch.bfloat16)
    return state


def modelopt(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """As modelopt names NVFP4: `weight` itself is packed, and the scale of the whole is the inverse."""
    stored, wide = packed("NVFP4A16", ALONE)(tensors)
    for name in [name for name in stored if name.endswith(".weight_packed")]:
        base = name.removesuffix(".weight_packed")
        stored[f"{base}.weight"] = stored.pop(name)
        stored[f"{base}.weight_scale_2"] = (1 / stored.pop(f"{base}.weight_global_scale")).squeeze()
        stored[f"{base}.input_scale"] = torch.tensor(0.01)
    return stored, wide


LAYOUTS: dict[str, Layout] = {
    "experts one by one": lambda tensors: (unfused(tensors), unfused(tensors)),
    "fp8": packed("FP8_DYNAMIC", LINEAR),
    "int8 beside experts": packed("W8A8", BESIDE),
    "int4": packed("W4A16", ALONE),
    "int4 everywhere": packed("W4A16", LINEAR),
    "nvfp4": packed("NVFP4A16", DENSE),
    "modelopt nvfp4": modelopt,
}


def write_layout(source: Path, folder: Path, layout: str) -> dict[str, Tensor]:
    """The checkpoint `source` as `layout` stores it, in `folder`; returns the weights it stands for, by stored name."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    stored, wide = LAYOUTS[layout](load_file(source / "model.safetensors"))
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return wide
