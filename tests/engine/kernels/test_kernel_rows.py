"""The other kernels beside the plain torch that they replace."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine.kernels import attention, norms, rotary, row_statistics
from dgemma_engine.model.attention import RMSNorm, gather, rotate, rotation

EPS = 1e-6
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""The interpreter cuts off what bf16 cannot hold, where a GPU rounds."""


def randn(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def norm(x: Tensor, weight: Tensor | None) -> Tensor:
    module = RMSNorm(x.shape[-1], EPS, scaled=weight is not None)
    if weight is not None:
        module.weight = torch.nn.Parameter(weight)
    with torch.inference_mode():
        return module(x)


def close_to(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> bool:
    return bool((found.float() - wanted.float()).norm() <= tolerance * wanted.float().norm())


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 9), st.sampled_from([32, 100, 176]), st.sampled_from([torch.float32, torch.bfloat16]))
def test_fan_out(rows: int, size: int, dtype: torch.dtype) -> None:
    x, attended = randn(rows, size).to(dtype), randn(rows, size, seed=1).to(dtype)
    after, dense, experts, router = (randn(size, seed=seed).to(dtype) for seed in range(2, 6))
    total = x + norm(attended, after)
    wanted = total, norm(total, dense), norm(total, experts), norm(total, None) * router
    found = norms.fan_out(x, attended, after, dense, experts, router, EPS)
    for one, other in zip(found, wanted, strict=True):
        assert close_to(one, other, TOLERANCE[dtype])


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 9), st.integers(0, 9), st.sampled_from([32, 100]), st.sampled_from([torch.float32, torch.bfloat16])
)
def test_close(rows: int, encoded: int, size: int, dtype: torch.dtype) -> None:
    x, dense, routed = (randn(rows, size, seed=seed).to(dtype) for seed in range(3))
    weights = [randn(size, seed=seed).to(dtype) for seed in range(3, 6)]
    scalars = torch.tensor([0.9]).to(dtype), torch.tensor([1.2]).to(dtype)
    total = x + norm(norm(dense, weights[0]) + norm(routed, weights[1]), weights[2])
    wanted = torch.cat([total[:encoded] * scalars[0], total[encoded:] * scalars[1]])
    found = norms.close(x, dense, routed, *weights, scalars, encoded, EPS)
    assert close_to(found, wanted, TOLERANCE[dtype])


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 7), st.integers(1, 5), st.sampled_from([16, 64, 512]), st.booleans(), st.booleans())
def test_turn(rows: int, heads: int, size: int, weighted: bool, turned: bool) -> None:
    x, weight = randn(rows, heads, size), randn(size, seed=1) if weighted else None
    frequencies = torch.cat([torch.rand(size // 4), torch.zeros(size // 4)])
    angles = rotation(frequencies, torch.arange(rows)[None] * 7, x.dtype)
    wanted = norm(x, weight)
    if turned:
        wanted = rotate(wanted[None], *angles)[0]
    cos, sin = (one[0, :, 0] for one in angles)
    assert close_to(rotary.turn(x, weight, (cos, sin) if turned else None, EPS), wanted)
    # Into the rows of a cache, heads first.
    cache = torch.full((heads, rows + 3, size), 9.0)
    rotary.turn(x, weight, (cos, sin) if turned else None, EPS, cache[:, 1 : rows + 1].transpose(0, 1))
    assert close_to(cache[:, 1 : rows + 1].transpose(0, 1), wanted)
    assert (cache[:, [0, -1, -2]] == 9).all()


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 40),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
    st.sampled_from([16, 64]),
    st.integers(1, 100),
)
def test_attend(rows: int, group: int, kv_heads: int, size: int, length: int) -> None:
    query = randn(rows, group * kv_heads, size)
    keys, values = randn(kv_heads, length + 5, size, seed=1), randn(kv_heads, length + 5, size, seed=2)
    keys, values = keys[:, 2 : length + 2], values[:, 2 : length + 2]
    wanted = gather(query[None], keys[None], values[None], None)[0]
    assert close_to(attention.attend(query, keys, values), wanted)


def test_attend_heads_of_512() -> None:
    query, keys, values = randn(5, 8, 512, spread=0.2), randn(2, 77, 512, spread=0.2), randn(2, 77, 512, seed=2)
    wanted = gather(query[None], keys[None], values[None], None)[0]
    assert close_to(attention.attend(query, keys, values), wanted)


@triton.jit
def _uniform(out, seed, size: tl.constexpr):
    row, token = tl.program_id(0), tl.arange(0, size)
    tl.store(out + row * size + token, tl.rand(seed, row * size + token))


@settings(max_examples=6, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from([2048, 8192, 16384]),
    st.sampled_from([0.01, 3.0, 40.0]),
    st.sampled_from([0.4, 1.0]),
    st.integers(0, 5),
)
def test_row_statistics(rows: int, size: int, spread: float, temperature: float, seed: int) -> None:
    raw = randn(rows, size, seed=seed, spread=spread)
    logits = 30 * torch.tanh(raw / 30) / temperature
    found = row_statistics.row_statistics(raw, 30.0, temperature, seed)
    shares = logits.log_softmax(-1)
    assert torch.equal(logits.gather(1, found.argmax[:, None]), logits.amax(-1, keepdim=True))
    assert torch.allclose(found.entropy, -(shares.exp() * shares).sum(-1), atol=2e-4, rtol=1e-4)
    assert torch.allclose(found.probabilities.float(), shares.exp(), rtol=2**-6, atol=1e-6)
    uniform = torch.empty(rows, size)
    _uniform[(rows,)](uniform, seed, size)
    noised = logits - (-uniform.clamp(1e-10, 0.9999999).log()).log()
    assert torch.allclose(noised.gather(1, found.sample[:, None]), noised.amax(-1, keepdim=True), atol=1e-3)


@pytest.mark.parametrize("size", [300, 5000, 8193])
def test_vocabularies_that_fill_no_block(size: int) -> None:
    raw = randn(3, size, spread=3)
    found = row_statistics.row_statistics(raw, 30.0, 0.8, 1)
    shares = (30 * torch.tanh(raw / 30) / 0.8).log_softmax(-1)
    assert torch.equal(found.argmax, shares.argmax(-1))
    assert torch.allclose(found.entropy, -(shares.exp() * shares).sum(-1), atol=2e-4)
    assert torch.allclose(found.probabilities.float().sum(-1), torch.ones(3), atol=1e-2)
    assert (found.sample < size).all()


def test_samples_follow_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_statistics, "SPLIT", 64)
    monkeypatch.setattr(row_statistics, "BLOCK", 64)
    raw = torch.tensor([2.0, 1.0, 0.0, -3.0]).repeat(150, 1)
    drawn = row_statistics.row_statistics(raw, 30.0, 1.0, 7).sample
    wanted = F.softmax(30 * torch.tanh(raw[0] / 30), dim=-1)
    found = torch.bincount(drawn, minlength=4) / 150
    assert (found - wanted).abs().max() < 0.13
