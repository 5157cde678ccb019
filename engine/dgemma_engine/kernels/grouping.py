"""Rows sorted by the expert that they chose, cut into tiles that belong to one expert each; no wait for the device."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor


@frozen
class Grouping:
    """N rows that chose k experts each are N·k pairs.

    `order` `[N·k]`: pairs by expert. Of each tile `expert` `[tiles]`, which is `E` where the tile is one too many, and
    its pairs `first` to `last` `[tiles]` in `order`.
    """

    order: Tensor
    expert: Tensor
    first: Tensor
    last: Tensor


def group(index: Tensor, experts: int, rows: int) -> Grouping:
    """`index` `[N, k]` of each row's experts; tiles of at most `rows` pairs.

    As many tiles are planned as there can be at most, so that their number is known without asking the device.
    """
    flat = index.flatten()
    order = flat.argsort(stable=True)
    counts = torch.zeros(experts, dtype=torch.int64, device=index.device).scatter_add_(0, flat, torch.ones_like(flat))
    ends = counts.cumsum(0)
    tiles = (counts + rows - 1) // rows
    tile_ends = tiles.cumsum(0)
    most = min(flat.numel(), experts + flat.numel() // rows)
    number = torch.arange(most, device=index.device)
    expert = torch.searchsorted(tile_ends, number, right=True)
    owner = expert.clamp(max=experts - 1)
    first = ends[owner] - counts[owner] + (number - tile_ends[owner] + tiles[owner]) * rows
    last = torch.minimum(first + rows, ends[owner])
    return Grouping(order.int(), expert.int(), first.int(), last.int())
