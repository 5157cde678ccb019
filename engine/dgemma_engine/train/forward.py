"""The training forward: many canvases over one encoded document, gradients through both sides.

The same layers as `DiffusionGemma`, with a cache made of graph tensors. Sharing one encoder pass among all canvases
of a document is what makes training on a CPU worthwhile. Attention is written out: all canvases of a document meet its
keys in one product, nothing is copied per canvas, and the compiler fuses mask and softmax. Beside the library's kernel
that saves a third of a step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import DiffusionGemma
from ..model.attention import Attention, rotate, rotation
from ..model.diffusion_gemma import attention_mask
from ..model.layers import Layer

KeysValues = list[tuple[Tensor, Tensor]]
Turn = tuple[Tensor, Tensor]


def encode(model: DiffusionGemma, ids: Tensor) -> tuple[Tensor, KeysValues]:
    """Documents `[B, L]` → hidden states `[B, L, D]` and each layer's keys and values `[B, kv_heads, L, hd]`."""
    length = ids.shape[1]
    masks = {
        kind: attention_mask(0, length, 0, 0, window, ids.device)
        for kind, window in (("full_attention", None), ("sliding_attention", model.config.sliding_window))
    }
    turns = _rotations(model, torch.arange(length, device=ids.device)[None])
    kept: KeysValues = []

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        kept.append((key, value))
        return _weigh(query @ key.mT, mask) @ value

    x = model.embed(ids)
    for layer, shape in zip(model.layers, model.config.layers, strict=True):
        assert isinstance(layer, Layer)
        mask = _folded(masks[shape.kind], layer.self_attn)
        x = _rows(layer, x, turns[shape.kind], lambda q, k, v, mask=mask: attend(q, k, v, mask))
        x = x * layer.encoder_scalar
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
        assert isinstance(layer, Layer)

        def attend(
            query: Tensor, key: Tensor, value: Tensor, past: tuple[Tensor, Tensor] = kept[index], kind: str = shape.kind
        ) -> Tensor:
            return _attend_both(query, key, value, past, masks[kind], canvases)

        x = _rows(layer, x, turns[shape.kind], attend) * layer.layer_scalar
    return model.norm(x)


def _rows(layer: Layer, x: Tensor, turn: Turn, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """`Layer.forward` without its scalar, with an attention of the caller's."""
    x = x + layer.post_attention_layernorm(_attention(layer.self_attn, layer.input_layernorm(x), turn, attend))
    dense = layer.post_feedforward_layernorm_1(layer.mlp(layer.pre_feedforward_layernorm(x)))
    flat = x.reshape(-1, x.shape[-1])
    routed = layer.experts(layer.pre_feedforward_layernorm_2(flat), *layer.router(flat)).view(x.shape)
    return x + layer.post_feedforward_layernorm(dense + layer.post_feedforward_layernorm_2(routed))


def _attention(
    attention: Attention, x: Tensor, turn: Turn, attend: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """`Attention.forward`; `attend` gets queries `[N, kv_heads, groups·T, hd]`, keys and values of the same rows."""
    batch, rows, _ = x.shape
    query = attention.q_proj(x).view(batch, rows, attention.heads, attention.head_dim)
    key = attention.k_proj(x).view(batch, rows, attention.kv_heads, attention.head_dim)
    value = key if attention.v_proj is None else attention.v_proj(x).view(key.shape)
    query = rotate(attention.q_norm(query).transpose(1, 2), *turn)
    key = rotate(attention.k_norm(key).transpose(1, 2), *turn)
    query = query.reshape(batch, attention.kv_heads, -1, attention.head_dim)
    out = attend(query, key, attention.v_norm(value).transpose(1, 2))
    out = out.reshape(batch, attention.heads, rows, attention.head_dim).transpose(1, 2)
    return attention.o_proj(out.reshape(batch, rows, -1))


def _attend_both(
    query: Tensor, key: Tensor, value: Tensor, past: tuple[Tensor, Tensor], mask: Tensor, canvases: int
) -> Tensor:
    """Canvas rows over the document's keys and values `[B, kv_heads, L, hd]` and over their own canvas."""
    keys, values = past
    heads, rows, size = query.shape[1:]
    by_document = query.unflatten(0, (-1, canvases)).transpose(1, 2).flatten(2, 3)
    before = (by_document @ keys.mT).unflatten(2, (canvases, rows)).transpose(1, 2).flatten(0, 1)
    weights = _weigh(torch.cat([before, query @ key.mT], dim=-1), mask)
    before, own = weights.split([keys.shape[2], key.shape[2]], dim=-1)
    before = before.unflatten(0, (-1, canvases)).transpose(1, 2).flatten(2, 3)
    seen = (before @ values).view(-1, heads, canvases, rows, size).transpose(1, 2).flatten(0, 1)
    return seen + own @ value


def _weigh(scores: Tensor, mask: Tensor | None) -> Tensor:
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return F.softmax(scores, dim=-1).to(torch.bfloat16 if torch.is_autocast_enabled("cpu") else scores.dtype)


def _folded(mask: Tensor | None, attention: Attention) -> Tensor | None:
    """A mask `[T, S]` for queries whose heads of a group are folded into their rows."""
    return None if mask is None else mask.repeat(attention.heads // attention.kv_heads, 1)


def _canvas_masks(real: Tensor, prefix: Tensor, length: int, window: int) -> dict[str, Tensor]:
    """`[B·C, 1, 1, L + W]`, True where a canvas may look; sliding layers keep the last `window - 1` of the prefix."""
    keys = torch.arange(length, device=prefix.device)
    before = keys < prefix[:, None]
    near = before & (keys >= prefix[:, None] - window + 1)
    return {
        kind: torch.cat([seen, real], dim=1)[:, None, None]
        for kind, seen in (("full_attention", before), ("sliding_attention", near))
    }


def _rotations(model: DiffusionGemma, positions: Tensor) -> dict[str, Turn]:
    return {kind: rotation(model.frequencies(kind), positions, model.dtype) for kind in model.config.ropes}
