"""The other kernels beside the plain torch that they replace."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine.kernels import attention, gated, norms, rotary, row_statistics
from dgemma_engine.model.attention import Attention, RMSNorm, plain_gather, rotation
from dgemma_engine.model.experts import gated as plain_gated
from dgemma_engine.model.static import MASKED

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
    root = size**-0.5
    wanted = total, norm(total, dense), norm(total, experts), norm(total, None) * router * root
    found = norms.fan_out(x, attended, after, dense, experts, router, root, EPS)
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
@given(
    st.integers(1, 9), st.sampled_from([32, 100, 2816]), st.booleans(), st.sampled_from([torch.float32, torch.bfloat16])
)
def test_norm(rows: int, size: int, scaled: bool, dtype: torch.dtype) -> None:
    x, weight = randn(rows, 3, size).to(dtype), randn(size, seed=1).to(dtype) if scaled else None
    assert close_to(norms.norm(x, weight, EPS), norm(x, weight), TOLERANCE[dtype])


def shaped(heads: int, kv_heads: int, size: int, values: bool) -> Attention:
    """The attention of a layer of this shape, with norms that are not ones."""
    config = SimpleNamespace(hidden_size=16, heads=heads, norm_eps=EPS)
    shape = SimpleNamespace(kv_heads=kv_heads, head_dim=size, value_proj=values)
    made = Attention(config, shape)  # pyright: ignore[reportArgumentType]
    for seed, one in enumerate((made.q_norm, made.k_norm)):
        one.weight = torch.nn.Parameter(randn(size, seed=seed))
    return made


@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 2),
    st.integers(1, 5),
    st.sampled_from([(4, 2), (3, 1), (2, 2)]),
    st.sampled_from([16, 48, 512]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_turn(batch: int, rows: int, heads: tuple[int, int], size: int, values: bool, dtype: torch.dtype) -> None:
    """All heads of a layer, whether or not the values have a projection of their own."""
    module = shaped(*heads, size, values).to(dtype)
    count = heads[0] + heads[1] * (2 if values else 1)
    # What a wider product left behind: rows that do not follow one another.
    x = randn(batch, rows, count * size + 8).to(dtype)[..., : count * size].unflatten(-1, (count, size))
    frequencies = torch.cat([torch.rand(size // 4), torch.zeros(size // 4)])
    angles = rotation(frequencies, torch.arange(rows)[None] * 7, dtype)
    with torch.inference_mode():
        wanted = module.turned(x, angles)
        found = rotary.turn(x, heads, module.q_norm.weight, module.k_norm.weight, angles, EPS)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert close_to(one, other, TOLERANCE[dtype])


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.sampled_from([16, 100, 2112]), st.sampled_from([torch.float32, torch.bfloat16]))
def test_gated(rows: int, size: int, dtype: torch.dtype) -> None:
    gate, up = randn(2, rows, 2 * size, spread=3).to(dtype).chunk(2, dim=-1)
    assert close_to(gated.gated(gate, up), plain_gated(gate, up), TOLERANCE[dtype])


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 2),
    st.integers(1, 40),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
    st.sampled_from([16, 64]),
    st.integers(1, 300),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_attend(batch: int, rows: int, group: int, kv_heads: int, size: int, length: int, dtype: torch.dtype) -> None:
    """In one piece or split, over a part of a cache."""
    query = randn(batch, rows, group * kv_heads, size).to(dtype)
    keys, values = (randn(batch, kv_heads, length + 5, size, seed=seed).to(dtype) for seed in (1, 2))
    keys, values = keys[:, :, 2 : length + 2], values[:, :, 2 : length + 2]
    wanted = plain_gather(query.float(), keys.float(), values.float(), None)
    assert close_to(attention.attend(query, keys, values), wanted, TOLERANCE[dtype])


@settings(max_examples=16, deadline=None)
@given(
    st.integers(1, 20),
    st.sampled_from([33, 64, 200, 400]),
    st.sampled_from(["rows", "members", "both"]),
    st.sampled_from([-torch.inf, MASKED]),
    st.floats(0, 0.9),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_what_a_mask_hides_is_not_seen(
    rows: int, length: int, shape: str, hidden: float, share: float, dtype: torch.dtype
) -> None:
    """Keys hidden from a row, from a member or at random, whole stretches at both ends too."""
    query = randn(2, rows, 4, 32).to(dtype)
    keys, values = (randn(2, 2, length, 32, seed=seed).to(dtype) for seed in (1, 2))
    size = {"rows": (rows, length), "members": (2, 1, length), "both": (2, rows, length)}[shape]
    away = torch.rand(size, generator=torch.Generator().manual_seed(rows)) < share
    away[..., : length // 2 - 8] = away[..., -length // 3 :] = True
    away[..., length // 2] = False
    mask = torch.zeros(size).masked_fill(away, hidden).to(dtype)
    wanted = plain_gather(query.float(), keys.float(), values.float(), mask.float())
    assert close_to(attention.attend(query, keys, values, mask), wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("length", [77, 300])
def test_attend_heads_of_512(length: int) -> None:
    query, keys = randn(1, 5, 8, 512, spread=0.2), randn(1, 2, length, 512, spread=0.2)
    values, mask = randn(1, 2, length, 512, seed=2), torch.zeros(5, length)
    mask[1:, 40:] = MASKED
    for given_mask in (None, mask):
        wanted = plain_gather(query, keys, values, given_mask)
        assert close_to(attention.attend(query, keys, values, given_mask), wanted)


@triton.jit
def _noise(out, seed, size: tl.constexpr):
    tl.store(out + tl.arange(0, size), row_statistics._gumbel(seed, tl.arange(0, size // 4)))


def test_noise_is_gumbel() -> None:
    found = torch.empty(1 << 14)
    _noise[(1,)](found, 3, 1 << 14)
    # exp(-exp(-g)) is uniform; the noise's mean is Euler's constant.
    uniform = (-(-found).exp()).exp().sort().values
    assert (uniform - torch.linspace(0, 1, 1 << 14)).abs().max() < 0.02
    assert abs(float(found.mean()) - 0.5772) < 0.03


def refusal(rows: int, size: int, seed: int, opened: bool) -> row_statistics.Refusal:
    """Two members, of whose tokens nine in ten are refused, and more at their first rows."""
    generator = torch.Generator().manual_seed(seed)
    never = torch.rand(2, size, generator=generator) < 0.9
    opening = torch.rand(size, generator=generator) < 0.9 if opened else None
    owners = torch.randint(2, (rows,), generator=generator)
    return row_statistics.Refusal(never, owners, opening, torch.rand(rows, generator=generator) < 0.5)


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from([2048, 5000, 8193, 16384]),
    st.sampled_from([0.01, 3.0, 40.0]),
    st.sampled_from([0.4, 1.0]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(0, 5),
)
def test_row_statistics(
    rows: int, size: int, spread: float, temperature: float, opened: bool, dtype: torch.dtype, seed: int
) -> None:
    raw = randn(rows, size, seed=seed, spread=spread).to(dtype)
    logits = 30 * torch.tanh(raw.float() / 30) / temperature
    refused = refusal(rows, size, seed, opened)
    found = row_statistics.row_statistics(raw, 30.0, temperature, seed, refused)
    shares = logits.log_softmax(-1)
    assert torch.equal(logits.gather(1, found.argmax[:, None]), logits.amax(-1, keepdim=True))
    banned = refused.never[refused.owners]
    if refused.opening is not None:
        banned = banned | (refused.first[:, None] & refused.opening)
    allowed = logits.masked_fill(banned, -torch.inf)
    assert torch.equal(logits.gather(1, found.permitted[:, None]), allowed.amax(-1, keepdim=True))
    assert torch.allclose(found.entropy, -(shares.exp() * shares).sum(-1), atol=2e-4, rtol=1e-4)
    assert found.probabilities.dtype == dtype
    rounding = 2**-7 if dtype == torch.bfloat16 else 1e-4
    assert torch.allclose(found.probabilities.float(), shares.exp(), rtol=rounding, atol=1e-6)
    assert (found.sample < size).all()
    again = row_statistics.row_statistics(raw, 30.0, torch.tensor([temperature]), torch.tensor([seed]))
    assert torch.equal(again.sample, found.sample)
    assert torch.equal(again.permitted, found.argmax)


def test_samples_follow_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_statistics, "SPLIT", 64)
    monkeypatch.setattr(row_statistics, "BLOCK", 64)
    raw = torch.zeros(200, 70) - 40
    raw[:, [0, 5, 66, 69]] = torch.tensor([2.0, 1.0, 1.5, -3.0])
    drawn, other = (row_statistics.row_statistics(raw, 30.0, 1.0, seed).sample for seed in (7, 8))
    assert not torch.equal(drawn, other)
    wanted = F.softmax(30 * torch.tanh(raw[0] / 30), dim=-1)
    found = torch.bincount(torch.cat([drawn, other]), minlength=70) / 400
    assert (found - wanted).abs().max() < 0.08
