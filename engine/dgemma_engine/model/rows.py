"""Rows of one forward: where they stand, what they see, and whether they stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from attrs import field, frozen
from torch import Tensor

from .attention import Attend, gather
from .cache import KVCache


@frozen(eq=False)
class Rows:
    """What a request brings to a forward: ids `[B, T]` behind the prefix in `cache`, in B variants.

    On the encoder's side they are causal and, when `kept` (B is 1 then), become part of the prefix. Else they are
    canvases that see the prefix and all of themselves: `signal` `[B, T, D]` is their self-conditioning, None on the
    first pass; `real` `[B, T]` is False on padding, which nobody looks at. `asked` `[R]` are the flat rows whose hidden
    states are wanted, in order; None are all. Those of the others need not be computed to the end.
    """

    cache: KVCache
    ids: Tensor
    signal: Tensor | None = None
    real: Tensor | None = None
    encoder: bool = False
    kept: bool = False
    asked: Tensor | None = None

    @property
    def count(self) -> int:
        """How many hidden states are wanted."""
        return self.ids.numel() if self.asked is None else self.asked.numel()

    def shaped(self, hidden: Tensor) -> Tensor:
        """Wanted hidden states `[R, D]` as they are returned: `[B, T, D]` where all are wanted."""
        return hidden.view(*self.ids.shape, -1) if self.asked is None else hidden


@frozen(eq=False)
class Segment:
    """Rows in their place: from position `at` of the sequence, and flat rows `[first, last)` of the forward."""

    rows: Rows
    at: int
    first: int
    last: int
    window: int
    _seen: dict[str, tuple[int, Tensor | None]] = field(factory=dict)

    @property
    def positions(self) -> Tensor:
        """Of every flat row, `[B·T]`."""
        batch, count = self.rows.ids.shape
        return torch.arange(self.at, self.at + count, device=self.rows.ids.device).repeat(batch)

    def attend(self, layer: int, kind: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The attention of this segment's rows, all `[1, B·T, heads, head_dim]`."""
        shape = (*self.rows.ids.shape, -1, query.shape[-1])
        start, mask = self._view(kind, query.dtype)
        keys, values = (part.view(shape).transpose(1, 2) for part in (key, value))
        keys, values = self.rows.cache.write(layer, keys, values, self.at, start)
        return gather(query.view(shape), keys, values, mask).reshape(query.shape)

    def _view(self, kind: str, dtype: torch.dtype) -> tuple[int, Tensor | None]:
        """The first position that a layer of this kind looks at, and what is added to the scores from there on."""
        if kind not in self._seen:
            window = self.window if kind == "sliding_attention" else None
            start = 0 if window is None else max(0, self.at - window + 1)
            mask = self._mask(start, window)
            if mask is not None:
                mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -math.inf)
            self._seen[kind] = (start, mask)
        return self._seen[kind]

    def _mask(self, start: int, window: int | None) -> Tensor | None:
        """Who may look where, None where everybody sees everything from `start`: canvases are anchored at their own."""
        count, device = self.rows.ids.shape[1], self.rows.ids.device
        if self.rows.encoder:
            return causal_mask(self.at, count, start, window, device)
        if self.rows.real is None:
            return None
        before = torch.ones(len(self.rows.ids), self.at - start, dtype=torch.bool, device=device)
        return torch.cat([before, self.rows.real], dim=1)[:, None]


def place(parts: Sequence[Rows], window: int) -> list[Segment]:
    """The parts behind one another, each behind its prefix and the rows that will be kept there."""
    segments: list[Segment] = []
    first, ends = 0, {id(part.cache): part.cache.length for part in parts}
    for part in parts:
        batch, count = part.ids.shape
        if part.kept and (batch > 1 or not part.encoder):
            raise ValueError("only one continuation of a prefix can be kept, on the encoder's side")
        at = ends[id(part.cache)]
        segments.append(Segment(part, at, first, first + batch * count, window))
        part.cache.reserve(at + count)
        first += batch * count
        ends[id(part.cache)] += count if part.kept else 0
    return segments


def asked_rows(segments: Sequence[Segment]) -> Tensor | None:
    """The flat rows of the forward `[R]` whose hidden states anybody wants, None where all are wanted."""
    if all(segment.rows.asked is None for segment in segments):
        return None
    device = segments[0].rows.ids.device
    return torch.cat(
        [
            torch.arange(segment.first, segment.last, device=device)
            if segment.rows.asked is None
            else segment.rows.asked + segment.first
            for segment in segments
        ]
    )


def attention(segments: Sequence[Segment], layer: int, kind: str) -> Attend:
    """How the flat rows of all `segments` attend in one layer."""
    if len(segments) == 1:
        return partial(segments[0].attend, layer, kind)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.cat(
            [
                segment.attend(layer, kind, *(rows[:, segment.first : segment.last] for rows in (query, key, value)))
                for segment in segments
            ],
            dim=1,
        )

    return attend


def causal_mask(at: int, count: int, start: int, window: int | None, device: torch.device) -> Tensor:
    """`[count, at + count - start]`: rows from position `at` see themselves and what stands before, from `start` on.

    With a `window` they see the last `window` positions, their own included.
    """
    keys = torch.arange(start, at + count, device=device)
    places = torch.arange(at, at + count, device=device)[:, None]
    return keys <= places if window is None else (keys <= places) & (keys > places - window)
