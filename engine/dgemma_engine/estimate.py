"""How long one denoising pass takes at best, from a model's shape and two rates of the machine. No torch.

Each part of a pass takes what its bytes take to be read or its products to be computed, whichever is longer, and the
parts come one after another. Small operations between them, launches and whatever else a program does are on top.
"""

from __future__ import annotations

from attrs import frozen

from .footprint import Footprint
from .model.config import ModelConfig

CANVASES = (64, 128, 256)
"""Tokens for which a pass is estimated."""
CONTEXT = 2048
"""Tokens before the canvas."""


@frozen
class Rates:
    """Of one device: bytes/s of a copy (read and written ones count), FLOP/s of matrix products in bf16."""

    copy: float
    matrix: float


@frozen
class Part:
    """Of a pass: bytes that are read and written, and the floating-point operations on them."""

    name: str
    bytes: float
    flops: float

    def seconds(self, rates: Rates) -> float:
        return max(self.bytes / rates.copy, self.flops / rates.matrix)


def pass_ms(footprint: Footprint, precision: str, canvas: int, rates: Rates, context: int = CONTEXT) -> float:
    """Milliseconds of one pass over `canvas` free tokens behind `context` encoded ones."""
    return 1000 * sum(part.seconds(rates) for part in parts(footprint, precision, canvas, context))


def parts(footprint: Footprint, precision: str, canvas: int, context: int = CONTEXT) -> list[Part]:
    """What a pass consists of."""
    config = footprint.config
    head = footprint.embedding_weights
    # Logits and the soft embedding are read and written in 16 bits at least.
    rows = 2 * canvas * config.vocab_size
    dense = footprint.linear_bytes(precision) / footprint.linear_weights
    return [
        _experts(footprint, precision, canvas),
        *(Part(name, dense * weights, 2 * canvas * weights) for name, weights in _linear(footprint)),
        Part("logits", footprint.element * head + rows, 2 * canvas * head),
        Part("soft embedding", footprint.element * head + rows, 2 * canvas * head),
        Part("attention", footprint.kv * (context + canvas), _attention_flops(config, canvas, context)),
    ]


def _experts(footprint: Footprint, precision: str, canvas: int) -> Part:
    config = footprint.config
    chosen = canvas * config.experts_per_token
    touched = 1 - (1 - config.experts_per_token / config.experts) ** canvas
    values = chosen * (2 * config.hidden_size + 3 * config.expert_size) * len(config.layers)
    weights = chosen * 3 * config.hidden_size * config.expert_size * len(config.layers)
    read = touched * footprint.expert_bytes(precision) + 2 * values
    return Part("experts", read, 2 * weights)


def _linear(footprint: Footprint) -> list[tuple[str, int]]:
    config = footprint.config
    mlp = 3 * config.hidden_size * config.intermediate_size
    dense = mlp * len(config.layers)
    return [
        ("attention projections", footprint.linear_weights - dense - mlp),
        ("dense MLP", dense),
        ("self-conditioning", mlp),
    ]


def _attention_flops(config: ModelConfig, canvas: int, context: int) -> float:
    total = 0.0
    for layer in config.layers:
        seen = context if layer.kind == "full_attention" else min(context, config.sliding_window - 1)
        total += 4 * canvas * config.heads * layer.head_dim * (seen + canvas)
    return total
