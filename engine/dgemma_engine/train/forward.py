"""The training forward: many canvases over one encoded document, gradients through both sides.

The same layers as `DiffusionGemma`, with a cache made of graph tensors. Sharing one encoder pass among all canvases
of a document is what makes training on a CPU worthwhile. Attention is written out: all canvases of a document meet its
keys in one product, nothing is copied per canvas, and the compiler fuses mask and softmax. Beside the library's kernel
that saves a fifth of a step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import DiffusionGemma
from ..model.attention import rotation
from ..model.rows import causal_mask

KeysValues = list[tuple[Tensor, Tensor]]


def encode(model: DiffusionGemma, ids: Tensor) -> tuple[Tensor, KeysValues]:
    """Documents `[B, L]` → hidden states `[B, L, D]` and each layer's keys and values `[B, kv_heads, L, hd]`."""
    length = ids.shape[1]
    masks = {
        kind: causal_mask(0, length, 0, window, ids.device)
        for kind, window in (("full_attention", None), ("sliding_attention", model.config.sliding_window))
    }
    turns = _rotations(model, torch.arange(length, device=ids.device)[None])
    kept: KeysValues = []
    x = model.embed(ids)
    for layer, shape in zip(model.layers, model.config.layers, strict=True):

        def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor = masks[shape.kind]) -> Tensor:
            keys, values = key.transpose(1, 2), value.transpose(1, 2)
            kept.append((keys, values))
            weights = _weigh(_folded(query, keys) @ keys.mT, mask.repeat(query.shape[2] // keys.shape[1], 1))
            return _unfolded(weights @ values, query)

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
    x = model.self_conditioning.condition(model.embed(canvas), signal)
    for index, (layer, shape) in enumerate(zip(model.layers, model.config.layers, strict=True)):

        def attend(
            query: Tensor, key: Tensor, value: Tensor, past: tuple[Tensor, Tensor] = kept[index], kind: str = shape.kind
        ) -> Tensor:
            keys, values = key.transpose(1, 2), value.transpose(1, 2)
            out = _attend_both(_folded(query, keys), keys, values, past, masks[kind], canvases)
            return _unfolded(out, query)

        x = layer(x, turns[shape.kind], attend, 0)
    return model.norm(x)


def _attend_both(
    query: Tensor, key: Tensor, value: Tensor, past: tuple[Tensor, Tensor], mask: Tensor, canvases: int
) -> Tensor:
    """Canvas rows over the document's keys and values `[B, kv_heads, L, hd]` and over their own canvas."""
    keys, values = past
    length, rows = keys.shape[2], query.shape[2]

    def by_document(part: Tensor) -> Tensor:
        return part.unflatten(0, (-1, canvases)).transpose(1, 2).flatten(2, 3)

    def by_canvas(part: Tensor) -> Tensor:
        return part.unflatten(2, (canvases, rows)).transpose(1, 2).flatten(0, 1)

    before, own = by_canvas(by_document(query) @ keys.mT).float(), (query @ key.mT).float()
    # One softmax over both, written out: put together first, they make a slower loop of what the compiler fuses.
    bias = torch.zeros_like(mask, dtype=before.dtype).masked_fill(~mask, -torch.inf)
    before, own = before + bias[..., :length], own + bias[..., length:]
    with torch.no_grad():
        most = torch.maximum(before.amax(-1, keepdim=True), own.amax(-1, keepdim=True))
    before, own = (before - most).exp(), (own - most).exp()
    total = before.sum(-1, keepdim=True) + own.sum(-1, keepdim=True)
    seen = by_canvas(by_document(_narrow(before)) @ values)
    return _narrow((seen + _narrow(own) @ value) / total)


def _weigh(scores: Tensor, mask: Tensor) -> Tensor:
    return _narrow(F.softmax(scores.float().masked_fill(~mask, -torch.inf), dim=-1))


def _narrow(weights: Tensor) -> Tensor:
    """In the dtype in which they are multiplied."""
    return weights.to(torch.bfloat16 if torch.is_autocast_enabled(weights.device.type) else weights.dtype)


def _folded(query: Tensor, keys: Tensor) -> Tensor:
    """`[N, T, heads, hd]` → `[N, kv_heads, groups·T, hd]`: the heads of a group share their keys."""
    return query.transpose(1, 2).reshape(len(query), keys.shape[1], -1, query.shape[-1])


def _unfolded(out: Tensor, query: Tensor) -> Tensor:
    batch, rows, heads, size = query.shape
    return out.reshape(batch, heads, rows, size).transpose(1, 2)


def _canvas_masks(real: Tensor, prefix: Tensor, length: int, window: int) -> dict[str, Tensor]:
    """`[B·C, 1, 1, L + W]`, True where a canvas may look; sliding layers keep the last `window - 1` of the prefix."""
    keys = torch.arange(length, device=prefix.device)
    before = keys < prefix[:, None]
    near = before & (keys >= prefix[:, None] - window + 1)
    return {
        kind: torch.cat([seen, real], dim=1)[:, None, None]
        for kind, seen in (("full_attention", before), ("sliding_attention", near))
    }


def _rotations(model: DiffusionGemma, positions: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    return {kind: rotation(model.frequencies(kind), positions, model.dtype) for kind in model.config.ropes}
