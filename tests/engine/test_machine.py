"""What a machine can run: the estimate against published arithmetic, the advice, and the tool that tells."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from dgemma_engine import kernels
from dgemma_engine import rates as measuring
from dgemma_engine.estimate import Rates, parts, pass_ms
from dgemma_engine.footprint import Footprint
from dgemma_engine.machine import model_report
from dgemma_engine.model.config import parse_config
from dgemma_engine.released import released_config

RELEASED = Footprint(parse_config(released_config()))
H200 = Rates(4.3e12, 790e12)
GB = 10**9


@pytest.mark.parametrize(("canvas", "ms"), [(256, 13.2), (128, 12.4), (64, 12.1)])
def test_a_pass_takes_what_was_computed(canvas: int, ms: float) -> None:
    assert pass_ms(RELEASED, "bf16", canvas, H200) == pytest.approx(ms, abs=0.1)


def test_groups_of_64_take_what_was_computed() -> None:
    assert pass_ms(RELEASED, "int4", 256, H200) == pytest.approx(5.4, abs=0.1)


@pytest.mark.parametrize(("canvas", "ms"), [(256, 7.4), (128, 6.7), (64, 6.5)])
def test_linear_layers_in_8_bits_would_take_what_was_computed(canvas: int, ms: float) -> None:
    """At twice the rate; the engine multiplies what it widened, at the rate of bf16."""
    linear = {"attention projections", "dense MLP", "self-conditioning"}
    found = parts(RELEASED, "fp8", canvas)
    halved = [evolve(one, flops=one.flops / 2) if one.name in linear else one for one in found]
    assert 1000 * sum(one.seconds(H200) for one in halved) == pytest.approx(ms, abs=0.1)
    assert -0.1 < pass_ms(RELEASED, "fp8", canvas, H200) - ms < 0.5


def test_its_parts_are_those_of_the_network() -> None:
    found = {part.name: part for part in parts(RELEASED, "bf16", 256)}
    flops = {name: round(part.flops / 1e9) for name, part in found.items()}
    assert flops == {
        "experts": 731,
        "attention projections": 568,
        "logits": 378,
        "soft embedding": 378,
        "dense MLP": 274,
        "attention": 231,
        "self-conditioning": 9,
    }
    assert round(found["experts"].bytes / 1e9, 1) == 46.6
    assert sum(part.bytes for part in found.values()) / 1e9 == pytest.approx(53.9, abs=0.3)


@given(st.integers(1, 256), st.floats(1e9, 1e13), st.floats(1e10, 1e15))
def test_a_better_machine_is_never_slower(canvas: int, copy: float, matrix: float) -> None:
    rates = Rates(copy, matrix)
    for precision in ("bf16", "fp8", "int4"):
        base = pass_ms(RELEASED, precision, canvas, rates)
        assert pass_ms(RELEASED, precision, canvas, Rates(2 * copy, matrix)) <= base
        assert pass_ms(RELEASED, precision, canvas, Rates(copy, 2 * matrix)) <= base
        assert pass_ms(RELEASED, precision, canvas + 1, rates) >= base
    assert pass_ms(RELEASED, "int4", canvas, rates) <= pass_ms(RELEASED, "bf16", canvas, rates)


def advice(free: float, total: float, kind: str = "cuda", name: str = "a/b") -> str:
    return "; ".join(model_report(name, RELEASED, int(free), int(total), H200, kind)["advice"])


@pytest.mark.parametrize(
    ("free", "total", "kind", "said"),
    [
        (78 * GB, 80 * GB, "cuda", ""),
        (40 * GB, 80 * GB, "cuda", "close what holds 12.7 GB of the 40.0 GB of GPU memory in use, and bf16 fits"),
        (20 * GB, 48 * GB, "cuda", "close what holds 8.2 GB of the 28.0 GB of GPU memory in use, and fp8 fits"),
        (22 * GB, 24 * GB, "cuda", ""),
        (12 * GB, 24 * GB, "cuda", "close what holds 5.5 GB of the 12.0 GB of GPU memory in use, and int4 fits"),
        (7 * GB, 8 * GB, "cuda", "int4 with a window of 1024 tokens takes 15.9 GB of GPU memory; nano runs here"),
        (78 * GB, 80 * GB, "cpu", "wants a GPU"),
    ],
)
def test_what_to_change_is_said(monkeypatch: pytest.MonkeyPatch, free: int, total: int, kind: str, said: str) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    found = advice(free, total, kind)
    assert said in found if said else found == ""


def test_a_driver_without_its_torch_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert "install torch for CUDA" in advice(60 * GB, 64 * GB, "cpu")
    assert "install torch" not in advice(60 * GB, 64 * GB, "cuda")


def test_a_report_has_a_row_for_each_precision() -> None:
    report = model_report("a/b", RELEASED, 24 * GB, 24 * GB, H200, "cuda")
    rows = {row["precision"]: row for row in report["precisions"]}
    assert (report["precision"], report["window"]) == ("int4", 8192)
    assert [(name, row["fits"], row["window"]) for name, row in rows.items()] == [
        ("bf16", False, None),
        ("fp8", False, None),
        ("int4", True, 8192),
    ]
    assert set(rows["bf16"]["ms"]) == {"64", "128", "256"}
    named = model_report("a/b@bf16", RELEASED, 24 * GB, 24 * GB, H200, "cuda")
    assert named["precision"] is None
    assert "int4 would fit" in named["reason"]


def test_what_is_quantised_in_its_files_has_one_row() -> None:
    report = model_report("a/b", evolve(RELEASED, stored="nvfp4"), 16 * GB, 24 * GB, H200, "cuda")
    assert [row["precision"] for row in report["precisions"]] == ["nvfp4"]
    assert report["precision"] is None
    assert report["advice"] == ["close what holds 3.8 GB of the 8.0 GB of GPU memory in use, and nvfp4 fits"]


@pytest.mark.parametrize(
    ("hip", "capability", "kind", "path"),
    [
        (None, (9, 0), "cuda", "compute capability 9.0: Triton kernels"),
        (None, (7, 5), "cuda", "compute capability 7.5: plain torch"),
        ("6.4", (9, 4), "rocm", "HIP, by torch's interface of CUDA: Triton kernels"),
    ],
)
def test_each_kind_of_device_has_its_path(
    monkeypatch: pytest.MonkeyPatch, hip: str | None, capability: tuple[int, int], kind: str, path: str
) -> None:
    """What torch would say where such a GPU is."""
    for name, answer in {
        "is_available": True,
        "device_count": 2,
        "mem_get_info": (20 * GB, 24 * GB),
        "get_device_capability": capability,
        "get_device_name": "A GPU",
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(torch.version, "hip", hip)
    with monkeypatch.context() as patch:
        patch.setattr(kernels.importlib.util, "find_spec", lambda name: name)
        found = measuring.devices()
    assert [one.used for one in found] == [True, False, False]
    assert (found[0].kind, found[0].free, found[0].total) == (kind, 20 * GB, 24 * GB)
    assert path in found[0].path
    assert "one GPU" in found[1].path
    assert (found[2].kind, found[2].path) == ("cpu", "not used: there is a GPU")


def test_on_a_mac_the_cpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = {one.kind: one for one in measuring.devices()}
    assert found["cpu"].used
    assert not found["mps"].used
    assert "runs on the CPU" in found["mps"].path


def tool(*arguments: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "dgemma_engine.machine", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {event.pop("event"): event for event in map(json.loads, ran.stdout.splitlines())}


def test_the_tool_measures_and_tells() -> None:
    found = tool("nano@bf16")
    assert list(found) == ["devices", "rates", "released", "chosen"]
    rates = found["rates"]
    assert 1e8 < rates["copy"] < 1e14
    assert 1e8 < rates["matrix"] < 1e17
    assert found["chosen"]["name"] == "nano@bf16"
    assert found["chosen"]["context"] == 384
    (row,) = [row for row in found["released"]["precisions"] if row["precision"] == "bf16"]
    measured = Rates(rates["copy"], rates["matrix"])
    assert row["ms"]["256"] == pytest.approx(pass_ms(RELEASED, "bf16", 256, measured), abs=0.01)


def test_a_model_that_is_not_there_is_a_problem() -> None:
    found = tool("no/body", "1000")["chosen"]
    assert found["name"] == "no/body"
    assert "dgemma-lsp model use no/body" in found["problem"]
