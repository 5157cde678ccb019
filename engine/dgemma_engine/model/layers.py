"""One layer, and the two ways in: raw embeddings for the encoder, self-conditioned ones for the decoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from attrs import frozen
from torch import Tensor, nn

from .attention import Attend, Attention, RMSNorm
from .config import LayerShape, ModelConfig
from .experts import MLP, Experts, Router


@frozen
class Between:
    """Kernels for what stands between the matrix products of a layer; `kernels.norms` says what they take."""

    fan_out: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]
    close: Callable[..., Tensor]


class Layer(nn.Module):
    """Attention, then dense MLP and experts in parallel; encoder and decoder share all but the scalar.

    Source: transformers `DiffusionGemma{Encoder,Decoder}TextLayer`.
    """

    layer_scalar: Tensor
    encoder_scalar: Tensor

    def __init__(self, config: ModelConfig, shape: LayerShape) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.norm_eps
        self.self_attn = Attention(config, shape)
        self.mlp = MLP(size, config.intermediate_size)
        self.router = Router(config)
        self.experts = Experts(config)
        self.input_layernorm = RMSNorm(size, eps)
        self.post_attention_layernorm = RMSNorm(size, eps)
        self.pre_feedforward_layernorm = RMSNorm(size, eps)
        self.pre_feedforward_layernorm_2 = RMSNorm(size, eps)
        self.post_feedforward_layernorm = RMSNorm(size, eps)
        self.post_feedforward_layernorm_1 = RMSNorm(size, eps)
        self.post_feedforward_layernorm_2 = RMSNorm(size, eps)
        self.kernel: Between | None = None
        self.register_buffer("layer_scalar", torch.ones(1))
        self.register_buffer("encoder_scalar", torch.ones(1))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend, delta: int) -> Tensor:
        """Rows `[B, T, D]`, the first `delta` of them on the encoder's side, the rest on the decoder's."""
        return self.feed(x, self.mix(x, turn, attend), delta)

    def mix(self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """The half in which rows look at one another: what `x` gathers, `[B, T, D]`."""
        return self.self_attn(self.input_layernorm(x), turn, attend)

    def feed(self, x: Tensor, attended: Tensor, delta: int) -> Tensor:
        """The half in which every row is alone: `x` and what it has gathered."""
        x, dense, routed, scaled = self.fan_out(x, attended)
        dense = self.mlp(dense)
        routed = self.experts(routed.flatten(0, 1), *self.router(scaled.flatten(0, 1))).view(x.shape)
        return self.close(x, dense, routed, delta)

    def fan_out(self, x: Tensor, attended: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`x` with what it has gathered, and of that the inputs of dense MLP, experts and router, all `[B, T, D]`."""
        if self.kernel is not None:
            norms = self.post_attention_layernorm, self.pre_feedforward_layernorm, self.pre_feedforward_layernorm_2
            weights = (*(norm.weight for norm in norms), self.router.scale)
            return self.kernel.fan_out(x, attended, *weights, self.router.root_size, norms[0].eps)
        x = x + self.post_attention_layernorm(attended)
        # MLP, experts and router read the same rows, each with its own weights on one norm.
        bare = self.pre_feedforward_layernorm.bare(x)
        dense = self.pre_feedforward_layernorm.weighted(bare, x.dtype)
        routed = self.pre_feedforward_layernorm_2.weighted(bare, x.dtype)
        return x, dense, routed, self.router.scaled(bare.to(x.dtype))

    def close(self, x: Tensor, dense: Tensor, routed: Tensor, delta: int) -> Tensor:
        """The layer's result, of its rows and what dense MLP and experts make of them, all `[B, T, D]`."""
        if self.kernel is not None and len(x) == 1:
            norm, scalars = self.post_feedforward_layernorm, (self.encoder_scalar, self.layer_scalar)
            inner = self.post_feedforward_layernorm_1.weight, self.post_feedforward_layernorm_2.weight
            return self.kernel.close(x, dense, routed, *inner, norm.weight, scalars, delta, norm.eps)
        both = self.post_feedforward_layernorm_1(dense) + self.post_feedforward_layernorm_2(routed)
        x = x + self.post_feedforward_layernorm(both)

        if delta == x.shape[1]:
            return x * self.encoder_scalar
        if delta == 0:
            return x * self.layer_scalar
        return torch.cat([x[:, :delta] * self.encoder_scalar, x[:, delta:] * self.layer_scalar], dim=1)


class SelfConditioning(MLP):
    """Adds the previous pass's soft embedding to the canvas' embeddings: norm(x + MLP(norm(signal)))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.hidden_size, config.intermediate_size)
        self.pre_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.post_norm = RMSNorm(config.hidden_size, config.norm_eps, scaled=False)

    def condition(self, x: Tensor, signal: Tensor | None) -> Tensor:
        """`x` and `signal` `[B, C, D]`; without a signal the MLP has nothing to add, the norm still applies."""
        return self.post_norm(x if signal is None else x + self(self.pre_norm(signal)))
