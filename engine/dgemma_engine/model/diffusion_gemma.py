"""DiffusionGemma's text path: a causal encoder that writes the cache, a bidirectional decoder that reads it.

Both run the same layers. The encoder's rows are raw embeddings under a causal mask and their keys and values become
the prefix; the decoder's rows are self-conditioned embeddings that see the whole retained prefix and the whole canvas
and leave nothing behind. Source: transformers `diffusion_gemma` (the SDPA reading: in sliding layers the canvas sees
the last `sliding_window - 1` prefix tokens, anchored at its start).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import RMSNorm, inverse_frequencies, rotation
from .cache import KVCache
from .config import ModelConfig
from .grain import EXACT
from .layers import Layer, SelfConditioning
from .rows import Rows, Segment, asked_rows, attention, place
from .sided import Sides

if TYPE_CHECKING:
    from ..kernels.row_statistics import RowStatistics

Statistics = Callable[..., "RowStatistics"]


class DiffusionGemma(nn.Module):
    """The network alone: it knows ids, rows and a cache, nothing of text or sampling."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # Given a weight it draws none: normal_ on the meta device pulls in torch's compiler, a second of start-up.
        weight = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=weight)
        self.layers = nn.ModuleList(Layer(config, shape) for shape in config.layers)
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_conditioning = SelfConditioning(config)
        self.sides = Sides()
        self.statistics: Statistics | None = None
        """A kernel that reads what `raw_logits` gives for the sampler, where there is one for the device."""
        self.grain = EXACT
        self._frequencies: dict[tuple[str, torch.device], Tensor] = {}

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embed_tokens.weight.dtype

    def new_cache(self, capacity: int = 256) -> KVCache:
        return KVCache(self.config, self.device, self.dtype, capacity)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids `[...]` → `E·√D` `[..., D]`."""
        return self._scaled(self.embed_tokens(ids))

    def soft_embedding(self, logits: Tensor) -> Tensor:
        """The self-conditioning signal of tempered logits `[..., V]`: their expected embedding `[..., D]`."""
        return self.expected_embedding(F.softmax(logits.to(self.dtype), dim=-1, dtype=torch.float32))

    def expected_embedding(self, probabilities: Tensor) -> Tensor:
        """`soft_embedding` of probabilities `[..., V]` that are known already.

        The reference rounds the logits to the weights' dtype before the softmax; where these were not, the signal is
        the more exact one.
        """
        return self._scaled(self._product(probabilities.to(self.dtype), self.embed_tokens.weight))

    def logits(self, hidden: Tensor) -> Tensor:
        """Soft-capped fp32 logits `[..., V]` of the rows asked for, `hidden` `[..., D]` as returned below."""
        cap = self.config.logit_cap
        return torch.tanh(self.raw_logits(hidden).float() / cap) * cap

    def raw_logits(self, hidden: Tensor) -> Tensor:
        """`logits` as the head leaves them: in the weights' dtype and without the cap."""
        return self._product(hidden, self.embed_tokens.weight.T)

    def encode(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Append `ids` `[1, T]` to the prefix in `cache`; returns hidden states `[1, T, D]` after the last norm."""
        (hidden,) = self.forward([Rows(cache, ids, encoder=True, kept=True)])
        return hidden

    def read(self, ids: Tensor, cache: KVCache) -> Tensor:
        """What `encode` would return for each of B continuations `[B, T]` of the prefix, which stays as it is."""
        (hidden,) = self.forward([Rows(cache, ids, encoder=True)])
        return hidden

    def decode(
        self, canvas: Tensor, cache: KVCache, signal: Tensor | None = None, real: Tensor | None = None
    ) -> Tensor:
        """One denoising pass over `canvas` `[B, C]` against the prefix: hidden states `[B, C, D]`.

        `signal` `[B, C, D]` is the self-conditioning, None on the first pass; `real` `[B, C]` is False on padding,
        which nobody looks at.
        """
        (hidden,) = self.forward([Rows(cache, canvas, signal, real)])
        return hidden

    def forward(self, parts: Sequence[Rows]) -> list[Tensor]:
        """One pass over rows of several kinds and requests: hidden states after the last norm, by part.

        `[B, T, D]`, or `[R, D]` of the rows that a part asks for. What is kept comes first, and the other parts with
        the same cache see it, exactly as if it had been encoded before: every row takes its own side's input, mask and
        scalar. The weights are read once for all; only attention goes part by part.
        """
        # Sorting is stable: what is kept stands before what looks at it, the encoder's rows before the decoder's.
        order = sorted(range(len(parts)), key=lambda index: (not parts[index].kept, not parts[index].encoder))
        segments = place([parts[index] for index in order], self.config.sliding_window, self.grain)
        x = torch.cat([self._inputs(segment).flatten(0, 1) for segment in segments])[None]
        positions = torch.cat([segment.positions for segment in segments])[None]
        turns = {kind: rotation(self.frequencies(kind), positions, x.dtype) for kind in self.config.ropes}
        asked = asked_rows(segments, self.grain)
        self.sides.encoded = max((segment.last for segment in segments if segment.rows.encoder), default=0)
        for index, (layer, shape) in enumerate(zip(self.layers, self.config.layers, strict=True)):
            assert isinstance(layer, Layer)
            attended = layer.mix(x, turns[shape.kind], attention(segments, index, shape.kind))
            if asked is not None and index == len(self.layers) - 1:
                # Nobody looks at a row after the last attention: those that are not asked for end here.
                x, attended = x[:, asked], attended[:, asked]
                self.sides.encoded = sum(rows.count for rows in parts if rows.encoder)
            x = layer.feed(x, attended, self.sides.encoded)
        counts = [segment.rows.count for segment in segments]
        shares = self.norm(x)[0, : sum(counts)].split(counts)
        hidden = list(shares)
        for index, segment, share in zip(order, segments, shares, strict=True):
            hidden[index] = segment.rows.shaped(share)
            if segment.rows.kept:
                segment.rows.cache.commit(segment.rows.ids.shape[1])
        return hidden

    def _inputs(self, segment: Segment) -> Tensor:
        embedded = self.embed(segment.ids)
        return embedded if segment.rows.encoder else self.self_conditioning.condition(embedded, segment.signal)

    def _product(self, rows: Tensor, weight: Tensor) -> Tensor:
        """`[…, K]` by `[K, N]`, as `[…, N]`."""
        flat = rows.reshape(-1, rows.shape[-1])
        return (self.grain.padded(flat) @ weight)[: len(flat)].view(*rows.shape[:-1], weight.shape[1])

    def _scaled(self, x: Tensor) -> Tensor:
        # The factor is rounded to the weights' dtype, as the reference does.
        return x * x.new_full((), self.config.hidden_size**0.5)

    def frequencies(self, kind: str) -> Tensor:
        """Inverse RoPE frequencies of a layer kind, `[head_dim / 2]` in fp32 on the weights' device."""
        key = (kind, self.device)
        if key not in self._frequencies:
            head_dim = next(shape.head_dim for shape in self.config.layers if shape.kind == kind)
            frequencies = inverse_frequencies(self.config.ropes[kind], head_dim)
            self._frequencies[key] = frequencies.to(self.device)
        return self._frequencies[key]
