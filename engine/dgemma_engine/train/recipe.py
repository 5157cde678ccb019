"""How nano is made: every number of the recipe, and the config files it leads to."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from .vocabulary import BOI, BOS, EOI, EOS, FILLER, IMAGE, PAD


@frozen
class Recipe:
    """Sizes in tokens or rows, learning rates per step, warm-up in steps."""

    vocab: int = 4096
    hidden: int = 256
    intermediate: int = 512
    layers: tuple[str, ...] = ("sliding", "sliding", "full", "sliding", "sliding", "full")
    heads: int = 4
    head_dim: int = 64
    kv_heads: int = 1
    experts: int = 4
    experts_per_token: int = 2
    expert_size: int = 64
    window: int = 256
    length: int = 384
    canvases: int = 8
    width: int = 64
    suffix: int = 24
    batch: int = 12
    matrix_rate: float = 0.02
    vector_rate: float = 0.004
    warmup: int = 100
    causal_weight: float = 0.5
    seed: int = 2

    @property
    def mix(self) -> dict[str, float]:
        return {
            "python": 37,
            "json": 28,
            "markdown": 18,
            "javascript": 7,
            "typescript": 7,
            "yaml": 2.5,
            "toml": 0.1,
            "shell": 0.4,
        }

    def config(self) -> dict[str, Any]:
        """`config.json`: transformers' field names, and ours under `dgemma`."""
        kinds = [f"{kind}_attention" for kind in self.layers]
        return {
            "architectures": ["DiffusionGemmaForBlockDiffusion"],
            "model_type": "diffusion_gemma",
            "canvas_length": self.width,
            "dtype": "bfloat16",
            "tie_word_embeddings": True,
            "image_token_id": IMAGE,
            "boi_token_id": BOI,
            "eoi_token_id": EOI,
            "text_config": {
                "model_type": "diffusion_gemma_text",
                "vocab_size": self.vocab,
                "hidden_size": self.hidden,
                "intermediate_size": self.intermediate,
                "num_hidden_layers": len(kinds),
                "layer_types": kinds,
                "num_attention_heads": self.heads,
                "num_key_value_heads": self.kv_heads,
                "head_dim": self.head_dim,
                "per_layer_config": {
                    str(index): {"head_dim": self.head_dim, "num_key_value_heads": self.kv_heads}
                    for index, kind in enumerate(kinds)
                    if kind == "full_attention"
                },
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                    "full_attention": {
                        "rope_type": "proportional",
                        "partial_rotary_factor": 0.25,
                        "rope_theta": 1_000_000.0,
                    },
                },
                "sliding_window": self.window,
                "num_experts": self.experts,
                "top_k_experts": self.experts_per_token,
                "moe_intermediate_size": self.expert_size,
                "hidden_activation": "gelu_pytorch_tanh",
                "rms_norm_eps": 1e-6,
                "max_position_embeddings": 4096,
                "pad_token_id": PAD,
                "eos_token_id": EOS,
                "bos_token_id": BOS,
                "tie_word_embeddings": True,
            },
            "vision_config": {
                "model_type": "gemma4_vision",
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "position_embedding_size": 64,
            },
            "dgemma": {
                "filler_token_id": FILLER,
                "pinned_signal": "embedding",
                "context": self.length,
                "suffix": self.suffix,
            },
        }


RECIPES = {
    "cpu": Recipe(),
    # As many parameters as a fill on two cores has the time for, in batches that fill a card.
    "gpu": Recipe(hidden=384, intermediate=768, heads=6, expert_size=96, batch=96),
}
"""By the machine that trains."""
