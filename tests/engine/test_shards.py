"""A checkpoint's files are judged by their headers, before anything of them is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from dgemma_engine.errors import EngineError
from dgemma_engine.shards import INDEX, SINGLE, check_weights, stored_dtype, weight_files

from .checkpoints import EMBEDDING


@pytest.fixture
def sharded(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint in two shards."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "sharded"))
    tensors = load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    weight_map = {}
    for number, part in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        name = f"model-{number:05}-of-00002.safetensors"
        save_file({tensor: tensors[tensor] for tensor in part}, folder / name)
        weight_map |= dict.fromkeys(part, name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def second(folder: Path) -> Path:
    return sorted(folder.glob("*-of-*"))[1]


def test_whole_shards_are_weighed(sharded: Path, tiny_checkpoint: Path) -> None:
    assert len(weight_files(sharded)) == 2
    assert check_weights(sharded) == sum(path.stat().st_size for path in sharded.glob("*.safetensors"))
    assert check_weights(tiny_checkpoint) == (tiny_checkpoint / SINGLE).stat().st_size
    assert stored_dtype(sharded, EMBEDDING) == "F32"
    assert stored_dtype(sharded, "nothing") is None


def rewrite_index(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        change(index["weight_map"])
        (folder / INDEX).write_text(json.dumps(index))

    return damage


def only_a_pickle(folder: Path) -> None:
    for path in [*folder.glob("*.safetensors"), folder / INDEX]:
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: second(folder).unlink(), "lacks model-00002-of-00002.safetensors of 2 shards"),
        (lambda folder: second(folder).write_bytes(second(folder).read_bytes()[:-1]), "its header promises"),
        (lambda folder: second(folder).write_bytes(second(folder).read_bytes() + b"\0"), "its header promises"),
        (lambda folder: second(folder).write_bytes(b"version https://git-lfs"), "no safetensors file, or a cut one"),
        (lambda folder: second(folder).write_bytes(b""), "no safetensors file, or a cut one"),
        (lambda folder: second(folder).write_bytes((2).to_bytes(8, "little") + b"[]"), "header is broken"),
        (lambda folder: second(folder).write_bytes((2).to_bytes(8, "little") + b"{]"), "header is broken"),
        (lambda folder: second(folder).write_bytes((7).to_bytes(8, "little") + b'{"a":1}'), "header is broken"),
        (lambda folder: (folder / INDEX).write_text("[]"), "not a safetensors index"),
        (rewrite_index(lambda names: names.update(a="../x.safetensors")), "not a shard in this folder"),
        (rewrite_index(lambda names: names.update(a="x.bin")), "not a shard in this folder"),
        (rewrite_index(lambda names: names.update(a=next(iter(names.values())))), "lacks a, which"),
        (only_a_pickle, "a pickle that can run code; convert it to safetensors"),
        (lambda folder: (folder / INDEX).unlink(), "has no model.safetensors and no model.safetensors.index.json"),
    ],
)
def test_what_is_not_whole_is_named(sharded: Path, damage: Callable[[Path], Any], said: str) -> None:
    damage(sharded)
    with pytest.raises(EngineError) as caught:
        check_weights(sharded)
    assert caught.value.code == "checkpoint"
    assert said in str(caught.value)
