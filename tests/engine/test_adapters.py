"""LoRA adapters that PEFT saved: merged into ours, they give the logits that PEFT's model gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dgemma_engine.errors import EngineError
from dgemma_engine.model import DiffusionGemma, Rows, load_model
from dgemma_engine.model.load import Precision
from dgemma_engine.model.packing import quantize_fp8, quantize_int8
from dgemma_engine.model.quantized import QuantizedLinear
from dgemma_engine.model.recode import Smaller
from dgemma_engine.quantized_cache import make_quantized

from .reference import Oracle

NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROMPT = torch.arange(40).reshape(1, -1) % 300
CANVAS = torch.arange(32).flip(0).reshape(1, -1)
QUERY = "base_model.model.model.decoder.layers.0.self_attn.q_proj.lora_A.weight"

SCOPES: dict[str, dict[str, Any]] = {
    "by name, each side its own": {"target_modules": NAMES, "exclude_modules": ".*(vision_tower|embed_vision).*"},
    "the decoder's attention and MLP": {
        "target_modules": r".*model\.decoder\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
    },
    "the encoder alone": {"target_modules": r".*encoder\.language_model\.layers\.\d+\.self_attn\.[qv]_proj"},
    "rank-stabilised": {"target_modules": r".*decoder\.layers\.1\.mlp\.up_proj", "use_rslora": True},
    "ranks and alphas of their own": {
        "target_modules": r".*decoder\.layers\.\d+\.self_attn\.[qo]_proj",
        "rank_pattern": {"self_attn.q_proj": 2},
        "alpha_pattern": {"layers.1.self_attn.o_proj": 3},
    },
}


def save_adapter(base: Path, folder: Path, **config: Any) -> Any:
    """An adapter with random matrices in `folder`; returns transformers' model with it on."""
    model = peft.get_peft_model(Oracle(base).model, peft.LoraConfig(r=4, lora_alpha=8, **config))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=generator) / value.shape[-1] ** 0.5)
    model.save_pretrained(str(folder))
    return model.eval()


def ours(model: DiffusionGemma) -> Tensor:
    cache = model.new_cache()
    with torch.inference_mode():
        model.encode(PROMPT, cache)
        (hidden,) = model.forward([Rows(cache, CANVAS)])
        return model.logits(hidden)


def theirs(model: Any) -> Tensor:
    with torch.inference_mode():
        return model(input_ids=PROMPT, decoder_input_ids=CANVAS).logits


@pytest.mark.parametrize("scope", SCOPES)
def test_gives_the_logits_of_peft(tiny_checkpoint: Path, tmp_path: Path, scope: str) -> None:
    plain = ours(load_model(tiny_checkpoint, torch.float32))
    wanted = theirs(save_adapter(tiny_checkpoint, tmp_path, **SCOPES[scope]))
    found = ours(load_model(tiny_checkpoint, torch.float32, adapter=tmp_path))
    assert (wanted - plain).abs().max() > 0.1
    assert torch.allclose(found, wanted, atol=1e-4)


def test_one_forward_over_both_sides(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """What is kept rides with the canvas in one pass, each row with its own side's weights."""
    save_adapter(tiny_checkpoint, tmp_path, **SCOPES["by name, each side its own"])
    model = load_model(tiny_checkpoint, torch.float32, adapter=tmp_path)
    cache = model.new_cache()
    with torch.inference_mode():
        _, hidden = model.forward([Rows(cache, PROMPT, encoder=True, kept=True), Rows(cache, CANVAS)])
        assert torch.allclose(model.logits(hidden), ours(model), atol=1e-4)


@pytest.mark.parametrize(("precision", "quantized"), [("fp8", quantize_fp8), ("int4", quantize_int8)])
def test_what_is_quantised_on_the_way_is_merged_before(
    tiny_checkpoint: Path, tmp_path: Path, precision: Precision, quantized: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> None:
    save_adapter(tiny_checkpoint, tmp_path, **SCOPES["the decoder's attention and MLP"])
    merged = load_model(tiny_checkpoint, torch.float32, adapter=tmp_path)
    small = load_model(tiny_checkpoint, torch.float32, precision=precision, adapter=tmp_path)
    found = {name: one for name, one in small.named_modules() if isinstance(one, QuantizedLinear)}
    assert "layers.0.self_attn.q_proj.linear" in found, "the encoder has no adapter, and its rows a change of their own"
    for name, linear in found.items():
        wide: Any = merged.get_submodule(name)
        assert all(torch.equal(*pair) for pair in zip(quantized(wide.weight), linear.buffers(), strict=True)), name


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("stored", "precision"), [("fp8", None), ("fp8", "fp8"), ("int4", None), ("int4", "int4")])
def test_what_is_stored_in_8_bits_keeps_them_and_the_whole_change(
    tiny_checkpoint: Path, tmp_path: Path, scope: str, stored: Smaller, precision: Precision | None
) -> None:
    """Rounded to the same steps again, most of a change would be gone."""
    small = make_quantized(tiny_checkpoint, stored, tmp_path / "small")
    wide, adapter = load_model(small, torch.float32), tmp_path / "adapter"
    save_adapter(tiny_checkpoint, adapter, **SCOPES[scope])
    found = load_model(small, torch.float32, precision=precision, adapter=adapter)
    merged = load_model(small, torch.float32, precision="bf16", adapter=adapter)
    assert sum(isinstance(one, QuantizedLinear) for one in found.modules()) == sum(
        isinstance(one, QuantizedLinear) for one in wide.modules()
    )
    assert not any(isinstance(one, QuantizedLinear) for one in merged.modules())
    assert (ours(merged) - ours(wide)).abs().max() > 0.1
    assert torch.allclose(ours(found), ours(merged), atol=1e-3)


def edit_weights(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return damage


def edit_config(**fields: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return damage


def rename(tensors: dict[str, Tensor], to: str) -> None:
    tensors[to] = tensors.pop(QUERY)


def move(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if "layers.0" in name]:
        tensors[name.replace("layers.0", "layers.9")] = tensors.pop(name)


BROKEN: list[tuple[str, Callable[[Path], Any], str]] = [
    ("no config", lambda folder: (folder / "adapter_config.json").unlink(), "has no adapter_config.json"),
    ("no weights", lambda folder: (folder / "adapter_model.safetensors").unlink(), "No such file"),
    (
        "a pickle",
        lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
        "a pickle that can run code",
    ),
    ("not a LoRA", edit_config(peft_type="PREFIX_TUNING"), "is not that of a LoRA"),
    ("DoRA", edit_config(use_dora=True), "DoRA"),
    ("whole modules", edit_config(modules_to_save=["embed_tokens"]), "saved whole"),
    ("biases", edit_config(bias="all"), "bias is 'all'"),
    ("no alpha", edit_config(lora_alpha=None), "lora_alpha is None"),
    ("half a pair", edit_weights(lambda tensors: tensors.pop(QUERY)), "only one of lora_A and lora_B"),
    (
        "another shape",
        edit_weights(lambda tensors: tensors.update({QUERY: torch.zeros(4, 63)})),
        "changes a weight of [64, 63], ours is [64, 64]",
    ),
    ("another model", edit_weights(move), "layers.9.mlp.down_proj is no linear layer of the text model"),
    ("no matrix", edit_weights(lambda tensors: rename(tensors, "magnitude")), "magnitude is not a LoRA matrix"),
    ("integers", edit_weights(lambda tensors: tensors.update({QUERY: torch.zeros(4, 64).int()})), "I32"),
    ("nothing", edit_weights(lambda tensors: tensors.clear()), "changes nothing"),
]


@pytest.fixture(scope="module")
def adapter(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(tiny_checkpoint, folder, **SCOPES["the decoder's attention and MLP"])
    return folder


@pytest.mark.parametrize(("damage", "says"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_broken_adapters_are_refused(
    tiny_checkpoint: Path, adapter: Path, tmp_path: Path, damage: Callable[[Path], Any], says: str
) -> None:
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    with pytest.raises(EngineError) as caught:
        load_model(tiny_checkpoint, adapter=tmp_path)
    assert caught.value.code == "checkpoint"
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
