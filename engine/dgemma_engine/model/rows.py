"""Rows of one forward: where they stand, what they see, and whether they stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from attrs import field, frozen
from torch import Tensor

from .attention import Attend, gather
from .cache import KVCache
from .grain import Grain


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
class View:
    """What rows look at: `count` positions from `start` on, of which those that `mask` is -inf at are hidden."""

    start: int
    count: int
    mask: Tensor | None


@frozen(eq=False)
class Segment:
    """Rows in their place: from position `at` of the sequence, and flat rows `[first, last)` of the forward.

    Each of its B variants is `width` rows, the last of which may be there for the shape alone: nobody sees them.
    """

    rows: Rows
    at: int
    first: int
    width: int
    window: int
    grain: Grain
    _views: dict[str, View] = field(factory=dict)

    @property
    def last(self) -> int:
        return self.first + len(self.rows.ids) * self.width

    @property
    def padding(self) -> int:
        """Rows behind those of the request."""
        return self.width - self.rows.ids.shape[1]

    @property
    def ids(self) -> Tensor:
        """`[B, width]`."""
        return F.pad(self.rows.ids, (0, self.padding)) if self.padding else self.rows.ids

    @property
    def signal(self) -> Tensor | None:
        """`[B, width, D]`."""
        signal = self.rows.signal
        return F.pad(signal, (0, 0, 0, self.padding)) if self.padding and signal is not None else signal

    @property
    def positions(self) -> Tensor:
        """Of every flat row, `[B·width]`."""
        return torch.arange(self.at, self.at + self.width, device=self.rows.ids.device).repeat(len(self.rows.ids))

    @property
    def asked(self) -> Tensor:
        """The flat rows of the forward whose hidden states are wanted, `[R]`."""
        batch, count = self.rows.ids.shape
        asked = self.rows.asked
        if asked is None:
            asked = torch.arange(batch * count, device=self.rows.ids.device)
        if self.padding:
            asked = asked + asked // count * self.padding
        return asked + self.first

    def attend(self, layer: int, kind: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The attention of this segment's rows, all `[1, B·width, heads, head_dim]`."""
        shape = (len(self.rows.ids), self.width, -1, query.shape[-1])
        view = self._view(kind, query.dtype)
        keys, values = (part.view(shape).transpose(1, 2) for part in (key, value))
        keys, values = self.rows.cache.write(layer, keys, values, self.at, view.start, view.count)
        return gather(query.view(shape), keys, values, view.mask).reshape(query.shape)

    def _view(self, kind: str, dtype: torch.dtype) -> View:
        """For layers of this kind; the mask is added to the scores."""
        if kind not in self._views:
            window = self.window if kind == "sliding_attention" else None
            start = 0 if window is None else max(0, self.at - window + 1)
            count = self.grain.rounded_keys(self.at + self.width - start)
            mask = self._mask(start, count, window)
            if mask is not None:
                mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -math.inf)
            self._views[kind] = View(start, count, mask)
        return self._views[kind]

    def _mask(self, start: int, count: int, window: int | None) -> Tensor | None:
        """Who may look where, None where everybody sees everything: canvases are anchored at their own start."""
        device = self.rows.ids.device
        if self.rows.encoder:
            return causal_mask(self.at, self.width, start, window, device, count)
        real, before = self.rows.real, self.at - start
        if real is None:
            own = self.rows.ids.shape[1]
            if before + own == count:
                return None
            return (torch.arange(count, device=device) < before + own)[None, None]
        mask = torch.ones(len(real), count, dtype=torch.bool, device=device)
        mask[:, before:] = F.pad(real, (0, count - before - real.shape[1]))
        return mask[:, None]


def place(parts: Sequence[Rows], window: int, grain: Grain) -> list[Segment]:
    """The parts behind one another, each behind its prefix and the rows that will be kept there."""
    segments: list[Segment] = []
    first, ends = 0, {id(part.cache): part.cache.length for part in parts}
    for part in parts:
        batch, count = part.ids.shape
        if part.kept and (batch > 1 or not part.encoder):
            raise ValueError("only one continuation of a prefix can be kept, on the encoder's side")
        at = ends[id(part.cache)]
        segment = Segment(part, at, first, grain.rounded_rows(count), window, grain)
        segments.append(segment)
        part.cache.reserve(at + segment.width - 1 + grain.keys)
        first = segment.last
        ends[id(part.cache)] += count if part.kept else 0
    return segments


def asked_rows(segments: Sequence[Segment], grain: Grain) -> Tensor | None:
    """The flat rows `[R]` whose hidden states anybody wants, None where all are wanted.

    Row 0 behind them, any number of times, makes up the shape.
    """
    if all(segment.rows.asked is None and not segment.padding for segment in segments):
        return None
    asked = torch.cat([segment.asked for segment in segments])
    return F.pad(asked, (0, grain.rounded_rows(len(asked)) - len(asked)))


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


def causal_mask(
    at: int, count: int, start: int, window: int | None, device: torch.device, keys_count: int | None = None
) -> Tensor:
    """`[count, keys_count]`: rows from position `at` see themselves and what stands before, from `start` on.

    With a `window` they see the last `window` positions, their own included. By default keys end with the rows.
    """
    keys = torch.arange(start, at + count if keys_count is None else start + keys_count, device=device)
    places = torch.arange(at, at + count, device=device)[:, None]
    return keys <= places if window is None else (keys <= places) & (keys > places - window)
