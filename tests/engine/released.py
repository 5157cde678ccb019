"""The shape of google/diffusiongemma-26B-A4B-it, as its config.json spells it."""

from __future__ import annotations

from typing import Any

LAYERS = 30
FULL = tuple(range(5, LAYERS, 6))


def released_config() -> dict[str, Any]:
    """The JSON of config.json, without what the text path does not need."""
    return {
        "model_type": "diffusion_gemma",
        "canvas_length": 256,
        "dtype": "bfloat16",
        "text_config": {
            "vocab_size": 262_144,
            "hidden_size": 2816,
            "intermediate_size": 2112,
            "num_hidden_layers": LAYERS,
            "layer_types": ["full_attention" if index in FULL else "sliding_attention" for index in range(LAYERS)],
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "per_layer_config": {str(index): {"head_dim": 512, "num_key_value_heads": 2} for index in FULL},
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                "full_attention": {
                    "rope_type": "proportional",
                    "rope_theta": 1_000_000.0,
                    "partial_rotary_factor": 0.25,
                },
            },
            "sliding_window": 1024,
            "max_position_embeddings": 262_144,
            "num_experts": 128,
            "top_k_experts": 8,
            "moe_intermediate_size": 704,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
        },
    }
