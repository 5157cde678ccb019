"""The product with a weight in 8 bits beside that with the weight widened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine import kernels
from dgemma_engine.kernels import e4m3, linear
from dgemma_engine.model import Rows, load_model
from dgemma_engine.model.load import Precision
from dgemma_engine.model.quantized import Form, QuantizedLinear, quantize


def made(out: int, width: int, dtype: torch.dtype, generator: torch.Generator, form: Form = "fp8") -> QuantizedLinear:
    """Rows of very different sizes, one of them zero."""
    weight = torch.randn(out, width, generator=generator) * torch.logspace(-3, 3, out)[:, None]
    weight[out // 2] = 0
    values, scales = quantize(weight, form)
    return QuantizedLinear(values, scales, dtype)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 12), min_size=0, max_size=2),
    rows=st.integers(1, 150),
    out=st.sampled_from([1, 16, 63, 64, 96, 130]),
    width=st.sampled_from([1, 16, 64, 80, 129, 200]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    form=st.sampled_from(["fp8", "int8"]),
    seed=st.integers(0, 1000),
)
def test_is_the_product_with_the_widened_weight(
    shape: list[int], rows: int, out: int, width: int, dtype: torch.dtype, form: Form, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = made(out, width, dtype, generator, form)
    x = torch.randn(*shape[:1], rows, width, generator=generator).to(dtype)
    with torch.inference_mode():
        found = linear.run(x, layer.values, layer.scales)
        wanted = F.linear(x.float(), layer.values.float() * layer.scales)
    assert (found.dtype, found.shape) == (dtype, wanted.shape)
    # The interpreter cuts bf16 off.
    error = {torch.float32: 1e-5, torch.float16: 0.001, torch.bfloat16: 0.008}[dtype]
    # By output: the large ones would hide the small.
    off, size = (found.float() - wanted).flatten(0, -2).norm(dim=0), wanted.flatten(0, -2).norm(dim=0)
    assert (off <= error * size + 1e-6).all()


def test_bits_are_put_into_place_as_instructions_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value of e4m3 that is one, the smallest too, on devices that cannot convert them."""
    values = torch.arange(256, dtype=torch.uint8)
    values = values[(values & 127) != 127].view(torch.float8_e4m3fn)[:, None]
    x, scales = torch.ones(3, 1), torch.ones(len(values), 1)
    monkeypatch.setattr(e4m3, "converts", lambda _: False)
    assert torch.equal(linear.run(x, values, scales), values.float().T.expand(3, -1))


def test_rows_need_not_lie_together() -> None:
    generator = torch.Generator().manual_seed(1)
    layer, x = made(48, 32, torch.float32, generator), torch.randn(20, 2, 32, generator=generator)
    apart, whole = (linear.run(rows, layer.values, layer.scales) for rows in (x[:, 1], x))
    assert torch.allclose(apart, whole[:, 1], rtol=1e-4)


@pytest.mark.parametrize("precision", ["int4", "fp8"])
def test_a_model_on_kernels_is_the_model(tiny_checkpoint: Path, precision: Precision) -> None:
    model = load_model(tiny_checkpoint, torch.float32, precision=precision)
    cache = model.new_cache()
    ids = torch.arange(45)[None] * 5 % 300

    def hidden() -> Tensor:
        with torch.inference_mode():
            return model.forward([Rows(cache, ids, encoder=True), Rows(cache, ids, torch.ones(1, 45, 64))])[1]

    wanted = hidden()
    assert "8-bit dense layers" in kernels.use(model)
    dense = [one for one in model.modules() if isinstance(one, QuantizedLinear)]
    assert dense
    assert all(one.kernel is linear.run for one in dense)
    assert torch.allclose(hidden(), wanted, atol=1e-3)


@pytest.mark.parametrize("rows", linear.ROWS)
def test_a_kernel_that_fails_for_some_rows_is_left_alone(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    model = load_model(tiny_checkpoint, precision="int4")
    run = linear.run

    def broken(x: Tensor, values: Tensor, scales: Tensor) -> Tensor:
        if len(x) == rows:
            raise RuntimeError("out of shared memory")
        return run(x, values, scales)

    monkeypatch.setattr(linear, "run", broken)
    assert "8-bit dense layers" not in kernels.use(model)
    assert all(one.kernel is None for one in model.modules() if isinstance(one, QuantizedLinear))
    assert model.layers[0].experts.kernel is not None, "the experts' is as good as before"
