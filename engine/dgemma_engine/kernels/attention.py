"""Attention for heads of up to 512, which the fused kernels that torch brings refuse.

A mask says who sees whom where not everybody sees everything: in a replayed pass, whose prefix is padded, and in the
encoder. The query heads of a group share their keys, so they are one block of rows: keys and values are read once for
all of them. A narrow canvas has few such blocks: then the keys are split as well, so that the card is full, and a
second kernel joins the splits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

PROGRAMS = 256
"""How many fill a large card, about two for each of its multiprocessors."""
LEAST = 128
"""Keys of a split, fewer are not worth a program."""
MOST = 16
"""Splits; how many there are is no constant of the kernels, else every length would have its own."""
STEP = 32
"""Keys at a time, loaded one step ahead: with heads of 512 just what the shared memory of a small card holds."""


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """`query` `[B, T, heads, hd]`, `keys` and `values` `[B, kv_heads, S, hd]` → `[B, T, heads, hd]`.

    Scores are not scaled; hd is a power of two, 16 or more. `mask` `[T, S]`, `[B, T, S]` or `[B, 1, S]` is added to
    them, −∞ included; without it all S count.
    """
    batch, rows, heads, size = query.shape
    kv_heads, length = keys.shape[1:3]
    group = heads // kv_heads
    height = 32 if size > 256 else 64
    blocks = triton.cdiv(rows * group, height)
    splits = max(1, min(PROGRAMS // (blocks * kv_heads * batch), length // LEAST, MOST))
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    added = query if mask is None else mask.expand(batch, rows, length)
    # What a split has gathered, not yet divided, and its largest score and sum of exponentials.
    shape = (batch, rows, heads, splits) if splits > 1 else (0,)
    gathered = torch.empty(*shape, size, dtype=torch.float32, device=query.device)
    tops, totals = (torch.empty(shape, dtype=torch.float32, device=query.device) for _ in range(2))
    _attend[(blocks, kv_heads * splits, batch)](
        query,
        keys,
        values,
        out,
        gathered,
        tops,
        totals,
        added,
        *query.stride()[:3],
        *keys.stride()[:3],
        *values.stride()[:3],
        *added.stride()[:3],
        *(rows, heads, length, splits),
        GROUP=group,
        SIZE=size,
        HEIGHT=height,
        KEYS=STEP,
        SPLIT=splits > 1,
        MASKED=mask is not None,
        # The interpreter multiplies bf16 wrongly.
        DOT={torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}.get(query.dtype, tl.float32)
        if query.is_cuda
        else tl.float32,
        num_warps=8 if size >= 256 else 4,
        num_stages=2,
    )
    if splits > 1:
        grid = (batch * rows * heads,)
        _join[grid](gathered, tops, totals, out, splits, MOST=MOST, SIZE=size)
    return out


@triton.jit(do_not_specialize=["rows", "length", "splits"])
def _attend(
    query,
    keys,
    values,
    out,
    gathered_out,
    tops,
    totals,
    mask,
    query_member,
    query_row,
    query_head,
    key_member,
    key_head,
    key_row,
    value_member,
    value_head,
    value_row,
    mask_member,
    mask_row,
    mask_key,
    rows,
    heads,
    length,
    splits,
    GROUP: tl.constexpr,
    SIZE: tl.constexpr,
    HEIGHT: tl.constexpr,
    KEYS: tl.constexpr,
    SPLIT: tl.constexpr,
    MASKED: tl.constexpr,
    DOT: tl.constexpr,
):
    head, split = (tl.program_id(1) // splits).to(tl.int64), tl.program_id(1) % splits
    member = tl.program_id(2).to(tl.int64)
    size = tl.cdiv(tl.cdiv(length, splits), KEYS) * KEYS
    begin = split * size
    end = tl.minimum(begin + size, length)
    place = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    real = place < rows * GROUP
    row, one = (place // GROUP).to(tl.int64), head * GROUP + place % GROUP
    column = tl.arange(0, SIZE)
    at = member * query_member + row * query_row + one * query_head
    asked = tl.load(query + at[:, None] + column[None, :], mask=real[:, None], other=0.0).to(DOT)
    top = tl.full((HEIGHT,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((HEIGHT,), dtype=tl.float32)
    gathered = tl.zeros((HEIGHT, SIZE), dtype=tl.float32)
    for start in range(begin, end, KEYS):
        key = (start + tl.arange(0, KEYS)).to(tl.int64)
        there = key < end
        spot = keys + member * key_member + head * key_head + key[:, None] * key_row + column[None, :]
        seen = tl.load(spot, mask=there[:, None], other=0.0).to(DOT)
        score = tl.dot(asked, tl.trans(seen))
        if MASKED:
            spot = mask + member * mask_member + row[:, None] * mask_row + key[None, :] * mask_key
            score += tl.load(spot, mask=real[:, None] & there[None, :], other=0.0).to(tl.float32)
        score = tl.where(there[None, :], score, -float("inf"))
        higher = tl.maximum(top, tl.max(score, axis=1))
        # A row may see none of the keys so far.
        level = tl.where(higher == -float("inf"), 0.0, higher)
        share = tl.exp(score - level[:, None])
        shrink = tl.exp(top - level)
        total = total * shrink + tl.sum(share, axis=1)
        spot = values + member * value_member + head * value_head + key[:, None] * value_row + column[None, :]
        held = tl.load(spot, mask=there[:, None], other=0.0).to(DOT)
        gathered = gathered * shrink[:, None] + tl.dot(share.to(DOT), held)
        top = higher
    at = (member * rows + row) * heads + one
    if SPLIT:
        at = at * splits + split
        tl.store(tops + at, top, mask=real)
        tl.store(totals + at, total, mask=real)
        tl.store(gathered_out + at[:, None] * SIZE + column[None, :], gathered, mask=real[:, None])
    else:
        gathered /= total[:, None]
        tl.store(out + at[:, None] * SIZE + column[None, :], gathered.to(out.dtype.element_ty), mask=real[:, None])


@triton.jit(do_not_specialize=["splits"])
def _join(gathered, tops, totals, out, splits, MOST: tl.constexpr, SIZE: tl.constexpr):
    """The splits of one row and head; one without keys has no part in it."""
    at, split, column = tl.program_id(0).to(tl.int64), tl.arange(0, MOST), tl.arange(0, SIZE)
    inside = split < splits
    top = tl.load(tops + at * splits + split, mask=inside, other=-float("inf"))
    weight = tl.exp(top - tl.max(top, axis=0))
    total = tl.sum(weight * tl.load(totals + at * splits + split, mask=inside, other=0.0), axis=0)
    spot = gathered + (at * splits + split)[:, None] * SIZE + column[None, :]
    parts = tl.load(spot, mask=inside[:, None], other=0.0) * weight[:, None]
    tl.store(out + at * SIZE + column, (tl.sum(parts, axis=0) / total).to(out.dtype.element_ty))
