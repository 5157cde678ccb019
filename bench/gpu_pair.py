"""Our model and transformers' over one set of random weights, and models that share most of them.

What `gpu.py` times. Needs transformers; runs in whatever dtype and on whatever device it is told to.
"""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

import attrs
import torch
from torch import Tensor, nn

from dgemma_engine import kernels
from dgemma_engine.model import DiffusionGemma
from dgemma_engine.model.attention import GATHERS
from dgemma_engine.model.config import parse_config
from dgemma_engine.model.experts import Experts
from dgemma_engine.model.joined import Joined, join_projections
from dgemma_engine.model.load import stored_name
from dgemma_engine.model.packing import group_size
from dgemma_engine.model.quantized import DenseForm, Form, QuantizedLinear, empty_bank, quantize
from dgemma_engine.model.sources import DENSE

FULL = {
    "vocab_size": 262_144,
    "hidden_size": 2816,
    "intermediate_size": 2112,
    "num_hidden_layers": 30,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "global_head_dim": 512,
    "num_global_key_value_heads": 2,
    "sliding_window": 1024,
    "max_position_embeddings": 262_144,
    "num_experts": 128,
    "top_k_experts": 8,
    "moe_intermediate_size": 704,
}
SMALL = FULL | {
    "vocab_size": 2048,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "global_head_dim": 64,
    "num_global_key_value_heads": 1,
    "sliding_window": 64,
    "num_experts": 32,
    "top_k_experts": 4,
    "moe_intermediate_size": 64,
}
SHAPES = {"full": FULL, "small": SMALL}
SCORE_SPREAD = 3.0
"""Standard deviation of attention scores: with query and key norms of 1 it is 16 and amplifies rounding."""
LAYER_WEIGHT = 0.1
"""Of the norms that scale what a layer adds: with 1 every layer of a random network amplifies rounding."""


@attrs.frozen
class Pair:
    """Our model and transformers' over the same weights; `on` names the kernels that ours runs on."""

    ours: DiffusionGemma
    reference: Any
    device: torch.device
    dtype: torch.dtype
    on: list[str]


def raw_config(text: dict[str, Any]) -> dict[str, Any]:
    """The JSON of config.json, with the smallest vision tower that transformers accepts."""
    kinds = ["full_attention" if index % 6 == 5 else "sliding_attention" for index in range(text["num_hidden_layers"])]
    ropes = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
    }
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    vision = {
        "model_type": "gemma4_vision",
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
    }
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "position_embedding_size": 8}
    return {
        "model_type": "diffusion_gemma",
        "canvas_length": 256,
        "text_config": {**text, **ids, "layer_types": kinds, "rope_parameters": ropes},
        "vision_config": {**vision, **heads},
    }


def build(text: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Pair:
    """Both models, made on meta and given one set of random tensors: N(0, 0.02), norms and scalars 1."""
    from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion

    raw = raw_config(text)
    with torch.device("meta"):
        ours = DiffusionGemma(parse_config(raw))
        reference: Any = DiffusionGemmaForBlockDiffusion(DiffusionGemmaConfig.from_dict(raw))
    torch.manual_seed(0)
    state = {name: random_tensor(name, value.shape, device, dtype) for name, value in ours.state_dict().items()}
    ours.load_state_dict(state, assign=True)
    # As a loaded model has them: projections of the same rows in one matrix.
    join_projections(ours.requires_grad_(False))
    state = ours.state_dict()

    encoder = reference.model.encoder
    encoder.vision_tower, encoder.embed_vision = nn.Identity(), nn.Identity()
    stored = {stored_name(name): value for name, value in state.items()}
    shared = {name: stored[tied_name(name, stored)] for name in reference.state_dict()}
    reference.load_state_dict(shared, assign=True)
    for side in (encoder.language_model, reference.model.decoder):
        side.rotary_emb = type(side.rotary_emb)(reference.config.text_config).to(device)
        side.embed_tokens.embed_scale = torch.tensor(text["hidden_size"] ** 0.5, device=device)
    for name, value in reference.state_dict().items():
        assert value.data_ptr() == shared[name].data_ptr(), f"{name} is a copy"
    owned = {value.data_ptr() for value in ours.state_dict().values()}
    assert owned == {value.data_ptr() for value in reference.state_dict().values()}, "weights exist twice"
    on = kernels.use(ours) if kernels.usable(device) else []
    return Pair(ours.eval(), reference.eval().requires_grad_(False), device, dtype, on)


def shared(model: DiffusionGemma) -> DiffusionGemma:
    """A second model of the same tensors."""
    held = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in [*held, *model.parameters(), *model.buffers()]})


def on_torch(model: DiffusionGemma) -> DiffusionGemma:
    """`model` on plain torch, but for attention's kernels, which are no model's own."""
    copied = shared(model)
    with mock.patch.dict(GATHERS):
        kernels.leave(copied)
    return copied


def with_own_experts(model: DiffusionGemma) -> DiffusionGemma:
    """`model` with its experts on our grouped product in place of torch's."""
    copied = shared(model)
    if not kernels.usable(copied.device) or "experts" not in kernels.use(copied, grouped="triton"):
        raise RuntimeError("the grouped product does not run here")
    return copied


def quantised(model: DiffusionGemma, form: Form, dense: DenseForm = "plain") -> DiffusionGemma:
    """`model` with its experts in `form` and its dense layers in `dense`, sharing every other tensor.

    What is `plain` stays as it is in `model`. On kernels where its device has them.
    """
    copied = shared(model)
    for name, module in list(copied.named_modules()):
        if isinstance(module, Experts) and form != "plain":
            for bank_name in ("gate_up_proj", "down_proj"):
                wide = getattr(module, bank_name)
                bank = empty_bank(form, tuple(wide.shape), group_size(wide.shape[2]), wide.dtype, wide.device)
                for expert in range(len(wide)):
                    bank.put(expert, 0, quantize(wide[expert], form))
                delattr(module, bank_name)
                module.add_module(bank_name, bank)
        elif DENSE.fullmatch(f"{name}.weight") and dense != "plain":
            owner, _, last = name.rpartition(".")
            weight = module.get_parameter("weight")
            values, scales = quantize(weight, dense)
            copied.get_submodule(owner).add_module(last, QuantizedLinear(values, scales, weight.dtype))
        if isinstance(module, Joined) and dense != "plain":
            module.matrix = None
    if kernels.usable(copied.device):
        kernels.use(copied)
    return copied


def random_tensor(name: str, shape: torch.Size, device: torch.device, dtype: torch.dtype) -> Tensor:
    value = torch.empty(shape, device=device, dtype=dtype)
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return value.fill_(SCORE_SPREAD**0.5 / shape[0] ** 0.25)
    if name.endswith(("post_attention_layernorm.weight", "post_feedforward_layernorm.weight")):
        return value.fill_(LAYER_WEIGHT)
    return value.fill_(1.0) if value.dim() == 1 else value.normal_(0, 0.02)


def tied_name(name: str, stored: dict[str, Tensor]) -> str:
    """The stored tensor that transformers' parameter `name` is tied to."""
    if name == "lm_head.weight":
        return "model.decoder.embed_tokens.weight"
    return name if name in stored else name.replace("model.encoder.language_model.", "model.decoder.")


def random_ids(pair: Pair, count: int) -> Tensor:
    return torch.randint(pair.ours.config.vocab_size, (1, count), device=pair.device)
