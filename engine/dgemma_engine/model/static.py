"""A forward of one shape over memory that stays where it is: what a CUDA graph can be made of.

It computes what `DiffusionGemma.forward` computes of kept rows and canvases, padded to the shape of a `Bucket`. All
that changes from pass to pass (ids, lengths, what is padding) lies in tensors, so that the host decides nothing and
never waits. Rows of padding come out as anything, and nobody who is real sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from attrs import define, field, frozen
from torch import Tensor

from .arena import Arena, Extent
from .attention import Gather, kernel_for, rotation
from .config import LayerKind, LayerShape
from .diffusion_gemma import DiffusionGemma

MASKED = -3e4
"""Added to a score, enough to make its weight 0 in every dtype, and a row that sees nobody still a number."""


LaneGather = Callable[[Tensor, Tensor, Tensor], Tensor]
"""What `query` `[L, T, heads, hd]` gathers from `keys`, `values` `[L, kv_heads, S, hd]`, in its shape."""


@frozen
class Bucket:
    """A shape: `lanes` requests of up to `slots` canvases of `width` rows, `delta` kept rows, prefixes of `keys`.

    Of the prefix the kept rows are a part. Rows lie flat: the kept ones of all lanes, then the canvases of all lanes.
    """

    lanes: int
    slots: int
    width: int
    delta: int
    keys: int

    @property
    def canvas(self) -> int:
        """Rows of canvases in a lane."""
        return self.slots * self.width

    @property
    def extent(self) -> Extent:
        return Extent(self.lanes, self.canvas, self.keys)

    @property
    def encoded(self) -> int:
        """Rows on the encoder's side."""
        return self.lanes * self.delta

    @property
    def rows(self) -> int:
        return self.encoded + self.lanes * self.canvas


@define(eq=False)
class StaticPass:
    """The buffers of one bucket and the step over them.

    Read by the step: `ids` `[rows]`; `signal` `[lanes·canvas, D]`, zeros where there is none; `real` `[lanes, canvas]`,
    False on padding; `lengths` `[2, lanes]`, tokens of each prefix before the pass and kept rows of it. Written:
    `hidden` `[rows, D]`, and the arena.
    """

    model: DiffusionGemma
    arena: Arena
    bucket: Bucket
    ids: Tensor = field(init=False)
    signal: Tensor = field(init=False)
    real: Tensor = field(init=False)
    lengths: Tensor = field(init=False)
    hidden: Tensor = field(init=False)
    _laid: tuple[tuple[int, int, int], ...] = field(default=(), init=False)

    def __attrs_post_init__(self) -> None:
        config, bucket, device = self.model.config, self.bucket, self.model.device
        flat, size = bucket.lanes * bucket.canvas, config.hidden_size
        with torch.inference_mode(mode=False):
            self.ids = torch.full((bucket.rows,), config.pad_id, device=device)
            self.signal = torch.zeros(flat, size, device=device, dtype=self.model.dtype)
            self.real = torch.zeros(bucket.lanes, bucket.canvas, device=device, dtype=torch.bool)
            self.lengths = torch.zeros(2, bucket.lanes, device=device, dtype=torch.long)
            self.hidden = torch.zeros(bucket.rows, size, device=device, dtype=self.model.dtype)

    @property
    def kept_ids(self) -> Tensor:
        """`[lanes, delta]`, a view."""
        return self.ids[: self.bucket.encoded].view(self.bucket.lanes, self.bucket.delta)

    @property
    def canvas_ids(self) -> Tensor:
        """`[lanes, slots, width]`, a view."""
        return self._slots(self.ids[self.bucket.encoded :])

    @property
    def signals(self) -> Tensor:
        """`[lanes, slots, width, D]`, a view."""
        return self._slots(self.signal)

    @property
    def reals(self) -> Tensor:
        """`[lanes, slots, width]`, a view."""
        return self._slots(self.real.flatten())

    @property
    def kept_hidden(self) -> Tensor:
        """`[lanes, delta, D]`, a view."""
        return self.hidden[: self.bucket.encoded].view(self.bucket.lanes, self.bucket.delta, -1)

    @property
    def canvas_hidden(self) -> Tensor:
        """`[lanes, slots, width, D]`, a view."""
        return self._slots(self.hidden[self.bucket.encoded :])

    def lay_out(self, prefixes: tuple[tuple[int, int, int], ...]) -> None:
        """Tell the step of `prefixes`: lane, length and kept rows of each; other lanes are empty.

        The passes of a fill have the same ones, and a copy from the host might wait for the device: so they are written
        number by number, and only when they have changed.
        """
        if prefixes == self._laid:
            return
        self.lengths.zero_()
        for lane, length, kept in prefixes:
            self.lengths[0, lane].fill_(length)
            self.lengths[1, lane].fill_(kept)
        self._laid = prefixes

    def _slots(self, rows: Tensor) -> Tensor:
        bucket = self.bucket
        return rows.view(bucket.lanes, bucket.slots, bucket.width, *rows.shape[1:])

    def step(self) -> None:
        """The whole pass: the same kernels on the same memory each time."""
        model, bucket = self.model, self.bucket
        kinds: dict[LayerKind, None] = dict.fromkeys(shape.kind for shape in model.config.layers)
        kept, canvas = self._positions()
        flat = torch.cat([kept.flatten(), canvas.flatten()])[None]
        turns = {kind: rotation(model.frequencies(kind), flat, model.dtype) for kind in kinds}
        masks = {kind: self._mask(kind, kept) for kind in kinds}
        gathers = {shape: self._gather(shape, masks[shape.kind]) for shape in set(model.config.layers)}
        spans = {kind: masks[kind].shape[-1] - bucket.canvas for kind in kinds}
        places = {kind: self._places(kind, kept) for kind in kinds}

        ids = self.ids.split([bucket.encoded, len(self.signal)])
        x = model.embed(ids[0])[None]
        if bucket.canvas:
            conditioned = model.self_conditioning.condition(model.embed(ids[1])[None], self.signal[None])
            x = torch.cat([x, conditioned], dim=1)
        model.sides.encoded = bucket.encoded
        for index, (layer, shape) in enumerate(zip(model.layers, model.config.layers, strict=True)):
            attend = partial(self._attend, index, gathers[shape], spans[shape.kind], places[shape.kind])
            x = layer(x, turns[shape.kind], attend, bucket.encoded)
        self.hidden.copy_(model.norm(x)[0])

    def _positions(self) -> tuple[Tensor, Tensor]:
        """Of kept rows `[lanes, delta]` and of canvases `[lanes, canvas]`, which all begin where the prefix ends."""
        bucket, device = self.bucket, self.ids.device
        kept = self.lengths[0, :, None] + torch.arange(bucket.delta, device=device)
        canvas = self.lengths.sum(0)[:, None] + torch.arange(bucket.width, device=device).repeat(bucket.slots)
        return kept, canvas

    def _mask(self, kind: LayerKind, kept: Tensor) -> Tensor:
        """Who sees whom: `[lanes, delta + canvas, canvas + span]`, added to the scores."""
        bucket, arena, device = self.bucket, self.arena, self.ids.device
        window = self.model.config.sliding_window if kind == "sliding_attention" else None
        end = self.lengths.sum(0)[:, None]
        rows = torch.arange(arena.span(kind, bucket.keys), device=device)
        # The last position written to a row of the ring; before the first round that is none.
        held = rows.expand(bucket.lanes, -1) if window is None else end - 1 - (end - 1 - rows) % arena.ring
        last = torch.cat([kept, (end - 1).expand(-1, bucket.canvas)], dim=1)[..., None]
        # A canvas is anchored at its start, which no prefix row has: one row less is left of the window.
        least = torch.cat([kept, end.expand(-1, bucket.canvas)], dim=1)[..., None] - (window or 0) + 1
        prefix = (held[:, None] >= (0 if window is None else least.clamp(min=0))) & (held[:, None] <= last)

        number = torch.arange(bucket.canvas, device=device)
        own = number[:, None] // bucket.width == number // bucket.width
        itself = number[:, None] == number
        canvas = own & (self.real[:, None] | itself)
        nothing = canvas.new_zeros(bucket.lanes, bucket.delta, bucket.canvas)
        sees = torch.cat([torch.cat([nothing, canvas], dim=1), prefix], dim=2)
        return torch.zeros(sees.shape, dtype=self.model.dtype, device=device).masked_fill_(~sees, MASKED)

    def _places(self, kind: LayerKind, kept: Tensor) -> Tensor:
        """The row of the arena, its lanes behind one another, where each row's key and value are written `[rows]`."""
        bucket, arena, device = self.bucket, self.arena, self.ids.device
        lanes = torch.arange(bucket.lanes, device=device)[:, None] * arena.rows(kind)
        first = arena.extent.canvas
        place = first + (kept % arena.ring if kind == "sliding_attention" else kept)
        place = torch.where(kept < self.lengths.sum(0)[:, None], place, arena.rows(kind) - 1)
        canvas = torch.arange(first - bucket.canvas, first, device=device)
        return torch.cat([(lanes + place).flatten(), (lanes + canvas).flatten()])

    def _gather(self, shape: LayerShape, mask: Tensor) -> LaneGather:
        """What gathers in layers of this shape, seeing what `mask` `[lanes, delta + canvas, S]` lets it see."""
        kernel = kernel_for(self.ids.device, self.model.dtype, shape.head_dim)
        if kernel is not None:
            return partial(_by_kernel, kernel, mask)
        # For all layers of the shape at once: the heads that share a key are rows of it.
        return partial(_by_torch, mask.repeat(1, self.model.config.heads // shape.kv_heads, 1)[:, None])

    def _attend(
        self, layer: int, gather: LaneGather, span: int, places: Tensor, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """`Attend` for the flat rows of one layer, which looks at `span` rows of the prefix."""
        bucket, arena = self.bucket, self.arena
        for store, rows in ((arena.keys[layer], key), (arena.values[layer], value)):
            store.view(-1, *store.shape[2:]).index_copy_(0, places, rows[0])
        keys, values = arena.seen(layer, bucket.lanes, bucket.canvas, span)
        return self._flat(gather(self._by_lane(query[0]), keys, values))[None]

    def _by_lane(self, rows: Tensor) -> Tensor:
        """Flat rows `[rows, …]` as `[lanes, delta + canvas, …]`."""
        bucket = self.bucket
        if bucket.lanes == 1 or not bucket.delta:
            return rows.view(bucket.lanes, -1, *rows.shape[1:])
        parts = rows.split([bucket.encoded, bucket.lanes * bucket.canvas])
        return torch.cat([part.view(bucket.lanes, -1, *rows.shape[1:]) for part in parts], dim=1)

    def _flat(self, rows: Tensor) -> Tensor:
        """Back from `_by_lane`."""
        bucket = self.bucket
        if bucket.lanes == 1 or not bucket.delta:
            return rows.flatten(0, 1)
        parts = rows.split([bucket.delta, bucket.canvas], dim=1)
        return torch.cat([part.flatten(0, 1) for part in parts])


def _by_kernel(kernel: Gather, mask: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return kernel(query, keys, values, mask)


def _by_torch(mask: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`mask` `[L, 1, groups·T, S]`: the heads of a group share K and V, so they are folded into the rows."""
    lanes, rows, heads, head_dim = query.shape
    folded = query.transpose(1, 2).reshape(lanes, keys.shape[1], -1, head_dim)
    out = F.scaled_dot_product_attention(folded, keys, values, attn_mask=mask, scale=1.0)
    return out.reshape(lanes, heads, rows, head_dim).transpose(1, 2)
