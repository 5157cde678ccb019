"""A checkpoint written anew with quantised experts, in the layout of compressed-tensors that others load too."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor

from ..errors import EngineError
from . import packing
from .config import ModelConfig, read_config
from .load import DECODER, Progress
from .quantized import quantize
from .sources import BANKS, Matrix, find_bank, refused
from .stored import DTYPES, Stored, read_tensors
from .writer import Planned, Writer

Smaller = Literal["fp8", "int4"]
ALSO = ("*.json", "*.jinja", "*.model", "*.txt", "LICENSE*", "NOTICE*", "README*")
"""What goes along with the weights."""


@frozen
class LayerError:
    """Of one layer's experts: ‖W − Ŵ‖ / ‖W‖ for the two banks, 0 is exact."""

    layer: int
    gate_up: float
    down: float


def recode(
    source: Path,
    folder: Path,
    precision: Smaller,
    device: torch.device | str = "cpu",
    on_layer: Callable[[LayerError], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[LayerError]:
    """Write `source` into the empty `folder`, its experts in `precision`.

    All other tensors, vision too, are copied as they are; one matrix is in memory at a time. Returns the error of each
    layer, which `on_layer` hears as soon as it is known; `on_progress` hears which share of the bytes is read. Raises
    `EngineError`: `checkpoint`, or `memory` when the disk has too little room.
    """
    config, tensors = read_config(source), read_tensors(source)
    try:
        banks = _banks(config, tensors)
        rest = [stored for name, stored in tensors.items() if not name.startswith(_prefixes(config))]
        plan = [_copied(stored) for stored in rest]
        for matrices in banks:
            plan += [one for name, matrix in matrices for one in _planned(name, matrix.shape, precision)]
        _require_room(folder, sum(one.size for one in plan))
        progress = Progress(sum(one.size for one in rest) + _size(banks), on_progress)
        writer = Writer(folder, plan)
        try:
            for stored in rest:
                writer.write(stored.name, stored.read())
                progress.add(stored.size)
            errors = []
            for layer, matrices in enumerate(banks):
                errors.append(_write_layer(writer, layer, matrices, precision, torch.device(device), progress))
                if on_layer is not None:
                    on_layer(errors[-1])
            writer.close()
        finally:
            writer.abort()
    finally:
        for stored in tensors.values():
            stored.file.close()
    _write_rest(source, folder, precision)
    return errors


def _write_layer(
    writer: Writer,
    layer: int,
    matrices: list[tuple[str, Matrix]],
    precision: Smaller,
    device: torch.device,
    progress: Progress,
) -> LayerError:
    off, size = [0.0, 0.0], [0.0, 0.0]
    for name, matrix in matrices:
        wide = matrix.widened(tuple(part.to(device) for part in matrix.parts()), torch.float32)
        parts = quantize(wide, precision)
        for key, value in _stored(name, parts, wide.shape, precision):
            writer.write(key, value)
        widen = packing.dequantize_int4 if precision == "int4" else packing.dequantize_fp8
        bank = int(name.endswith("down_proj"))
        off[bank] += float((widen(parts[0], parts[1], torch.float32) - wide).square().sum())
        size[bank] += float(wide.square().sum())
        progress.add(matrix.size)
    gate_up, down = (math.sqrt(one / all_) if all_ else 0.0 for one, all_ in zip(off, size, strict=True))
    return LayerError(layer, gate_up, down)


def _prefixes(config: ModelConfig) -> tuple[str, ...]:
    return tuple(f"{DECODER}layers.{layer}.experts." for layer in range(len(config.layers)))


def _banks(config: ModelConfig, tensors: Mapping[str, Stored]) -> list[list[tuple[str, Matrix]]]:
    """By layer, every expert's matrices with the names that they get."""
    size, hidden = config.expert_size, config.hidden_size
    shapes = {"gate_up_proj": (config.experts, 2 * size, hidden), "down_proj": (config.experts, hidden, size)}
    layers = []
    for prefix in _prefixes(config):
        matrices: list[tuple[str, Matrix]] = []
        for bank, names in BANKS.items():
            experts, missing = find_bank(tensors, prefix + bank, shapes[bank])
            if missing:
                raise refused(f"the checkpoint lacks {missing[0]}")
            if experts[0][0].form != "plain":
                raise refused(f"its experts are {experts[0][0].form} already; quantise the original")
            for expert, parts in enumerate(experts):
                matrices += [(f"{prefix}{expert}.{name}", matrix) for name, matrix in zip(names, parts, strict=True)]
        layers.append(matrices)
    return layers


def _size(banks: list[list[tuple[str, Matrix]]]) -> int:
    return sum(matrix.size for matrices in banks for _, matrix in matrices)


def _copied(stored: Stored) -> Planned:
    if stored.kind not in DTYPES:
        raise refused(f"{stored.name} is {stored.kind}, which cannot be copied")
    return Planned(stored.name, stored.dtype, stored.shape)


def _planned(name: str, shape: tuple[int, ...], precision: Smaller) -> list[Planned]:
    rows, width = shape
    if precision == "fp8":
        return [
            Planned(f"{name}.weight", torch.float8_e4m3fn, (rows, width)),
            Planned(f"{name}.weight_scale", torch.bfloat16, (rows, 1)),
        ]
    return [
        Planned(f"{name}.weight_packed", torch.int32, (rows, width // 8)),
        Planned(f"{name}.weight_scale", torch.bfloat16, (rows, width // packing.group_size(width))),
        Planned(f"{name}.weight_shape", torch.int64, (2,)),
    ]


def _stored(
    name: str, parts: tuple[Tensor, ...], shape: tuple[int, ...], precision: Smaller
) -> list[tuple[str, Tensor]]:
    """What `_planned` plans."""
    values, scales = parts
    if precision == "fp8":
        return [(f"{name}.weight", values), (f"{name}.weight_scale", scales.to(torch.bfloat16))]
    return [
        (f"{name}.weight_packed", values.view(torch.int32)),
        (f"{name}.weight_scale", scales),
        (f"{name}.weight_shape", torch.tensor(shape)),
    ]


def _write_rest(source: Path, folder: Path, precision: Smaller) -> None:
    """Config, tokenizer and licence; the config says how the experts are stored."""
    for pattern in ALSO:
        for path in source.glob(pattern):
            if path.is_file() and not path.name.startswith("model.safetensors"):
                shutil.copyfile(path, folder / path.name)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"] = _quantization(precision)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _quantization(precision: Smaller) -> dict[str, Any]:
    """As compressed-tensors writes it."""
    weights: dict[str, Any] = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": packing.GROUP}
    activations: dict[str, Any] | None = None
    if precision == "fp8":
        weights = {"num_bits": 8, "type": "float", "strategy": "channel", "group_size": None}
        activations = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True, "symmetric": True}
    targets = [r"re:.*\.experts\.\d+\.(gate|up|down)_proj$"]
    group = {"targets": targets, "weights": {**weights, "symmetric": True, "dynamic": False}}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized" if precision == "fp8" else "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {**group, "input_activations": activations, "output_activations": None}},
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
    }


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise EngineError("memory", f"{folder} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} GB are to be written")
