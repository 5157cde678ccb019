"""Whether a bundled checkpoint is whole is seen from its files."""

from __future__ import annotations

import hashlib
import json

import pytest

from dgemma_lsp import models

HEADER = json.dumps(
    {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)


@pytest.mark.parametrize(
    ("weights", "missing", "problem"),
    [
        (WEIGHTS, None, None),
        (WEIGHTS, "config.json", "config.json missing"),
        (None, None, "model.safetensors missing"),
        (
            WEIGHTS[:-1],
            None,
            f"model.safetensors has {len(WEIGHTS) - 1} bytes, its header wants {len(WEIGHTS)}",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", None, "no safetensors file"),
        (b"", None, "no safetensors file"),
        ((4).to_bytes(8, "little") + b"[1, " + bytes(9), None, "header of model.safetensors is broken"),
        ((2).to_bytes(8, "little") + b"[]", None, "header of model.safetensors is broken"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_named(tmp_path, monkeypatch, weights, missing, problem):
    monkeypatch.setattr(models, "package_folder", lambda: tmp_path)
    nano = tmp_path / "nano"
    nano.mkdir()
    for name in models.FILES:
        if name != missing:
            (nano / name).write_bytes(b"{}")
    if weights is None:
        (nano / "model.safetensors").unlink()
    else:
        (nano / "model.safetensors").write_bytes(weights)
    (checkpoint,) = models.bundled()
    assert (checkpoint.name, checkpoint.folder) == ("nano", nano)
    assert checkpoint.size == len(weights or b"")
    if problem is None:
        assert checkpoint.problem is None
        assert models.sha256(checkpoint) == hashlib.sha256(WEIGHTS).hexdigest()
    else:
        assert checkpoint.problem is not None
        assert problem in checkpoint.problem


def test_the_package_is_found_without_importing_the_engine():
    assert (models.package_folder() / "engine.py").is_file()
