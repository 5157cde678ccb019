"""A checkpoint written anew as it is held in memory, quantised, in compressed-tensors' layout that others load too."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor

from ..errors import EngineError
from . import packing
from .config import ModelConfig, read_config
from .load import DECODER, FORMS, IN_8_BITS
from .progress import Progress
from .quantized import Form, quantize
from .sources import BANKS, DENSE, WIDE, Matrix, Plain, find_bank, refused
from .stored import DTYPES, Stored, read_tensors
from .writer import Planned, Writer

Smaller = Literal["fp8", "int4"]
Kind = Literal["gate_up", "down", "dense"]
ALSO = ("*.json", "*.jinja", "*.model", "*.txt", "LICENSE*", "NOTICE*", "README*")
"""What goes along with the weights."""
EXPERT = re.compile(rf"{re.escape(DECODER)}layers\.\d+\.experts\.")


@frozen
class LayerError:
    """Of one layer: ‖W − Ŵ‖ / ‖W‖ of the experts' two banks and of its dense layers, 0 is exact."""

    layer: int
    gate_up: float
    down: float
    dense: float


@frozen
class _Part:
    """A matrix to be quantised, and the `name` that it gets, without what comes behind for values and scales."""

    name: str
    matrix: Matrix
    kind: Kind
    form: Form


def recode(
    source: Path,
    folder: Path,
    precision: Smaller,
    device: torch.device | str = "cpu",
    on_layer: Callable[[LayerError], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[LayerError]:
    """Write `source` into the empty `folder`, its experts and dense layers in the forms of `precision`.

    Dense layers that are quantised already and all other tensors, vision too, are copied as they are; one matrix is in
    memory at a time. Returns the error of each layer, which `on_layer` hears as soon as it is known; `on_progress`
    hears which share of the bytes is read. Raises `EngineError`: `checkpoint`, or `memory` when the disk has too little
    room.
    """
    config, tensors = read_config(source), read_tensors(source)
    try:
        layers = [
            [*_experts(config, tensors, layer, precision), *_dense(tensors, f"layers.{layer}.", precision)]
            for layer in range(len(config.layers))
        ]
        loose = list(_dense(tensors, "self_conditioning.", precision))
        parts = [*loose, *(part for layer in layers for part in layer)]
        quantised = {f"{part.name}.weight" for part in parts}
        rest = [one for name, one in tensors.items() if name not in quantised and not EXPERT.match(name)]
        plan = [_copied(stored) for stored in rest] + [one for part in parts for one in _planned(part)]
        _require_room(folder, sum(one.size for one in plan))
        progress = Progress(sum(one.size for one in rest) + sum(part.matrix.size for part in parts), on_progress)
        writer = Writer(folder, plan)
        try:
            for stored in rest:
                writer.write(stored.name, stored.read())
                progress.add(stored.size)
            _write(writer, loose, torch.device(device), progress)
            errors = []
            for layer, mine in enumerate(layers):
                errors.append(LayerError(layer, **_write(writer, mine, torch.device(device), progress)))
                if on_layer is not None:
                    on_layer(errors[-1])
            writer.close()
        finally:
            writer.abort()
    finally:
        for stored in tensors.values():
            stored.file.close()
    _write_rest(source, folder, _quantization(config, precision))
    return errors


def _write(writer: Writer, parts: list[_Part], device: torch.device, progress: Progress) -> dict[Kind, float]:
    """Quantise the `parts`; the error of each kind."""
    off: dict[Kind, float] = {"gate_up": 0.0, "down": 0.0, "dense": 0.0}
    size = dict(off)
    for part in parts:
        wide = part.matrix.widened(tuple(one.to(device) for one in part.matrix.parts()), torch.float32)
        values, scales = quantize(wide, part.form)
        for key, value in _stored(part, values, scales):
            writer.write(key, value)
        widen = packing.dequantize_int4 if part.form == "int4" else packing.dequantize_rows
        off[part.kind] += float((widen(values, scales, torch.float32) - wide).square().sum())
        size[part.kind] += float(wide.square().sum())
        progress.add(part.matrix.size)
    return {kind: math.sqrt(off[kind] / size[kind]) if size[kind] else 0.0 for kind in off}


def _experts(config: ModelConfig, tensors: Mapping[str, Stored], layer: int, precision: Smaller) -> Iterator[_Part]:
    """Every expert's matrices."""
    prefix, size, hidden = f"{DECODER}layers.{layer}.experts.", config.expert_size, config.hidden_size
    shapes = {"gate_up_proj": (config.experts, 2 * size, hidden), "down_proj": (config.experts, hidden, size)}
    for bank, names in BANKS.items():
        experts, missing = find_bank(tensors, prefix + bank, shapes[bank])
        if missing:
            raise refused(f"the checkpoint lacks {missing[0]}")
        if experts[0][0].form != "plain":
            raise refused(f"its experts are {experts[0][0].form} already; quantise the original")
        kind: Kind = "down" if bank == "down_proj" else "gate_up"
        for expert, matrices in enumerate(experts):
            for name, matrix in zip(names, matrices, strict=True):
                yield _Part(f"{prefix}{expert}.{name}", matrix, kind, FORMS[precision][0])


def _dense(tensors: Mapping[str, Stored], prefix: str, precision: Smaller) -> Iterator[_Part]:
    """The linear layers below `prefix` that are floating point yet."""
    for name, stored in tensors.items():
        ours = name.removeprefix(DECODER)
        if name != ours and ours.startswith(prefix) and DENSE.fullmatch(ours) and stored.kind in WIDE:
            yield _Part(name.removesuffix(".weight"), Plain(stored), "dense", FORMS[precision][1])


def _copied(stored: Stored) -> Planned:
    if stored.kind not in DTYPES:
        raise refused(f"{stored.name} is {stored.kind}, which cannot be copied")
    return Planned(stored.name, stored.dtype, stored.shape)


def _planned(part: _Part) -> list[Planned]:
    rows, width = part.matrix.shape
    if part.form in IN_8_BITS:
        return [
            Planned(f"{part.name}.weight", torch.int8 if part.form == "int8" else torch.float8_e4m3fn, (rows, width)),
            Planned(f"{part.name}.weight_scale", torch.bfloat16, (rows, 1)),
        ]
    return [
        Planned(f"{part.name}.weight_packed", torch.int32, (rows, width // 8)),
        Planned(f"{part.name}.weight_scale", torch.bfloat16, (rows, width // packing.group_size(width))),
        Planned(f"{part.name}.weight_shape", torch.int64, (2,)),
    ]


def _stored(part: _Part, values: Tensor, scales: Tensor) -> list[tuple[str, Tensor]]:
    """What `_planned` plans."""
    if part.form in IN_8_BITS:
        return [(f"{part.name}.weight", values), (f"{part.name}.weight_scale", scales.to(torch.bfloat16))]
    return [
        (f"{part.name}.weight_packed", values.view(torch.int32)),
        (f"{part.name}.weight_scale", scales),
        (f"{part.name}.weight_shape", torch.tensor(part.matrix.shape)),
    ]


def _write_rest(source: Path, folder: Path, quantization: dict[str, Any]) -> None:
    """Config, tokenizer and licence; the config says how the weights are stored."""
    for pattern in ALSO:
        for path in source.glob(pattern):
            if path.is_file() and not path.name.startswith("model.safetensors"):
                shutil.copyfile(path, folder / path.name)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"] = quantization
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


TARGETS: dict[Kind, str] = {
    "gate_up": r"re:.*\.experts\.\d+\.(gate|up)_proj$",
    "down": r"re:.*\.experts\.\d+\.down_proj$",
    # Not those of the vision tower, which have the same names.
    "dense": r"re:model\.(decoder|encoder\.language_model)\."
    r"(layers\.\d+\.(self_attn|mlp)|self_conditioning)\.\w+_proj$",
}


def _quantization(config: ModelConfig, precision: Smaller) -> dict[str, Any]:
    """As compressed-tensors writes it: a group of modules for each form and number of values a scale."""
    experts, dense = FORMS[precision]
    widths = {"gate_up": config.hidden_size, "down": config.expert_size}
    targets: dict[tuple[Form, int], list[str]] = {}
    for kind, target in TARGETS.items():
        form = dense if kind == "dense" else experts
        size = packing.group_size(widths[kind]) if form == "int4" else 0
        targets.setdefault((form, size), []).append(target)
    groups = {f"group_{number}": _group(*key, mine) for number, (key, mine) in enumerate(targets.items())}
    formats = {group["format"] for group in groups.values()}
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
    }


FORMATS: dict[Form, str] = {"fp8": "float-quantized", "int8": "int-quantized", "int4": "pack-quantized"}


def _group(form: Form, size: int, targets: list[str]) -> dict[str, Any]:
    weights: dict[str, Any] = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": size}
    activations: dict[str, Any] | None = None
    if form in IN_8_BITS:
        bits = {"num_bits": 8, "type": "int" if form == "int8" else "float"}
        weights = {**bits, "strategy": "channel", "group_size": None}
        activations = {**bits, "strategy": "token", "dynamic": True, "symmetric": True}
    return {
        "targets": targets,
        "weights": {**weights, "symmetric": True, "dynamic": False},
        "input_activations": activations,
        "output_activations": None,
        "format": FORMATS[form],
    }


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise EngineError("memory", f"{folder} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} GB are to be written")
