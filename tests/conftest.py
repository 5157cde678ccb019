"""Fixtures for every suite; torch is imported only by the tests that ask for a checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

# The matrices of these tests are tiny: more threads only wait for each other, the longer the busier the machine is.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<mask>", "<|filler|>")

SAMPLE = '''\
def mean(values: list[float]) -> float:
    """The arithmetic mean; raises ValueError for no values."""
    if not values:
        raise ValueError("mean of nothing")
    return sum(values) / len(values)


{"name": "example", "items": [1, 2, 3], "nested": {"key": "value", "flag": true}}

- a list item with `code` in it
- another, with a [link](https://example.org)
'''


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DiffusionGemma of 0.3 M parameters in the Hugging Face layout, made without transformers.

    Three layers (sliding, sliding, full), window and canvas of 32 tokens, a byte-level tokenizer. Like the
    released checkpoint it carries vision tensors, which the engine must leave alone.
    """
    folder = tmp_path_factory.mktemp("tiny-diffusion-gemma")
    vocabulary = write_tokenizer(folder)
    config = tiny_config(vocabulary)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", GENERATION)
    write_weights(folder, config)
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_tokenizer(folder: Path) -> dict[str, int]:
    """`tokenizer.json`, special tokens first; returns the vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([SAMPLE] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {name: f"<{name[:3]}>" for name in ("pad_token", "eos_token", "bos_token", "unk_token")}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
    return tokenizer.get_vocab()


def tiny_config(vocabulary: dict[str, int]) -> dict[str, Any]:
    """The JSON of `config.json`, as transformers writes it, with what a checkpoint of our own adds."""
    return {
        "architectures": ["DiffusionGemmaForBlockDiffusion"],
        "model_type": "diffusion_gemma",
        "dtype": "float32",
        "canvas_length": 32,
        "tie_word_embeddings": True,
        "dgemma": {"filler_token_id": vocabulary["<|filler|>"], "pinned_signal": "embedding", "context": 256},
        "text_config": {
            "model_type": "diffusion_gemma_text",
            "vocab_size": len(vocabulary),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "per_layer_config": {"2": {"head_dim": 32, "num_key_value_heads": 1}},
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "sliding_window": 32,
            "max_position_embeddings": 4096,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 32,
            "hidden_activation": "gelu_pytorch_tanh",
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                "full_attention": {
                    "rope_type": "proportional",
                    "rope_theta": 1_000_000.0,
                    "partial_rotary_factor": 0.25,
                },
            },
            "pad_token_id": vocabulary["<pad>"],
            "eos_token_id": vocabulary["<eos>"],
            "bos_token_id": vocabulary["<bos>"],
            "tie_word_embeddings": True,
        },
        "vision_config": {
            "model_type": "gemma4_vision",
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 0,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 8,
        },
    }


def write_weights(folder: Path, config: dict[str, Any]) -> None:
    """`model.safetensors` from our own model class, with the vision tensors that `vision_config` asks for."""
    import torch
    from safetensors.torch import save_file

    from dgemma_engine.model import DiffusionGemma
    from dgemma_engine.model.config import parse_config
    from dgemma_engine.model.load import stored_name

    from .engine.random_weights import randomise

    model = DiffusionGemma(parse_config(config))
    randomise(model.state_dict().items(), seed=0)
    tensors = {stored_name(name): tensor for name, tensor in model.state_dict().items()}
    hidden, patch = config["vision_config"]["hidden_size"], 16 * 16 * 3
    vision = {
        "embed_vision.embedding_projection.weight": (config["text_config"]["hidden_size"], hidden),
        "vision_tower.patch_embedder.input_proj.weight": (hidden, patch),
        "vision_tower.patch_embedder.position_embedding_table": (2, 8, hidden),
    }
    tensors |= {f"model.encoder.{name}": torch.zeros(shape) for name, shape in vision.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


GENERATION = {
    "max_new_tokens": 32,
    "max_denoising_steps": 48,
    "sampler_config": {"_cls_name": "EntropyBoundSamplerConfig", "entropy_bound": 0.1},
    "t_min": 0.4,
    "t_max": 0.8,
    "stability_threshold": 1,
    "confidence_threshold": 0.005,
    "bos_token_id": 2,
    "eos_token_id": [1, 5],
    "pad_token_id": 0,
}
"""As in the released checkpoint: generation ends at `<eos>` and at the end of a turn."""
