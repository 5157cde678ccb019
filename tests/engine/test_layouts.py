"""The published quantised layouts, packed by compressed-tensors: what is loaded is what the library unpacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dgemma_engine import wire
from dgemma_engine.engine import Engine
from dgemma_engine.errors import EngineError
from dgemma_engine.model import DiffusionGemma, Rows, load_model
from dgemma_engine.model.load import Precision, stored_name
from dgemma_engine.model.quantized import DenseForm, Quantized, QuantizedLinear
from dgemma_engine.model.sources import DENSE

pytest.importorskip("compressed_tensors", reason="compressed-tensors is there from Python 3.11 on")

from .layouts import LAYOUTS, unfused, write_layout

PROMPT = torch.arange(40).reshape(1, -1) % 300
CANVAS = torch.arange(32).flip(0).reshape(1, -1)
STORED_FORM = {
    "experts one by one": None,
    "fp8": "fp8",
    "int8 beside experts": None,
    "int4": "int4",
    "int4 everywhere": "int4",
    "nvfp4": "nvfp4",
    "modelopt nvfp4": "nvfp4",
}


def weights(model: DiffusionGemma) -> dict[str, Tensor]:
    """Every matrix in floating point, by stored name, experts one by one."""
    out: dict[str, Tensor] = {}
    small = {name: one for name, one in model.named_modules() if isinstance(one, QuantizedLinear)}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if ".experts." not in name and name.rpartition(".")[0] not in small:
            out[stored_name(name)] = value
    out |= {stored_name(f"{name}.weight"): one.wide for name, one in small.items()}
    for number in range(len(model.layers)):
        for bank_name in ("gate_up_proj", "down_proj"):
            bank: Any = model.get_submodule(f"layers.{number}.experts").__getattr__(bank_name)
            fused = torch.stack([bank[expert] for expert in range(model.config.experts)])
            out |= unfused({f"model.decoder.layers.{number}.experts.{bank_name}": fused})
    return out


def dense_names(model: DiffusionGemma) -> list[str]:
    """Of linear layers that may be in 8 bits, in any form."""
    modules = [name.removesuffix(".linear") for name, _ in model.named_modules()]
    return [name for name in modules if DENSE.fullmatch(f"{name}.weight")]


def in_8_bits(model: DiffusionGemma) -> int:
    return sum(isinstance(one, QuantizedLinear) for one in model.modules())


def logits(model: DiffusionGemma) -> Tensor:
    cache = model.new_cache()
    with torch.inference_mode():
        model.encode(PROMPT, cache)
        (hidden,) = model.forward([Rows(cache, CANVAS)])
        return model.logits(hidden)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loads_what_the_library_unpacks(tiny_checkpoint: Path, tmp_path: Path, layout: str) -> None:
    wanted = write_layout(tiny_checkpoint, tmp_path, layout)
    model = load_model(tmp_path)
    found = weights(model)
    assert len(found) == len(weights(load_model(tiny_checkpoint)))
    for name in found:
        assert torch.allclose(found[name].float(), wanted[name].float(), rtol=2**-7, atol=1e-6), name
    forms = {bank.form for bank in model.modules() if isinstance(bank, Quantized)}
    assert forms == ({STORED_FORM[layout]} if STORED_FORM[layout] else set())
    # Of self-conditioning the published FP8 is plain.
    assert in_8_bits(model) == (len(dense_names(model)) - 3 if layout in ("fp8", "int8 beside experts") else 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_runs_as_its_unpacked_weights_do(tiny_checkpoint: Path, tmp_path: Path, layout: str) -> None:
    write_layout(tiny_checkpoint, tmp_path, layout)
    packed, wide = load_model(tmp_path, torch.float32), load_model(tmp_path, torch.float32, precision="bf16")
    assert not any(isinstance(bank, Quantized) for bank in wide.modules())
    assert torch.allclose(logits(packed), logits(wide), atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fills(tiny_checkpoint: Path, tmp_path: Path, layout: str) -> None:
    write_layout(tiny_checkpoint, tmp_path, layout)
    text = wire.MaskedText(("first line\n", wire.Hole(4), "\nlast line\n"))
    filled = Engine.load(str(tmp_path)).fill(text, seed=1)
    assert len(filled.candidates[0].texts) == 1


@pytest.mark.parametrize(("precision", "error", "beside"), [("fp8", 0.03, 0.03), ("int4", 0.11, 0.01)])
@pytest.mark.parametrize("layout", ["experts one by one", "nvfp4", "fp8"])
def test_quantises_on_the_way(
    tiny_checkpoint: Path, tmp_path: Path, layout: str, precision: Precision, error: float, beside: float
) -> None:
    """Of experts and of what is beside them; what is in 8 bits already is not rounded again."""
    wanted = write_layout(tiny_checkpoint, tmp_path, layout)
    model = load_model(tmp_path, precision=precision)
    assert {bank.form for bank in model.modules() if isinstance(bank, Quantized)} == {precision}
    assert in_8_bits(model) == len(dense_names(model))
    for name, found in weights(model).items():
        off = (found.float() - wanted[name].float()).norm() / wanted[name].float().norm()
        dense = DENSE.fullmatch(name.removeprefix("model.decoder."))
        assert off <= (error if ".experts." in name else beside if dense else 0.005), name


@pytest.mark.parametrize("layout", ["experts one by one", "fp8", "int8 beside experts"])
@pytest.mark.parametrize("precision", ["bf16", "fp8", "int4", None])
@pytest.mark.parametrize("dense", ["plain", "fp8", "int8"])
def test_dense_layers_are_held_as_asked(
    tiny_checkpoint: Path, tmp_path: Path, layout: str, precision: Precision | None, dense: DenseForm
) -> None:
    wanted = write_layout(tiny_checkpoint, tmp_path, layout)
    model = load_model(tmp_path, torch.float32, precision=precision, dense=dense)
    assert in_8_bits(model) == (0 if dense == "plain" else len(dense_names(model)))
    banks = {bank.form for bank in model.modules() if isinstance(bank, Quantized)}
    assert banks == {precision or STORED_FORM[layout]} - {"bf16", None}
    for name, found in weights(model).items():
        if DENSE.fullmatch(name.removeprefix("model.decoder.")):
            off = (found - wanted[name].float()).norm() / wanted[name].float().norm()
            exact = dense == "plain" or (layout != "experts one by one" and "self_conditioning" not in name)
            assert off <= (0.005 if exact else 0.01 if dense == "int8" else 0.03), name


def test_int4_is_no_worse_than_the_librarys(tiny_checkpoint: Path, tmp_path: Path) -> None:
    truth = unfused(load_file(tiny_checkpoint / "model.safetensors"))
    theirs = write_layout(tiny_checkpoint, tmp_path, "int4")
    ours = weights(load_model(tiny_checkpoint, precision="int4"))
    names = [name for name in truth if ".experts." in name]
    assert names

    def error(found: dict[str, Tensor]) -> float:
        return sum(float((found[name].float() - truth[name]).square().sum()) for name in names)

    assert error(ours) < error(theirs)


EXPERT = "model.decoder.layers.1.experts.2.up_proj"
BESIDE = "model.decoder.layers.1.mlp.up_proj"
BROKEN = [
    ("a matrix is missing", "int4", f"{EXPERT}.weight_packed", None, f"lacks {EXPERT}.weight"),
    ("a scale is missing", "int4", f"{EXPERT}.weight_scale", None, f"{EXPERT}.weight_packed is int32"),
    ("a scale is missing", "fp8", f"{EXPERT}.weight_scale", None, f"{EXPERT}.weight is float8_e4m3fn"),
    ("the whole's scale is missing", "nvfp4", f"{EXPERT}.weight_global_scale", None, f"{EXPERT}.weight_packed is"),
    ("zero points", "int4", f"{EXPERT}.weight_zero_point", torch.zeros(4, dtype=torch.int32), "only symmetric"),
    ("an order of its own", "int4", f"{EXPERT}.weight_g_idx", torch.zeros(64, dtype=torch.int32), "only symmetric"),
    ("blocks", "fp8", f"{EXPERT}.weight_scale", torch.ones(2, 2), "only a scale for each row"),
    ("groups that do not fit", "int4", f"{EXPERT}.weight_scale", torch.ones(32, 3), "fits no groups"),
    ("another shape", "int4", f"{EXPERT}.weight_packed", torch.zeros(32, 4, dtype=torch.int32), "config.json asks for"),
    ("experts in int8", "fp8", f"{EXPERT}.weight", torch.zeros(32, 64, dtype=torch.int8), "is int8; of experts"),
    ("a scale is missing", "int8 beside experts", f"{BESIDE}.weight_scale", None, f"{BESIDE}.weight is int8"),
]


@pytest.mark.parametrize(("layout", "name", "value", "says"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_broken_layouts_are_refused(
    tiny_checkpoint: Path, tmp_path: Path, layout: str, name: str, value: Tensor | None, says: str
) -> None:
    write_layout(tiny_checkpoint, tmp_path, layout)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(EngineError) as caught:
        load_model(tmp_path)
    assert caught.value.code == "checkpoint"
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
