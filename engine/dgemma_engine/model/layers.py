"""One layer, and the two ways in: raw embeddings for the encoder, self-conditioned ones for the decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import Attend, Attention, RMSNorm
from .config import LayerShape, ModelConfig
from .experts import MLP, Experts, Router, gated_projections, gelu


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
        self.register_buffer("layer_scalar", torch.ones(1))
        self.register_buffer("encoder_scalar", torch.ones(1))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend, delta: int) -> Tensor:
        """Rows `[B, T, D]`, the first `delta` of them on the encoder's side, the rest on the decoder's."""
        attended = self.self_attn(self.input_layernorm(x), turn, attend)
        x = x + self.post_attention_layernorm(attended)

        dense = self.post_feedforward_layernorm_1(self.mlp(self.pre_feedforward_layernorm(x)))
        flat = x.reshape(-1, x.shape[-1])
        routed = self.experts(self.pre_feedforward_layernorm_2(flat), *self.router(flat)).view(x.shape)
        x = x + self.post_feedforward_layernorm(dense + self.post_feedforward_layernorm_2(routed))

        if delta == x.shape[1]:
            return x * self.encoder_scalar
        if delta == 0:
            return x * self.layer_scalar
        return torch.cat([x[:, :delta] * self.encoder_scalar, x[:, delta:] * self.layer_scalar], dim=1)


class SelfConditioning(nn.Module):
    """Adds the previous pass's soft embedding to the canvas' embeddings: norm(x + MLP(norm(signal)))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pre_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.post_norm = RMSNorm(config.hidden_size, config.norm_eps, scaled=False)
        self.gate_proj, self.up_proj, self.down_proj = gated_projections(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, signal: Tensor | None) -> Tensor:
        """`x` and `signal` `[B, C, D]`; without a signal the MLP has nothing to add, the norm still applies."""
        if signal is not None:
            signal = self.pre_norm(signal)
            x = x + self.down_proj(gelu(self.gate_proj(signal)) * self.up_proj(signal))
        return self.post_norm(x)
