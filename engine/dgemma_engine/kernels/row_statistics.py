"""What the sampler needs of each row of logits, in one read of them and one write of probabilities.

A row of the released vocabulary is a megabyte in fp32, and plain torch passes over it nine times. Here every row is cut
into splits, so that the few free rows of a short hole still fill the card: a split gives its largest logit, sums
relative to it, and its own best, permitted and sampled tokens. The second kernel joins the splits of a row. The third
one writes the probabilities, from logits that a large card has in its cache still.
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

    `argmax`, `permitted`, `sample` `[R]`: the likeliest token, the likeliest that is not refused, and one drawn from
    the distribution. `entropy` `[R]`: fp32, nats. `probabilities` `[R, V]`: in the dtype of the logits.
    """

    argmax: Tensor
    permitted: Tensor
    sample: Tensor
    entropy: Tensor
    probabilities: Tensor


@frozen
class Refusal:
    """Tokens that rows must not be read as: `never` `[B, V]` of the member `owners` `[R]`, `opening` `[V]` if `first`.

    All are boolean but `owners`, which are int64; `first` `[R]`.
    """

    never: Tensor
    owners: Tensor
    opening: Tensor | None
    first: Tensor


def row_statistics(
    raw: Tensor, cap: float, temperature: float | Tensor, seed: int | Tensor, refusal: Refusal | None = None
) -> RowStatistics:
    """`raw` `[R, V]` is what the head gave; cap·tanh(raw / cap) / temperature are the logits.

    `temperature` and `seed` may lie on the device, `[1]` in fp32 and int64: so a captured graph can be given others.
    Samples are drawn by Gumbel noise from a counter-based generator: the same `seed` and shape give the same tokens.
    """
    rows, size = raw.shape
    splits = triton.cdiv(size, SPLIT)
    shape, device = (rows, splits), raw.device
    if not isinstance(temperature, Tensor):
        temperature = torch.full((1,), temperature, dtype=torch.float32, device=device)
    if not isinstance(seed, Tensor):
        seed = torch.full((1,), seed, dtype=torch.int64, device=device)
    tops, sums, moments, drawn, allowed = (torch.empty(shape, dtype=torch.float32, device=device) for _ in range(5))
    best, sampled, read = (torch.empty(shape, dtype=torch.int32, device=device) for _ in range(3))
    parts = (tops, sums, moments, drawn, allowed, best, sampled, read)
    never = opening = owners = first = raw
    if refusal is not None:
        never, owners, first = refusal.never.view(torch.uint8), refusal.owners, refusal.first.view(torch.uint8)
        opening = never if refusal.opening is None else refusal.opening.view(torch.uint8)
    _split[(rows, splits)](
        raw,
        *parts,
        temperature,
        seed,
        never,
        owners,
        opening,
        first,
        *(raw.stride(0), never.stride(0), size, splits, cap),
        REFUSED=refusal is not None,
        OPENED=refusal is not None and refusal.opening is not None,
        SPLIT=SPLIT,
        BLOCK=BLOCK,
    )
    argmax, permitted, sample = (torch.empty(rows, dtype=torch.int64, device=device) for _ in range(3))
    entropy, top, total = (torch.empty(rows, dtype=torch.float32, device=device) for _ in range(3))
    _join[(rows,)](
        *parts, argmax, permitted, sample, entropy, top, total, splits, SPLITS=triton.next_power_of_2(splits)
    )
    probabilities = torch.empty(rows, size, dtype=raw.dtype, device=device)
    grid = (rows, triton.cdiv(size, BLOCK))
    _share[grid](raw, top, total, probabilities, temperature, raw.stride(0), size, cap, BLOCK=BLOCK)
    return RowStatistics(argmax, permitted, sample, entropy, probabilities)


@triton.jit
def _logits(raw, inside, cap, inverse):
    """cap·tanh(raw / cap) / temperature; tanh by an exponential, since not every library of a GPU has it."""
    value = tl.load(raw, mask=inside, other=0.0).to(tl.float32) / cap
    value = tl.minimum(tl.maximum(value, -15.0), 15.0)
    return cap * (1 - 2 / (1 + tl.exp(2 * value))) * inverse


@triton.jit
def _gumbel(seed, counter):
    """-log(-log(u)) of four uniform numbers for each of `counter` `[BLOCK / 4]`, `[BLOCK]`."""
    a, b, c, d = tl.rand4x(seed, counter)
    other = tl.interleave(tl.interleave(a, b), tl.interleave(c, d))
    # u is near one where the noise is large; what is left of it to one, v, is drawn, since small numbers are exact.
    wait = tl.where(other < 1e-3, other * (1 + 0.5 * other), -tl.log(1 - tl.minimum(other, 0.9999999)))
    return -tl.log(tl.maximum(wait, 1e-10))


@triton.jit
def _split(
    raw,
    tops,
    sums,
    moments,
    drawn,
    allowed,
    best,
    sampled,
    read,
    temperature,
    seed,
    never,
    owners,
    opening,
    first,
    stride,
    never_stride,
    size,
    splits,
    cap,
    REFUSED: tl.constexpr,
    OPENED: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = row * splits + split
    inverse = 1 / tl.load(temperature)
    key = tl.load(seed)
    if REFUSED:
        banned = never + tl.load(owners + row) * never_stride
    if OPENED:
        opens = tl.load(first + row)
    top = -float("inf")
    top_at = 0
    total = 0.0
    moment = 0.0
    luck = -float("inf")
    luck_at = 0
    good = -float("inf")
    good_at = 0
    for block in range(0, SPLIT, BLOCK):
        begin = split * SPLIT + block
        token = begin + tl.arange(0, BLOCK)
        inside = token < size
        value = _logits(raw + row * stride + token, inside, cap, inverse)
        value = tl.where(inside, value, -float("inf"))
        here, here_at = tl.max(value, axis=0, return_indices=True)
        if here > top:
            # What was summed before is relative to the largest of then.
            moment = (moment + total * (top - here)) * tl.exp(top - here) if total > 0 else 0.0
            total *= tl.exp(top - here)
            top = here
            top_at = begin + here_at
        relative = tl.where(inside, value - top, 0.0)
        share = tl.where(inside, tl.exp(relative), 0.0)
        total += tl.sum(share, axis=0)
        moment += tl.sum(share * relative, axis=0)
        counter = (at * SPLIT + block) // 4 + tl.arange(0, BLOCK // 4)
        lucky, lucky_at = tl.max(value + _gumbel(key, counter.to(tl.int32)), axis=0, return_indices=True)
        if lucky > luck:
            luck = lucky
            luck_at = begin + lucky_at
        if REFUSED:
            bad = tl.load(banned + token, mask=inside, other=1).to(tl.int32)
            if OPENED:
                bad |= tl.load(opening + token, mask=inside & (opens != 0), other=0).to(tl.int32)
            fine, fine_at = tl.max(tl.where(bad != 0, -float("inf"), value), axis=0, return_indices=True)
            if fine > good:
                good = fine
                good_at = begin + fine_at
    if not REFUSED:
        good = top
        good_at = top_at
    tl.store(tops + at, top)
    tl.store(sums + at, total)
    tl.store(moments + at, moment)
    tl.store(drawn + at, luck)
    tl.store(allowed + at, good)
    tl.store(best + at, top_at)
    tl.store(sampled + at, luck_at)
    tl.store(read + at, good_at)


@triton.jit
def _winner(scores, tokens, at, split, inside):
    """The token of the split whose score is largest."""
    score = tl.load(scores + at + split, mask=inside, other=-float("inf"))
    _, one = tl.max(score, axis=0, return_indices=True)
    return tl.load(tokens + at + one).to(tl.int64)


@triton.jit
def _join(
    tops,
    sums,
    moments,
    drawn,
    allowed,
    best,
    sampled,
    read,
    argmax,
    permitted,
    sample,
    entropy,
    row_top,
    row_total,
    splits,
    SPLITS: tl.constexpr,
):
    row, split = tl.program_id(0).to(tl.int64), tl.arange(0, SPLITS)
    inside = split < splits
    at = row * splits
    here = tl.load(tops + at + split, mask=inside, other=-float("inf"))
    top = tl.max(here, axis=0)
    apart = tl.where(inside, here - top, 0.0)
    shrink = tl.where(inside, tl.exp(apart), 0.0)
    parts = tl.load(sums + at + split, mask=inside, other=0.0)
    total = tl.sum(parts * shrink, axis=0)
    moment = tl.load(moments + at + split, mask=inside, other=0.0)
    moment = tl.sum(shrink * (moment + parts * apart), axis=0)
    tl.store(entropy + row, tl.log(total) - moment / total)
    tl.store(row_top + row, top)
    tl.store(row_total + row, total)
    tl.store(argmax + row, _winner(tops, best, at, split, inside))
    tl.store(permitted + row, _winner(allowed, read, at, split, inside))
    tl.store(sample + row, _winner(drawn, sampled, at, split, inside))


@triton.jit
def _share(raw, top, total, probabilities, temperature, stride, size, cap, BLOCK: tl.constexpr):
    row, token = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = token < size
    value = _logits(raw + row * stride + token, inside, cap, 1 / tl.load(temperature))
    share = tl.exp(value - tl.load(top + row)) / tl.load(total + row)
    tl.store(probabilities + row * size + token, share.to(probabilities.dtype.element_ty), mask=inside)
