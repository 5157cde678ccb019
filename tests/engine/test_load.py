"""What a checkpoint folder may look like, and what is said of one that is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine.errors import EngineError
from dgemma_engine.model import load_model
from dgemma_engine.model.config import parse_config
from dgemma_engine.model.stored import Stored

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
QUERY = "model.decoder.layers.0.self_attn.q_proj.weight"
SCALAR = "model.encoder.language_model.layers.1.layer_scalar"

Damage = Callable[[Path], Any]


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def edit_config(**changes: Any) -> Damage:
    """Set fields of `text_config`, or of the top level with a name that starts with `root_`; None deletes."""

    def damage(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            place = config if name.startswith("root_") else config["text_config"]
            place[name.removeprefix("root_")] = value
            if value is None:
                del place[name.removeprefix("root_")]
        path.write_text(json.dumps(config), encoding="utf-8")

    return damage


def edit_tensors(change: Callable[[dict[str, Tensor]], Any]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = safetensors.torch.load_file(folder / WEIGHTS)
        change(tensors)
        safetensors.torch.save_file(tensors, folder / WEIGHTS)

    return damage


def set_tensor(name: str, make: Callable[[Tensor], Tensor]) -> Damage:
    return edit_tensors(lambda tensors: tensors.update({name: make(tensors[name]).contiguous()}))


def cut(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])


def only_a_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def shard(folder: Path, shards: int = 3) -> dict[str, str]:
    """Spread the weights over `shards` files and an index; returns its weight map."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    weight_map = {name: names[place % shards] for place, name in enumerate(sorted(tensors))}
    for name in names:
        part = {key: value for key, value in tensors.items() if weight_map[key] == name}
        safetensors.torch.save_file(part, folder / name)
    write_index(folder, weight_map)
    return weight_map


def write_index(folder: Path, weight_map: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


def point_shard_at(name: Any) -> Damage:
    """An index that says one tensor is in `name`, beside the folder that holds a good file of that name."""

    def damage(folder: Path) -> None:
        weight_map = shard(folder)
        shutil.copy(folder / weight_map[QUERY], folder.parent / "outside.safetensors")
        write_index(folder, weight_map | {QUERY: name})

    return damage


REQUIRED = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "layer_types", "sliding_window"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "rope_parameters", "max_position_embeddings"),
    *(
        "num_experts",
        "top_k_experts",
        "moe_intermediate_size",
        "pad_token_id",
        "eos_token_id",
        "bos_token_id",
    ),
)

BROKEN: list[tuple[str, Damage, str]] = [
    ("no-folder", shutil.rmtree, "is not a folder"),
    ("no-config", lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    ("config-cut", lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    (
        "config-bytes",
        lambda folder: (folder / "config.json").write_bytes(b"\xff"),
        "config.json cannot be read",
    ),
    (
        "config-list",
        lambda folder: (folder / "config.json").write_text("[]"),
        "config.json is not a JSON object",
    ),
    ("other-model", edit_config(root_model_type="gemma3"), "model_type is 'gemma3'"),
    ("no-model-type", edit_config(root_model_type=None), "model_type is None"),
    ("no-text-config", edit_config(root_text_config=None), "text_config is missing"),
    *((f"no-{name}", edit_config(**{name: None}), f"text_config.{name} is missing") for name in REQUIRED),
    ("no-experts", edit_config(num_experts=0), "num_experts"),
    (
        "all-bidirectional",
        edit_config(use_bidirectional_attention="all"),
        "use_bidirectional_attention='all'",
    ),
    ("untied", edit_config(root_tie_word_embeddings=False), "tie_word_embeddings is false"),
    ("untied-text", edit_config(tie_word_embeddings=False), "tie_word_embeddings is false"),
    ("other-activation", edit_config(hidden_activation="silu"), "hidden_activation 'silu'"),
    ("biases", edit_config(attention_bias=True), "attention_bias"),
    ("layer-count", edit_config(num_hidden_layers=4), "layer_types names 3 layers, num_hidden_layers is 4"),
    (
        "layer-kind",
        edit_config(layer_types=["full_attention", "linear"] * 2, num_hidden_layers=4),
        "'linear'",
    ),
    ("odd-heads", edit_config(num_attention_heads=5), "5 heads over 2 kv heads"),
    ("rope-kind", edit_config(rope_parameters={"full_attention": {"rope_type": "yarn"}}), "rope_parameters"),
    (
        "rope-theta",
        edit_config(rope_parameters={"full_attention": {"rope_type": "default"}}),
        "rope_parameters",
    ),
    ("too-many-chosen", edit_config(top_k_experts=5), "top_k_experts"),
    ("text-for-a-number", edit_config(hidden_size="64"), "hidden_size"),
    ("no-tensor", edit_tensors(lambda tensors: tensors.pop(QUERY)), f"lacks {QUERY}"),
    ("no-scalar", edit_tensors(lambda tensors: tensors.pop(SCALAR)), f"lacks {SCALAR}"),
    ("no-tensors", edit_tensors(lambda tensors: tensors.clear()), "more"),
    (
        "narrow-tensor",
        set_tensor(QUERY, lambda value: value[:, 1:]),
        f"{QUERY} is [64, 63], config.json asks for",
    ),
    ("other-shape", edit_config(intermediate_size=96), "config.json asks for [96, 64]"),
    ("integers", set_tensor(QUERY, lambda value: value.to(torch.int8)), f"{QUERY} is int8"),
    (
        "eight-bit",
        set_tensor(QUERY, lambda value: value.to(torch.float8_e4m3fn)),
        f"{QUERY} is float8_e4m3fn",
    ),
    ("cut", cut, "download or copy it again"),
    ("empty", lambda folder: (folder / WEIGHTS).write_bytes(b""), "is no safetensors file"),
    ("no-weights", lambda folder: (folder / WEIGHTS).unlink(), "has no model.safetensors"),
    ("pickle", only_a_pickle, "pytorch_model.bin, a pickle"),
    ("index-cut", lambda folder: (folder / INDEX).write_text("{"), "is not a safetensors index"),
    ("index-empty", lambda folder: (folder / INDEX).write_text("{}"), "is not a safetensors index"),
    ("index-list", lambda folder: write_index(folder, ["a"]), "is not a safetensors index"),
    ("index-numbers", lambda folder: write_index(folder, {QUERY: 5}), "is not a safetensors index"),
    ("missing-shard", point_shard_at("model-00009-of-00009.safetensors"), "model-00009-of-00009.safetensors"),
    ("shard-above", point_shard_at("../outside.safetensors"), "'../outside.safetensors'"),
    ("shard-elsewhere", point_shard_at("/etc/passwd"), "'/etc/passwd'"),
    ("shard-pickle", point_shard_at("pytorch_model.bin"), "pytorch_model.bin"),
]


@pytest.mark.parametrize(("damage", "says"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_broken_checkpoint(folder: Path, damage: Damage, says: str) -> None:
    damage(folder)
    with pytest.raises(EngineError) as caught:
        load_model(folder)
    assert caught.value.code == "checkpoint"
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickle_is_never_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    monkeypatch.setattr(torch, "load", lambda *_: pytest.fail("torch.load was called"))
    with pytest.raises(EngineError, match="convert it to safetensors"):
        load_model(folder)


def test_loads_what_was_written(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    stored = safetensors.torch.load_file(tiny_checkpoint / WEIGHTS)
    assert model.dtype == torch.float32
    assert not model.training
    assert not any(value.requires_grad for value in model.parameters())
    assert torch.equal(model.embed_tokens.weight, stored["model.decoder.embed_tokens.weight"])
    assert torch.equal(model.get_buffer("layers.1.encoder_scalar"), stored[SCALAR])
    assert torch.equal(model.get_buffer("layers.1.layer_scalar"), stored["model.decoder.layers.1.layer_scalar"])
    filler = json.loads((tiny_checkpoint / "tokenizer.json").read_text())["model"]["vocab"]["<|filler|>"]
    assert model.config.traits.filler_id == filler
    assert model.config.traits.pinned_signal == "embedding"
    assert model.config.traits.context == 256


def test_shards(folder: Path, tiny_checkpoint: Path) -> None:
    shard(folder)
    assert same_weights(load_model(folder), load_model(tiny_checkpoint))


def test_shards_may_be_links(folder: Path, tiny_checkpoint: Path) -> None:
    """A hub cache's snapshot folder holds links to the blobs."""
    for number, name in enumerate(sorted(set(shard(folder).values()))):
        (folder / name).rename(folder.parent / f"blob{number}")
        (folder / name).symlink_to(folder.parent / f"blob{number}")
    assert same_weights(load_model(folder), load_model(tiny_checkpoint))


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("asked", [None, torch.bfloat16, torch.float32])
def test_dtypes(folder: Path, tiny_checkpoint: Path, stored: torch.dtype, asked: torch.dtype | None) -> None:
    edit_tensors(lambda tensors: tensors.update({name: value.to(stored) for name, value in tensors.items()}))(folder)
    wanted = {name: value.to(stored) for name, value in load_model(tiny_checkpoint).state_dict().items()}
    for name, value in load_model(folder, asked).state_dict().items():
        assert value.dtype == (asked or stored)
        assert torch.equal(value, wanted[name].to(value.dtype))


def test_vision_is_skipped_unread(folder: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if "vision" in name]:
            tensors[name] = torch.full((3, 1), -1, dtype=torch.int8)
        tensors["model.encoder.vision_tower.anything.weight"] = torch.zeros(0)

    read: list[str] = []
    real_read = Stored.read_into

    def watched(stored: Stored, out: Tensor, first: int = 0) -> None:
        read.append(stored.name)
        real_read(stored, out, first)

    edit_tensors(spoil)(folder)
    monkeypatch.setattr(Stored, "read_into", watched)
    assert same_weights(load_model(folder), load_model(tiny_checkpoint))
    assert read
    assert not [name for name in read if "vision" in name]


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    wanted = other.state_dict()
    return all(torch.equal(value, wanted[name]) for name, value in one.state_dict().items())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.sampled_from(["", "all", "full_attention"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["0", "full_attention", "rope_type"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_config_crashes(tiny_checkpoint: Path, data: st.DataObject) -> None:
    """One field of config.json replaced by any JSON value: shapes, or a refusal that names the place."""
    config = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    place = data.draw(st.sampled_from([config, config["text_config"], config["dgemma"]]))
    field = data.draw(st.sampled_from(sorted(place)))
    place[field] = data.draw(JSON_VALUES)
    refusal = None
    try:
        parse_config(config, "here/config.json")
    except EngineError as error:
        refusal = error
    assert refusal is None or (refusal.code, str(refusal)[:18]) == ("checkpoint", "here/config.json: ")
