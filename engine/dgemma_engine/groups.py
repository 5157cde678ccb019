"""The parts of a forward by prefix, and the bucket that they fit into."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from .model import KVCache, Rows
from .model.arena import DELTA_ROWS
from .model.static import Bucket

LANES = (1, 2, 4, 8)
SLOTS = (1, 2, 4, 8, 16)
WIDTHS = (16, 32, 64, 128, 256)
DELTAS = (0, 16, DELTA_ROWS)
KEYS = (512, 1024, 2048, 4096, 8192)
LANE_ROWS, FORWARD_ROWS = 1024, 2048
"""Rows of canvases in a lane and in all: a pass over more is not bound by its launches."""


@define(eq=False)
class Group:
    """Parts with one prefix, by index: kept rows, and canvases with the slot of each one's first."""

    cache: KVCache
    delta: int | None = None
    canvases: list[tuple[int, int]] = field(factory=list)
    slots: int = 0

    def kept(self, parts: Sequence[Rows]) -> int:
        """How many rows become part of the prefix."""
        return 0 if self.delta is None else parts[self.delta].ids.shape[1]


def grouped(parts: Sequence[Rows]) -> list[Group] | None:
    """The parts by prefix, None where one of them, or two of them together, are nothing for a static pass."""
    groups: dict[int, Group] = {}
    for index, rows in enumerate(parts):
        group = groups.setdefault(id(rows.cache), Group(rows.cache))
        batch = rows.ids.shape[0]
        if not rows.encoder and not rows.kept:
            group.canvases.append((index, group.slots))
            group.slots += batch
        elif rows.encoder and rows.kept and batch == 1 and group.delta is None:
            group.delta = index
        else:
            return None
    return list(groups.values())


def bucket_of(groups: Sequence[Group], parts: Sequence[Rows]) -> Bucket | None:
    """The smallest bucket that the groups fit into; None where there is too much of something.

    Without a canvas there is one for single tokens alone, as they are written one by one: a piece of a prefix has rows
    enough to hide its launches, and padding would have experts read that nobody asked for.
    """
    widths = [parts[index].ids.shape[1] for group in groups for index, _ in group.canvases]
    most = max(group.kept(parts) for group in groups)
    lanes = least(LANES, len(groups))
    keys = least(KEYS, max(group.cache.length + group.kept(parts) for group in groups))
    if lanes is None or keys is None:
        return None
    if not widths:
        return Bucket(lanes, 0, 1, 1, keys) if most == 1 else None
    slots, width, delta = (
        least(SLOTS, max(group.slots for group in groups)),
        least(WIDTHS, max(widths)),
        least(DELTAS, most),
    )
    if slots is None or width is None or delta is None:
        return None
    if slots * width > LANE_ROWS or lanes * slots * width > FORWARD_ROWS:
        return None
    return Bucket(lanes, slots, width, delta, keys)


def least(steps: Sequence[int], count: int) -> int | None:
    """The first of `steps`, which rise, that is no less than `count`."""
    return next((step for step in steps if step >= count), None)
