"""The loss of one batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import DiffusionGemma
from .batches import Batch
from .forward import decode, encode
from .vocabulary import PAD


def losses(model: DiffusionGemma, batch: Batch, temperature: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cross-entropies in nats: of the canvases' free rows, and of the encoder's next tokens.

    With a `temperature` `[]` a first pass without gradients supplies the self-conditioning of the free rows, as the
    previous pass does at inference; pinned rows always carry their own embedding.
    """
    hidden, kept = encode(model, batch.ids)
    causal = F.cross_entropy(model.logits(hidden).flatten(0, 1), batch.following.flatten(), ignore_index=PAD)
    free = batch.free.flatten(0, 1)[..., None]
    signal = model.embed(batch.canvas.flatten(0, 1)) * ~free
    if temperature is not None:
        with torch.no_grad():
            still = [(keys.detach(), values.detach()) for keys, values in kept]
            first = decode(model, batch.canvas, batch.real, batch.prefix, still, signal).flatten(0, 1)
            soft = model.soft_embedding(model.logits(first[batch.rows]) / temperature).to(signal.dtype)
            # Padding of `rows` repeats row 0, whose weight is 0: it must not overwrite what stands there.
            keep = (batch.weights > 0)[:, None]
        flat = signal.flatten(0, 1)
        signal = flat.index_add(0, batch.rows, soft * keep).view(signal.shape)
    out = decode(model, batch.canvas, batch.real, batch.prefix, kept, signal).flatten(0, 1)[batch.rows]
    each = F.cross_entropy(model.logits(out), batch.targets, reduction="none")
    return (each * batch.weights).sum() / batch.weights.sum(), causal
