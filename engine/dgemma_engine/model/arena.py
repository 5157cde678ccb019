"""Keys and values at addresses that stay: copies of the prefixes that a static pass reads.

A `KVCache` grows, is cut and is dropped; what was captured in a graph must find the same memory every time. So a pass
reads from *lanes*, each with a copy of one prefix, and remembers what a lane holds: a prefix is copied once, and after
that only what was written behind it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence

import torch
from attrs import define, field, frozen
from torch import Tensor

from .cache import KVCache
from .config import LayerKind, ModelConfig

DELTA_ROWS = 64
"""Kept rows that a static pass takes of one request, at most."""
ALIGNED = 16
"""Rows: fused attention wants masks whose width is a multiple of 8."""


@frozen
class Extent:
    """Room for `lanes` prefixes of `keys` tokens, with `canvas` rows of canvases beside each."""

    lanes: int
    canvas: int
    keys: int

    def joined(self, other: Extent) -> Extent:
        """The least one that has room for both."""
        return Extent(max(self.lanes, other.lanes), max(self.canvas, other.canvas), max(self.keys, other.keys))


@define(eq=False)
class Lane:
    """Which rows of `cache` it holds: in full layers `[0, end)`, in sliding ones `[first, end)`, as of `version`."""

    cache: weakref.ref[KVCache] | None = None
    version: int = 0
    first: int = 0
    end: int = 0
    used: int = 0


@define(eq=False)
class Arena:
    """One buffer of keys and one of values a layer, `[lanes, rows, kv_heads, head_dim]`.

    The rows of a lane are those of its canvases, the last one at `extent.canvas - 1`; then its prefix, in full layers
    at its positions, in sliding ones in a ring; and one that nobody reads, for what is padding.
    """

    config: ModelConfig
    extent: Extent
    keys: list[Tensor]
    values: list[Tensor]
    lanes: list[Lane] = field(init=False)
    _clock: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.lanes = [Lane() for _ in range(self.extent.lanes)]

    @classmethod
    def new(cls, config: ModelConfig, extent: Extent, device: torch.device, dtype: torch.dtype) -> Arena:
        """Zeros: what is masked out must be a number all the same."""
        with torch.inference_mode(mode=False):
            keys, values = (
                [
                    torch.zeros(
                        (extent.lanes, rows_of(config, extent, layer.kind), layer.kv_heads, layer.head_dim),
                        device=device,
                        dtype=dtype,
                    )
                    for layer in config.layers
                ]
                for _ in range(2)
            )
        return cls(config, extent, keys, values)

    @property
    def ring(self) -> int:
        return ring_size(self.config)

    def rows(self, kind: LayerKind) -> int:
        """Of one lane."""
        return rows_of(self.config, self.extent, kind)

    def span(self, kind: LayerKind, keys: int) -> int:
        """Rows of a lane's prefix that a pass has to look at, where no prefix is longer than `keys`."""
        return keys if kind == "full_attention" else min(self.ring, keys)

    def seen(self, layer: int, lanes: int, canvas: int, span: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `lanes`: `canvas` rows, then `span` of the prefix; `[L, kv_heads, S, hd]`."""
        first = self.extent.canvas - canvas
        rows = slice(first, self.extent.canvas + span)
        return self.keys[layer][:lanes, rows].transpose(1, 2), self.values[layer][:lanes, rows].transpose(1, 2)

    def assign(self, caches: Sequence[KVCache], lanes: int) -> list[int]:
        """A lane for each cache, among the first `lanes`: its own, or that which was used longest ago."""
        self._clock += 1
        chosen: dict[int, int] = {}
        for number, lane in enumerate(self.lanes[:lanes]):
            held = None if lane.cache is None else lane.cache()
            for place, cache in enumerate(caches):
                if cache is held and place not in chosen:
                    chosen[place] = number
        free = sorted(set(range(lanes)) - set(chosen.values()), key=lambda number: self.lanes[number].used)
        for place in range(len(caches)):
            if place not in chosen:
                chosen[place] = free.pop(0)
            self.lanes[chosen[place]].used = self._clock
        return [chosen[place] for place in range(len(caches))]

    def load(self, number: int, cache: KVCache) -> int:
        """Make lane `number` hold the prefix in `cache`; returns how many rows had to be copied."""
        lane, length = self.lanes[number], cache.length
        least = max(0, length - self.config.sliding_window + 1)
        if lane.cache is None or lane.cache() is not cache:
            lane.cache, lane.first, lane.end = weakref.ref(cache), least, 0
        held = min(lane.end, cache.unchanged_since(lane.version))
        # What is missing from the ring may be older than what is there: then all of the window is copied.
        slid = held if lane.first <= least <= held else least
        for layer, shape in enumerate(self.config.layers):
            start = held if shape.kind == "full_attention" else slid
            for mine, theirs in self._pairs(number, layer, cache, start, length):
                mine.copy_(theirs)
        lane.first = max(lane.first if slid == held else least, length - self.ring)
        lane.end, lane.version = length, cache.version
        return length - min(held, slid)

    def store(self, number: int, cache: KVCache, count: int) -> None:
        """What a pass wrote behind the prefix of lane `number`, `count` rows, becomes part of the one in `cache`."""
        lane, start = self.lanes[number], cache.length
        cache.reserve(start + count)
        for layer in range(len(self.config.layers)):
            for mine, theirs in self._pairs(number, layer, cache, start, start + count):
                theirs.copy_(mine)
        cache.commit(count)
        lane.end = cache.length
        lane.first = max(lane.first, lane.end - self.ring)

    def forget(self) -> None:
        """After a pass that failed nobody knows what the lanes hold."""
        self.lanes = [Lane() for _ in self.lanes]

    def _pairs(self, number: int, layer: int, cache: KVCache, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows `[start, stop)` here and in `cache`, in pieces that are whole in both."""
        size = self.ring if self.config.layers[layer].kind == "sliding_attention" else self.extent.keys
        while start < stop:
            place = start % size
            end = min(stop, start + size - place)
            rows = slice(self.extent.canvas + place, self.extent.canvas + place + end - start)
            mine = self.keys[layer][number, rows], self.values[layer][number, rows]
            yield from zip(mine, cache.rows(layer, start, end), strict=True)
            start = end


def ring_size(config: ModelConfig) -> int:
    """Prefix rows that a sliding layer keeps: its window, and the kept rows that are written while it is read."""
    return -(-(config.sliding_window - 1 + DELTA_ROWS) // ALIGNED) * ALIGNED


def rows_of(config: ModelConfig, extent: Extent, kind: LayerKind) -> int:
    """Of one lane in a layer of this kind."""
    return extent.canvas + (extent.keys if kind == "full_attention" else ring_size(config)) + 1


def arena_bytes(config: ModelConfig, extent: Extent, element: int) -> int:
    """Memory of an arena whose keys and values take `element` bytes each."""
    rows = sum(rows_of(config, extent, layer.kind) * layer.kv_heads * layer.head_dim for layer in config.layers)
    return 2 * element * extent.lanes * rows
