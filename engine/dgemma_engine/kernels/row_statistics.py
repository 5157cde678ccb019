"""What the sampler needs of each row of logits, in one read of them.

A row of the released vocabulary is a megabyte in fp32, and plain torch passes over it nine times. Here every row is cut
into splits, so that the few free rows of a short hole still fill the card: a split gives its largest logit, sums
relative to it, its own best and sampled token, and exponentials relative to its largest in bf16. The second kernel
joins the splits of a row; the last one makes those exponentials probabilities.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from attrs import frozen
from torch import Tensor

SPLIT = 8192
"""Tokens of a split."""
BLOCK = 1024


@frozen
class RowStatistics:
    """Of R rows of logits over V tokens.

    `argmax`, `sample` `[R]`: the likeliest token, and one drawn from the distribution. `entropy` `[R]`: fp32, nats.
    `probabilities` `[R, V]`: bf16, whose sum is one but for rounding.
    """

    argmax: Tensor
    sample: Tensor
    entropy: Tensor
    probabilities: Tensor


def row_statistics(raw: Tensor, cap: float, temperature: float, seed: int) -> RowStatistics:
    """`raw` `[R, V]` is what the head gave; cap·tanh(raw / cap) / temperature are the logits.

    Samples are drawn by Gumbel noise from a counter-based generator: the same `seed` and shape give the same tokens.
    """
    rows, size = raw.shape
    splits = triton.cdiv(size, SPLIT)
    shape, device = (rows, splits), raw.device
    largest, sums, weighted, drawn = (torch.empty(shape, dtype=torch.float32, device=device) for _ in range(4))
    best, sampled = (torch.empty(shape, dtype=torch.int32, device=device) for _ in range(2))
    probabilities = torch.empty(rows, size, dtype=torch.bfloat16, device=device)
    parts = (largest, sums, weighted, drawn, best, sampled)
    _split[(rows, splits)](
        raw, *parts, probabilities, raw.stride(0), size, splits, cap, 1 / temperature, seed, SPLIT=SPLIT, BLOCK=BLOCK
    )
    argmax, sample = (torch.empty(rows, dtype=torch.int64, device=device) for _ in range(2))
    entropy = torch.empty(rows, dtype=torch.float32, device=device)
    factors = torch.empty(shape, dtype=torch.float32, device=device)
    _join[(rows,)](*parts, argmax, sample, entropy, factors, splits, SPLITS=triton.next_power_of_2(splits))
    _scale[(rows, triton.cdiv(size, BLOCK))](probabilities, factors, size, splits, SPLIT=SPLIT, BLOCK=BLOCK)
    return RowStatistics(argmax, sample, entropy, probabilities)


@triton.jit
def _logits(raw, inside, cap, inverse):
    """cap·tanh(raw / cap) / temperature; tanh by an exponential, since not every library of a GPU has it."""
    value = tl.load(raw, mask=inside, other=0.0).to(tl.float32) / cap
    value = tl.minimum(tl.maximum(value, -15.0), 15.0)
    return cap * (1 - 2 / (1 + tl.exp(2 * value))) * inverse


@triton.jit
def _split(
    raw,
    largest,
    sums,
    weighted,
    drawn,
    best,
    sampled,
    probabilities,
    stride,
    size,
    splits,
    cap,
    inverse,
    seed,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    top = -float("inf")
    top_at = 0
    total = 0.0
    moment = 0.0
    luck = -float("inf")
    luck_at = 0
    for block in range(0, SPLIT, BLOCK):
        token = split * SPLIT + block + tl.arange(0, BLOCK)
        inside = token < size
        value = _logits(raw + row * stride + token, inside, cap, inverse)
        value = tl.where(inside, value, -float("inf"))
        here, here_at = tl.max(value, axis=0, return_indices=True)
        if here > top:
            # What was summed before is relative to the largest of then.
            moment = (moment + total * (top - here)) * tl.exp(top - here) if total > 0 else 0.0
            total *= tl.exp(top - here)
            top = here
            top_at = split * SPLIT + block + here_at
        relative = tl.where(inside, value - top, 0.0)
        share = tl.where(inside, tl.exp(relative), 0.0)
        total += tl.sum(share, axis=0)
        moment += tl.sum(share * relative, axis=0)
        uniform = tl.rand(seed, row * size + token)
        noise = value - tl.log(-tl.log(tl.minimum(tl.maximum(uniform, 1e-10), 0.9999999)))
        lucky, lucky_at = tl.max(tl.where(inside, noise, -float("inf")), axis=0, return_indices=True)
        if lucky > luck:
            luck = lucky
            luck_at = split * SPLIT + block + lucky_at
    # The logits are in the cache still: a second look at them costs no memory traffic.
    for block in range(0, SPLIT, BLOCK):
        token = split * SPLIT + block + tl.arange(0, BLOCK)
        inside = token < size
        value = _logits(raw + row * stride + token, inside, cap, inverse)
        share = tl.exp(value - top).to(tl.bfloat16)
        tl.store(probabilities + row * size + token, share, mask=inside)
    at = row * splits + split
    tl.store(largest + at, top)
    tl.store(sums + at, total)
    tl.store(weighted + at, moment)
    tl.store(drawn + at, luck)
    tl.store(best + at, top_at)
    tl.store(sampled + at, luck_at)


@triton.jit
def _join(
    largest, sums, weighted, drawn, best, sampled, argmax, sample, entropy, factors, splits, SPLITS: tl.constexpr
):
    row, split = tl.program_id(0).to(tl.int64), tl.arange(0, SPLITS)
    inside = split < splits
    at = row * splits + split
    tops = tl.load(largest + at, mask=inside, other=-float("inf"))
    top, top_at = tl.max(tops, axis=0, return_indices=True)
    shrink = tl.where(inside, tl.exp(tops - top), 0.0)
    parts = tl.load(sums + at, mask=inside, other=0.0)
    total = tl.sum(parts * shrink, axis=0)
    apart = tl.where(inside, tops - top, 0.0)
    moment = tl.sum(shrink * (tl.load(weighted + at, mask=inside, other=0.0) + parts * apart), axis=0)
    tl.store(entropy + row, tl.log(total) - moment / total)
    tl.store(factors + at, shrink / total, mask=inside)
    tl.store(argmax + row, tl.load(best + row * splits + top_at).to(tl.int64))
    _, luck_at = tl.max(tl.load(drawn + at, mask=inside, other=-float("inf")), axis=0, return_indices=True)
    tl.store(sample + row, tl.load(sampled + row * splits + luck_at).to(tl.int64))


@triton.jit
def _scale(probabilities, factors, size, splits, SPLIT: tl.constexpr, BLOCK: tl.constexpr):
    row, token = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = token < size
    factor = tl.load(factors + row * splits + tl.program_id(1) * BLOCK // SPLIT)
    share = tl.load(probabilities + row * size + token, mask=inside, other=0.0).to(tl.float32) * factor
    tl.store(probabilities + row * size + token, share.to(tl.bfloat16), mask=inside)
