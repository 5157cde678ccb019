"""Checkpoints quantised once and kept: what is written, when it is used, and what an accident leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dgemma_engine.engine import Engine
from dgemma_engine.errors import EngineError
from dgemma_engine.model import load_model
from dgemma_engine.model.quantized import Quantized, QuantizedLinear
from dgemma_engine.model.recode import Smaller
from dgemma_engine.quantized_cache import cache_folder, find_quantized, make_quantized

PRECISIONS: tuple[Smaller, ...] = ("int4", "fp8")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "source"))


def banks(model: torch.nn.Module) -> dict[str, Quantized]:
    return {name: bank for name, bank in model.named_modules() if isinstance(bank, Quantized)}


def dense(model: torch.nn.Module) -> dict[str, QuantizedLinear]:
    return {name: linear for name, linear in model.named_modules() if isinstance(linear, QuantizedLinear)}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_kept_is_what_loading_makes(source: Path, precision: Smaller) -> None:
    kept, made = load_model(make_quantized(source, precision)), load_model(source, precision=precision)
    assert len(banks(kept)) == 6
    assert dense(kept)
    for (name, one), (again, other) in zip(kept.state_dict().items(), made.state_dict().items(), strict=True):
        assert name == again
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_others_read_it(source: Path, precision: Smaller) -> None:
    """compressed-tensors unpacks what was written to what is run here."""
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is there from Python 3.11 on")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    folder = make_quantized(source, precision)
    config = QuantizationConfig.model_validate(json.loads((folder / "config.json").read_text())["quantization_config"])
    tensors = load_file(folder / "model-00001-of-00001.safetensors")
    model = load_model(folder)
    schemes: list[Any] = list(config.config_groups.values())

    def theirs(prefix: str) -> torch.Tensor:
        (scheme,) = [one for one in schemes if any(re.match(target[3:], prefix) for target in one.targets)]
        compressor: Any = BaseCompressor.get_value_from_registry(scheme.format)
        state = {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(prefix)}
        return compressor.decompress(state, scheme)["weight"].float()

    found = banks(model)["layers.1.experts.down_proj"][3].float()
    assert torch.allclose(found, theirs("model.decoder.layers.1.experts.3.down_proj"), rtol=2**-7)
    assert len(dense(model)) > 20
    for name, linear in dense(model).items():
        assert torch.allclose(linear.wide.float(), theirs(f"model.decoder.{name}"), rtol=2**-7), name
    plain = [name for name, value in load_file(source / "model.safetensors").items() if "vision" in name]
    plain += ["model.decoder.layers.1.router.proj.weight", "model.decoder.embed_tokens.weight"]
    assert len(plain) > 2
    assert set(plain) <= set(tensors)
    targets = [target[3:] for scheme in schemes for target in scheme.targets]
    assert not [name for name in plain if any(re.match(target, name.removesuffix(".weight")) for target in targets)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_error_of_each_layer_is_told(source: Path, precision: Smaller) -> None:
    told: list[Any] = []
    shares: list[float] = []
    folder = make_quantized(source, precision, on_layer=told.append, on_progress=shares.append)
    plain, small = load_model(source), load_model(folder)
    assert [one.layer for one in told] == [0, 1, 2]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    widened = {name: linear.wide for name, linear in dense(small).items()}
    for one in told:
        mine = [name for name in widened if name.startswith(f"layers.{one.layer}.")]
        weights: Any = [plain.get_parameter(f"{name}.weight") for name in mine]
        off = sum(float((widened[name] - weight).square().sum()) for name, weight in zip(mine, weights, strict=True))
        whole = sum(float(weight.square().sum()) for weight in weights)
        assert one.dense == pytest.approx((off / whole) ** 0.5, rel=1e-4)
        assert 0 < one.dense < (0.03 if precision == "fp8" else 0.01)
        wide: Any = plain.get_submodule(f"layers.{one.layer}.experts").get_parameter("down_proj")
        found = torch.stack([banks(small)[f"layers.{one.layer}.experts.down_proj"][expert] for expert in range(4)])
        assert one.down == pytest.approx(float((found - wide).norm() / wide.norm()), rel=1e-4)
        assert 0 < one.gate_up < (0.03 if precision == "fp8" else 0.11)


def test_a_model_that_is_named_with_its_precision_takes_what_is_kept(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_quantized(source, "int4")
    monkeypatch.setattr("dgemma_engine.model.load.quantize", lambda *_: pytest.fail("it is quantised again"))
    assert len(banks(Engine.load(f"{source}@int4").model)) == 6
    assert not banks(Engine.load(f"{source}@bf16").model)
    # The same bytes with another time, as a copy has them.
    os.utime(source / "model.safetensors")
    assert len(banks(Engine.load(f"{source}@int4").model)) == 6


def test_one_that_was_kept_with_plain_dense_layers_is_loaded_like_the_others(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier versions wrote them, with fewer values a scale too."""
    with monkeypatch.context() as patch:
        patch.setattr("dgemma_engine.model.packing.GROUP", 16)
        shard = make_quantized(source, "int4") / "model-00001-of-00001.safetensors"
    tensors, plain = load_file(shard), load_file(source / "model.safetensors")
    for name in {*tensors} & {*plain}:
        tensors.pop(f"{name}_scale", None)
        tensors[name] = plain[name]
    save_file(tensors, shard, metadata={"format": "pt"})
    index = {"weight_map": dict.fromkeys(tensors, shard.name)}
    (shard.parent / "model.safetensors.index.json").write_text(json.dumps(index))
    model, fresh = Engine.load(f"{source}@int4").model, load_model(source, precision="int4")
    assert {bank.parts[1].shape[-1] for bank in banks(model).values()} == {64 // 16, 32 // 16}
    assert dense(model).keys() == dense(fresh).keys()
    assert all(torch.equal(one.values, dense(fresh)[name].values) for name, one in dense(model).items())


def spoil_weights(source: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["model.decoder.layers.0.experts.down_proj"] *= 2
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "accident",
    [
        spoil_weights,
        lambda source: (kept(source) / "quantized_from.json").write_text("{"),
        lambda source: (kept(source) / "quantized_from.json").write_text('{"format": 1, "precision": "int4"}'),
        lambda source: (kept(source) / "quantized_from.json").unlink(),
        lambda source: cut(kept(source) / "model-00001-of-00001.safetensors"),
        lambda source: (kept(source) / "model-00001-of-00001.safetensors").unlink(),
        lambda source: shutil.rmtree(kept(source)),
    ],
    ids=["other weights", "stamp cut", "stamp empty", "no stamp", "weights cut", "no weights", "gone"],
)
def test_what_does_not_fit_its_source_is_not_used(source: Path, accident: Any) -> None:
    make_quantized(source, "int4")
    assert find_quantized(source, "int4") is not None
    accident(source)
    assert find_quantized(source, "int4") is None
    fresh = banks(Engine.load(f"{source}@int4").model)["layers.0.experts.down_proj"]
    wide = load_file(source / "model.safetensors")["model.decoder.layers.0.experts.down_proj"]
    assert (fresh[0] - wide[0]).norm() < 0.11 * wide[0].norm()


def kept(source: Path) -> Path:
    return cache_folder(source, "int4")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_an_interrupted_one_leaves_nothing(source: Path, cache: Path) -> None:
    def stop(error: Any) -> None:
        if error.layer == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_quantized(source, "int4", on_layer=stop)
    assert not list(cache.rglob("*.*"))
    assert find_quantized(source, "int4") is None


def test_a_full_disk_is_known_before(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(source)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(EngineError, match=r"0\.0 GB free") as caught:
        make_quantized(source, "int4")
    assert caught.value.code == "memory"
    assert not list(cache.rglob("*.*"))


def test_a_folder_that_holds_something_is_left_alone(source: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not empty"):
        make_quantized(source, "int4", source)
    (tmp_path / "empty").mkdir()
    assert make_quantized(source, "int4", tmp_path / "empty") == tmp_path / "empty"
    assert find_quantized(source, "int4") is None


def test_what_is_quantised_is_not_quantised_again(source: Path, tmp_path: Path) -> None:
    once = make_quantized(source, "fp8")
    with pytest.raises(EngineError, match="fp8 already; quantise the original"):
        make_quantized(once, "int4", tmp_path / "twice")


def test_two_sources_of_one_name_do_not_meet(source: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(source, tmp_path / "elsewhere" / "source"))
    assert make_quantized(source, "int4") != make_quantized(other, "int4")


@pytest.mark.parametrize(("name", "status", "event"), [("nano", 0, "quantized"), ("nowhere", 1, "failed")])
def test_the_module_says_what_it_does(name: str, status: int, event: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dgemma_engine.quantize", name, "int4", str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == status, ran.stderr
    assert events[-1]["event"] == event
    assert sum(one["event"] == "layer" for one in events) == (6 if status == 0 else 0)
