"""DiffusionGemma's text path: a causal encoder that writes the cache, a bidirectional decoder that reads it.

Both run the same layers. The encoder's rows are raw embeddings under a causal mask and their keys and values become
the prefix; the decoder's rows are self-conditioned embeddings that see the whole retained prefix and the whole canvas
and leave nothing behind. Source: transformers `diffusion_gemma` (the SDPA reading: in sliding layers the canvas sees
the last `sliding_window - 1` prefix tokens, anchored at its start).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import RMSNorm, inverse_frequencies, rotation
from .cache import KVCache
from .config import ModelConfig
from .layers import Layer, SelfConditioning


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
        return self._scaled(probabilities.to(self.dtype) @ self.embed_tokens.weight)

    def logits(self, hidden: Tensor) -> Tensor:
        """Soft-capped fp32 logits `[..., V]` of the rows asked for, `hidden` `[..., D]` as returned below."""
        cap = self.config.logit_cap
        return torch.tanh(F.linear(hidden, self.embed_tokens.weight).float() / cap) * cap

    def encode(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Append `ids` `[1, T]` to the prefix in `cache`; returns hidden states `[1, T, D]` after the last norm."""
        if ids.shape[0] != 1:
            raise ValueError("only one prefix can be extended at a time")
        hidden = self._forward(self.embed(ids), ids.shape[1], cache)
        cache.commit(ids.shape[1])
        return hidden

    def read(self, ids: Tensor, cache: KVCache) -> Tensor:
        """What `encode` would return for each of B continuations `[B, T]` of the prefix, which stays as it is."""
        return self._forward(self.embed(ids), ids.shape[1], cache)

    def decode(
        self, canvas: Tensor, cache: KVCache, signal: Tensor | None = None, real: Tensor | None = None
    ) -> Tensor:
        """One denoising pass over `canvas` `[B, C]` against the prefix: hidden states `[B, C, D]`.

        `signal` `[B, C, D]` is the self-conditioning, None on the first pass; `real` `[B, C]` is False on padding,
        which nobody looks at.
        """
        return self._forward(self.self_conditioning(self.embed(canvas), signal), 0, cache, real)

    def decode_with_delta(
        self, delta: Tensor, canvas: Tensor, cache: KVCache, signal: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`encode(delta)` and `decode(canvas)` in one forward: hidden states of both, the delta's KV kept.

        `delta` `[1, T]`, `canvas` `[1, C]`. Exact: delta rows take the encoder's input, mask and scalar.
        """
        rows = torch.cat([self.embed(delta), self.self_conditioning(self.embed(canvas), signal)], dim=1)
        hidden = self._forward(rows, delta.shape[1], cache)
        cache.commit(delta.shape[1])
        return hidden[:, : delta.shape[1]], hidden[:, delta.shape[1] :]

    def _forward(self, x: Tensor, delta: int, cache: KVCache, real: Tensor | None = None) -> Tensor:
        """Rows `[B, T, D]` behind the prefix, the first `delta` of them on the encoder's side; nothing is kept."""
        rows = x.shape[1]
        cache.reserve(rows)
        prefix = cache.length
        positions = torch.arange(prefix, prefix + rows, device=x.device)[None]
        turns = {kind: rotation(self.frequencies(kind), positions, x.dtype) for kind in self.config.ropes}
        window = self.config.sliding_window
        windows = {"full_attention": None, "sliding_attention": window}
        starts = {"full_attention": 0, "sliding_attention": max(0, prefix - window + 1)}
        masks: dict[str, Tensor | None] = {}
        for kind in self.config.ropes:
            masks[kind] = attention_mask(prefix, delta, rows - delta, starts[kind], windows[kind], x.device)
            if real is not None:
                masks[kind] = F.pad(real, (prefix - starts[kind], 0), value=True)[:, None].expand(-1, rows, -1)
        for index, (layer, shape) in enumerate(zip(self.layers, self.config.layers, strict=True)):

            def append(keys: Tensor, values: Tensor, index: int = index, start: int = starts[shape.kind]):
                return cache.write(index, keys, values, start)

            x = layer(x, turns[shape.kind], masks[shape.kind], append, delta)
        return self.norm(x)

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


def attention_mask(
    prefix: int, delta: int, canvas: int, start: int, window: int | None, device: torch.device
) -> Tensor | None:
    """Who sees whom, `[delta + canvas, S]` over keys from position `start`; None when everyone sees all.

    Delta rows are causal and, with a `window`, see the last `window` positions, their own included. Canvas rows see
    the prefix (with a `window` its last `window - 1` tokens), the delta and the whole canvas.
    """
    rows = delta + canvas
    anchor = prefix + delta
    first_seen = max(0, anchor - window + 1) if window else 0
    if delta == 0 and start >= first_seen:
        return None
    keys = torch.arange(start, prefix + rows, device=device)
    places = torch.arange(prefix, anchor, device=device)[:, None]
    causal = keys <= places
    if window:
        causal &= keys > places - window
    return torch.cat([causal, (keys >= first_seen).expand(canvas, -1)])
