"""What a name stands for: a folder, an adapter and its base, a download that is there already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dgemma_engine.checkpoints import Checkpoint, find_checkpoint
from dgemma_engine.errors import EngineError

HUB_ID = "someone/tiny-diffusion-gemma"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def keep(hub: Path, source: Path, hub_id: str = HUB_ID) -> Path:
    """Put a checkpoint where a download would have."""
    kept = hub / f"models--{hub_id.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(source, kept / "snapshots" / COMMIT))


def adapter(folder: Path, base: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    return folder


def refusal(model: str) -> str:
    with pytest.raises(EngineError) as caught:
        find_checkpoint(model)
    assert caught.value.code == "checkpoint"
    return str(caught.value)


def test_a_folder_and_its_precision(tiny_checkpoint: Path) -> None:
    assert find_checkpoint(str(tiny_checkpoint)) == Checkpoint(tiny_checkpoint)
    assert find_checkpoint(f"{tiny_checkpoint}@int4") == Checkpoint(tiny_checkpoint, precision="int4")
    assert find_checkpoint("nano@bf16").precision == "bf16"


def test_a_download_is_found_by_its_hub_id(hub: Path, tiny_checkpoint: Path) -> None:
    assert f"run dgemma-lsp model use {HUB_ID}" in refusal(HUB_ID)
    folder = keep(hub, tiny_checkpoint)
    assert find_checkpoint(f"{HUB_ID}@fp8") == Checkpoint(folder, precision="fp8")
    (folder / "model.safetensors").unlink()
    assert f"dgemma-lsp model use {HUB_ID} gets the rest" in refusal(HUB_ID)


@pytest.mark.parametrize("commit", ["", "..", "../..", "main", "é"])
def test_a_revision_that_is_none_is_no_download(hub: Path, tiny_checkpoint: Path, commit: str) -> None:
    keep(hub, tiny_checkpoint)
    (hub / f"models--{HUB_ID.replace('/', '--')}" / "refs" / "main").write_text(commit)
    assert "is not on this machine" in refusal(HUB_ID)


def test_a_folder_comes_before_a_hub_id(
    hub: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(hub, tiny_checkpoint)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_checkpoint, HUB_ID)
    assert find_checkpoint(HUB_ID).folder.resolve() == tmp_path / HUB_ID


@pytest.mark.parametrize("place", ["beside", "absolute", "hub"])
def test_an_adapter_comes_with_its_base(hub: Path, tiny_checkpoint: Path, tmp_path: Path, place: str) -> None:
    base = keep(hub, tiny_checkpoint) if place == "hub" else Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    named = {"beside": "../base", "absolute": str(base), "hub": HUB_ID}[place]
    folder = adapter(tmp_path / "adapter", named)
    found = find_checkpoint(f"{folder}@int4")
    assert (found.folder.resolve(), found.adapter, found.precision) == (base, folder, "int4")


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("google/diffusiongemma-26B-A4B-it", "run dgemma-lsp model use google/diffusiongemma-26B-A4B-it"),
        ("nowhere/at/all", "no checkpoint at nowhere/at/all"),
        (None, "names no base model"),
        (1, "names no base model"),
        (".", "an adapter too"),
    ],
)
def test_an_adapter_without_a_base_is_refused(hub: Path, tmp_path: Path, base: object, said: str) -> None:
    assert said in refusal(str(adapter(tmp_path / "adapter", base)))
