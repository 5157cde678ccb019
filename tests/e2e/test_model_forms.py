"""Models in every form that they are published in, from the command line to a fill by the daemon."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli

FORM = {
    "experts one by one": "float32",
    "fp8": "fp8",
    "int8 beside experts": "float32",
    "int4": "int4",
    "int4 everywhere": "int4",
    "nvfp4": "nvfp4",
    "modelopt nvfp4": "nvfp4",
}


def filled(cli: Cli, *options: str) -> dict[str, Any]:
    """A fill by the daemon, and how the engine has the model that did it: its name and its dtype."""
    cli.file("f.py", "x = 1\n")
    ran = cli("fill", "f.py", "--at", "1:6", "--json", "--seed", "1", *options)
    assert ran.code == 0, ran
    # A folder is named to the engine by its whole path.
    names = {name := json.loads(ran.out)["model"], str(cli.folder / name)}
    (model,) = [one for one in json.loads(cli("engine", "status", "--json").out)["models"] if one["name"] in names]
    return model


@pytest.mark.parametrize("layout", FORM)
def test_a_published_layout_is_used_as_it_is(cli: Cli, tiny_checkpoint: Path, layout: str) -> None:
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is there from Python 3.11 on")
    from tests.engine.layouts import write_layout

    folder = cli.folder / "model"
    write_layout(tiny_checkpoint, folder, layout)
    used = json.loads(cli("model", "use", folder, "--json").out)
    assert used["fits"]
    try:
        model = filled(cli)
        assert model["name"] == str(folder)
        assert model["dtype"] == FORM[layout]
    finally:
        assert cli("model", "use", "nano").code == 0


def test_an_adapter_is_a_model(cli: Cli, tiny_checkpoint: Path) -> None:
    from tests.engine.test_adapters import SCOPES, save_adapter

    folder = cli.folder / "adapter"
    save_adapter(tiny_checkpoint, folder, **SCOPES["by name, each side its own"])
    config = folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": str(tiny_checkpoint)}))
    used = json.loads(cli("model", "use", folder, "--json").out)
    try:
        assert (used["folder"], used["adapter"]) == (str(tiny_checkpoint), str(folder))
        assert filled(cli)["name"] == str(folder)
    finally:
        assert cli("model", "use", "nano").code == 0


@pytest.mark.parametrize("precision", ["int4", "fp8"])
def test_a_model_is_quantised_once(cli: Cli, tiny_checkpoint: Path, precision: str) -> None:
    shutil.copytree(tiny_checkpoint, cli.folder / "source")
    ran = cli("model", "quantize", "source", "--precision", precision)
    assert ran.code == 0, ran
    assert [line.split()[0] for line in ran.out.splitlines()[1:4]] == ["0", "1", "2"]
    assert f"source@{precision} loads it from now on" in ran.out
    (kept,) = (cli.home.folder / "cache" / "dgemma-lsp" / "quantized").glob(f"source-*-{precision}")
    assert filled(cli, "--model", f"source@{precision}")["dtype"] == precision
    again = json.loads(cli("model", "quantize", "source", "--precision", precision, "--out", "here", "--json").out)
    assert (again["folder"], len(again["layers"])) == (str(cli.folder / "here"), 3)
    shard = "model-00001-of-00001.safetensors"
    assert (kept / shard).read_bytes() == (cli.folder / "here" / shard).read_bytes()
    assert filled(cli, "--model", "here")["dtype"] == precision


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "no checkpoint at"),
        (("source", "--out", "source"), "not empty: name another folder"),
        (("twice",), "quantise the original"),
    ],
)
def test_what_cannot_be_quantised_is_said(
    cli: Cli, tiny_checkpoint: Path, arguments: tuple[str, ...], said: str
) -> None:
    shutil.copytree(tiny_checkpoint, cli.folder / "source")
    if "twice" in arguments:
        assert cli("model", "quantize", "source", "--out", "twice").code == 0
    ran = cli("model", "quantize", *arguments)
    assert ran.code == 2, ran
    assert said in ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


def test_ways_of_decoding_are_compared(cli: Cli, tiny_checkpoint: Path) -> None:
    ran = cli("bench", "compare", "--model", tiny_checkpoint, "--json")
    assert ran.code == 0, ran
    found = json.loads(ran.out)
    arms = {(one["name"], one["batch"]) for one in found["arms"]}
    assert arms == {
        (name, batch) for name in ("diffusion", "diffusion, until it settles", "token by token") for batch in (1, 2, 4)
    }
    assert all(len(one["ms"]) == len(found["arms"][0]["ms"]) and min(one["ms"]) > 0 for one in found["arms"])
    assert (cli.folder / "build" / "bench" / "compare.svg").read_text().startswith("<svg")
    assert "against token by token" in (cli.folder / "build" / "bench" / "compare.md").read_text()


def test_what_is_no_autoregressive_model_is_refused(cli: Cli, tiny_checkpoint: Path) -> None:
    ran = cli("bench", "compare", "--model", tiny_checkpoint, "--autoregressive", cli.folder / "none")
    assert ran.code == 2, ran
    assert "is no autoregressive checkpoint here" in ran.err
