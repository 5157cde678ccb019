"""The grouped expert products beside the readable form of `model.experts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine import kernels
from dgemma_engine.kernels import e4m3, experts
from dgemma_engine.kernels.grouping import group
from dgemma_engine.model import Rows, load_model
from dgemma_engine.model.experts import Experts
from dgemma_engine.model.load import Precision
from dgemma_engine.model.quantized import Form, Quantized, empty_bank, quantize

FORMS: tuple[Form, ...] = ("plain", "fp8", "int4", "nvfp4")


def bank(form: Form, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor | Quantized:
    """Random matrices; those in NVFP4, which is never made here, of random bits."""
    count, rows, width = shape
    if form == "nvfp4":
        made = empty_bank(form, shape, 16, torch.float32, "cpu")
        packed = torch.randint(256, (count, rows, width // 2), generator=generator, dtype=torch.uint8)
        scales = torch.rand(count, rows, width // 16, generator=generator).to(torch.float8_e4m3fn)
        whole = torch.rand(count, rows, 1, generator=generator)
        for expert in range(count):
            made.put(expert, 0, (packed[expert], scales[expert], whole[expert]))
        return made
    weight = torch.randn(shape, generator=generator) / width**0.5
    if form == "plain":
        return weight
    made = empty_bank(form, shape, 32 if width % 32 == 0 else 16, torch.float32, "cpu")
    for expert in range(count):
        made.put(expert, 0, quantize(weight[expert], form))
    return made


def plain(x: Tensor, weights: Tensor, index: Tensor, gate_up: Tensor | Quantized, down: Tensor | Quantized) -> Tensor:
    """What `Experts` does expert by expert."""
    module = Experts.__new__(Experts)
    torch.nn.Module.__init__(module)
    module.gate_up_proj, module.down_proj = (
        one if isinstance(one, Quantized) else torch.nn.Parameter(one) for one in (gate_up, down)
    )
    return module.each(x, weights, index)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 70),
    count=st.integers(2, 9),
    chosen=st.integers(1, 3),
    hidden=st.sampled_from([32, 96, 160]),
    size=st.sampled_from([32, 48, 80]),
    skew=st.sampled_from([0.0, 3.0, 30.0]),
    form=st.sampled_from(FORMS),
    converts=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_is_what_expert_by_expert_gives(
    rows: int, count: int, chosen: int, hidden: int, size: int, skew: float, form: Form, converts: bool, seed: int
) -> None:
    """Any shape, any form, routing from even to all rows on the same experts, and devices without 8-bit floats."""
    generator = torch.Generator().manual_seed(seed)
    chosen = min(chosen, count)
    scores = torch.randn(rows, count, generator=generator) + skew * torch.randn(count, generator=generator)
    weights, index = torch.topk(scores.softmax(-1), chosen, dim=-1)
    x = torch.randn(rows, hidden, generator=generator)
    gate_up, down = bank(form, (count, 2 * size, hidden), generator), bank(form, (count, hidden, size), generator)
    with torch.inference_mode(), mock.patch.object(e4m3, "converts", return_value=converts):
        found, wanted = experts.run(x, weights, index, gate_up, down), plain(x, weights, index, gate_up, down)
    assert (found - wanted).norm() <= 1e-4 * wanted.norm()


@pytest.mark.parametrize("form", FORMS)
def test_bf16(form: Form) -> None:
    generator = torch.Generator().manual_seed(5)
    weights, index = torch.topk(torch.randn(20, 6, generator=generator).softmax(-1), 2, dim=-1)
    gate_up, down = bank(form, (6, 64, 96), generator), bank(form, (6, 96, 32), generator)
    if isinstance(gate_up, Tensor) and isinstance(down, Tensor):
        gate_up, down = gate_up.to(torch.bfloat16), down.to(torch.bfloat16)
    x = torch.randn(20, 96, generator=generator)
    with torch.inference_mode():
        found = experts.run(x.to(torch.bfloat16), weights, index, gate_up, down)
        wide = [one.float() if isinstance(one, Tensor) else one for one in (gate_up, down)]
        wanted = plain(x, weights, index, *wide)
    assert found.dtype == torch.bfloat16
    assert (found - wanted).norm() <= 0.02 * wanted.norm()


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 4), st.sampled_from([1, 4, 16]), st.integers(0, 99))
def test_tiles_hold_every_pair_once(rows: int, count: int, chosen: int, height: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    chosen = min(chosen, count)
    index = torch.rand(rows, count, generator=generator).topk(chosen).indices
    groups = group(index, count, height)
    flat, held = index.flatten(), []
    for expert, first, last in zip(groups.expert.tolist(), groups.first.tolist(), groups.last.tolist(), strict=True):
        if expert == count:
            continue
        pairs = groups.order[first:last].tolist()
        assert 0 < len(pairs) <= height
        assert {int(flat[pair]) for pair in pairs} == {expert}
        held += pairs
    assert sorted(held) == list(range(flat.numel()))


@pytest.mark.parametrize("precision", ["int4", "fp8"])
def test_a_model_on_kernels_is_the_model(tiny_checkpoint: Path, precision: Precision) -> None:
    """Encoder and canvas through all layers, with a prefix longer than the window."""
    model = load_model(tiny_checkpoint, precision=precision)

    def logits() -> Tensor:
        cache = model.new_cache()
        with torch.inference_mode():
            model.encode(torch.arange(45)[None] * 5 % 300, cache)
            (hidden,) = model.forward([Rows(cache, torch.arange(32)[None] * 3)])
            return model.logits(hidden)

    wanted = logits()
    assert "experts" in kernels.use(model)
    assert torch.allclose(logits(), wanted, atol=1e-3)


def test_a_cpu_has_none() -> None:
    assert not kernels.usable(torch.device("cpu"))


def broken(*_: object) -> Tensor:
    raise RuntimeError("no such instruction")


@pytest.mark.parametrize("run", [broken, lambda x, *_: torch.zeros_like(x), lambda x, *_: x * float("nan")])
def test_a_kernel_that_fails_here_is_left_alone(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    model = load_model(tiny_checkpoint, precision="int4")
    monkeypatch.setattr(experts, "run", run)
    assert "experts" not in kernels.use(model)
    assert all(one.kernel is None for one in model.modules() if isinstance(one, Experts))


def test_experts_that_are_not_quantised_are_torch_s(tiny_checkpoint: Path) -> None:
    assert "experts" not in kernels.use(load_model(tiny_checkpoint))
