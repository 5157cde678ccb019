"""Three ways to run the experts, one result: all of them, one by one, and as a grouped GEMM."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine.model.config import parse_config
from dgemma_engine.model.experts import Experts

from .random_weights import randomise
from .reference import Shape


def experts_of(count: int, chosen: int, dtype: torch.dtype) -> Experts:
    """Widths are multiples of 8: a grouped GEMM wants rows of whole 16 bytes."""
    shape = attrs.evolve(Shape("experts", layers="f", window=8), experts=count, chosen=chosen, expert_size=24)
    experts = Experts(parse_config(shape.config()))
    randomise(experts.state_dict().items(), seed=count)
    return experts.to(dtype).requires_grad_(False)


def routed(experts: Experts, rows: int, chosen: int, seed: int, used: int | None = None) -> tuple[Tensor, ...]:
    """Rows, weights and indices; only the first `used` experts are ever chosen."""
    generator = torch.Generator().manual_seed(seed)
    count, _, hidden = experts.gate_up_proj.shape
    scores = torch.rand(rows, count, generator=generator)
    scores[:, used or count :] -= 1
    weights, index = scores.topk(chosen, dim=-1)
    x = torch.randn(rows, hidden, generator=generator).to(experts.gate_up_proj.dtype)
    return x, weights.abs() / weights.abs().sum(-1, keepdim=True), index


COUNTS = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(lambda pair: (max(pair), min(pair)))


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, rows=st.integers(1, 40), seed=st.integers(0, 9))
def test_all_is_each(counts: tuple[int, int], rows: int, seed: int) -> None:
    experts = experts_of(*counts, torch.float32)
    inputs = routed(experts, rows, counts[1], seed)
    torch.testing.assert_close(experts._all(*inputs), experts.each(*inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("count", "chosen", "rows", "used"),
    [(16, 2, 33, 16), (16, 2, 33, 3), (128, 8, 16, 128), (128, 8, 1, 128), (4, 4, 5, 4), (1, 1, 3, 1)],
)
def test_grouped_is_each(dtype: torch.dtype, count: int, chosen: int, rows: int, used: int) -> None:
    """On a CPU torch loops over the groups, but the arguments' conventions are those of the kernel."""
    experts = experts_of(count, chosen, dtype)
    inputs = routed(experts, rows, chosen, seed=rows, used=used)
    exact = experts.double().each(*(value.double() if value.is_floating_point() else value for value in inputs))
    experts.to(dtype)
    for result in (experts._grouped(*inputs), experts.each(*inputs)):
        assert result.dtype == dtype
        error = (result.double() - exact).norm() / exact.norm()
        assert error < (1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="runs where torch finds a CUDA device")
def test_grouped_on_a_gpu() -> None:
    experts = experts_of(128, 8, torch.bfloat16)
    inputs = routed(experts, 256, 8, seed=0)
    exact = experts.each(*inputs)
    result = experts.cuda()._grouped(*(value.cuda() for value in inputs)).cpu()
    assert (result - exact).float().norm() / exact.float().norm() < 1e-2


@pytest.mark.parametrize(("count", "chosen", "dense"), [(4, 2, True), (8, 2, True), (9, 2, False), (128, 8, False)])
def test_few_experts_run_all_at_once(count: int, chosen: int, dense: bool) -> None:
    experts = experts_of(count, chosen, torch.float32)
    assert experts.dense is dense
    inputs = routed(experts, 5, chosen, seed=1)
    torch.testing.assert_close(experts(*inputs), experts.each(*inputs), atol=1e-5, rtol=1e-5)
