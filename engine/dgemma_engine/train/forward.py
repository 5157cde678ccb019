"""The training forward: many canvases over one encoded document, gradients through both sides.

The same layers as `DiffusionGemma`, with a cache made of graph tensors. Sharing one encoder pass among all canvases
of a document is what makes training on a CPU worthwhile.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..model import DiffusionGemma
from ..model.attention import gather, rotation
from ..model.rows import causal_mask

KeysValues = list[tuple[Tensor, Tensor]]


def encode(model: DiffusionGemma, ids: Tensor) -> tuple[Tensor, KeysValues]:
    """Documents `[B, L]` → hidden states `[B, L, D]` and each layer's keys and values `[B, kv_heads, L, hd]`."""
    length = ids.shape[1]
    window = model.config.sliding_window
    masks = {
        "full_attention": causal_mask(0, length, 0, None, ids.device),
        "sliding_attention": causal_mask(0, length, 0, window, ids.device),
    }
    turns = _rotations(model, torch.arange(length, device=ids.device)[None])
    kept: KeysValues = []

    x = model.embed(ids)
    for layer, shape in zip(model.layers, model.config.layers, strict=True):

        def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor = masks[shape.kind]) -> Tensor:
            kept.append((key.transpose(1, 2), value.transpose(1, 2)))
            return gather(query, *kept[-1], mask)

        x = layer(x, turns[shape.kind], attend, length)
    return model.norm(x), kept


def decode(
    model: DiffusionGemma,
    canvas: Tensor,
    real: Tensor,
    prefix: Tensor,
    kept: KeysValues,
    signal: Tensor | None,
) -> Tensor:
    """Canvases `[B, C, W]` of B documents → hidden states `[B·C, W, D]`.

    `real` `[B, C, W]` is False on padding, `prefix` `[B, C]` counts the document's tokens before each canvas,
    `signal` `[B·C, W, D]` is the self-conditioning.
    """
    canvases, width = canvas.shape[1:]
    canvas, real, prefix = canvas.flatten(0, 1), real.flatten(0, 1), prefix.flatten()
    turns = _rotations(model, prefix[:, None] + torch.arange(width, device=canvas.device))
    masks = _canvas_masks(real, prefix, kept[0][0].shape[2], model.config.sliding_window)
    x = model.self_conditioning(model.embed(canvas), signal)
    for index, (layer, shape) in enumerate(zip(model.layers, model.config.layers, strict=True)):

        def attend(query: Tensor, key: Tensor, value: Tensor, index: int = index, kind: str = shape.kind) -> Tensor:
            keys, values = (
                torch.cat([_for_each_canvas(past, canvases), new.transpose(1, 2)], dim=2)
                for past, new in zip(kept[index], (key, value), strict=True)
            )
            return gather(query, keys, values, masks[kind])

        x = layer(x, turns[shape.kind], attend, 0)
    return model.norm(x)


def _for_each_canvas(part: Tensor, canvases: int) -> Tensor:
    # expand, whose gradient is a sum: repeat_interleave's is a serial scatter, half of a step on a CPU.
    return part[:, None].expand(-1, canvases, -1, -1, -1).flatten(0, 1)


def _canvas_masks(real: Tensor, prefix: Tensor, length: int, window: int) -> dict[str, Tensor]:
    """`[B·C, W, L + W]`, True where a canvas row may look; sliding layers keep the last `window - 1` of the prefix."""
    keys = torch.arange(length, device=prefix.device)
    before = keys < prefix[:, None]
    near = before & (keys >= prefix[:, None] - window + 1)
    width = real.shape[1]
    return {
        kind: torch.cat([seen, real], dim=1)[:, None].expand(-1, width, -1)
        for kind, seen in (("full_attention", before), ("sliding_attention", near))
    }


def _rotations(model: DiffusionGemma, positions: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    return {kind: rotation(model.frequencies(kind), positions, model.dtype) for kind in model.config.ropes}
