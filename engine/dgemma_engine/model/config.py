"""The shape of a DiffusionGemma checkpoint, read from its `config.json`.

The field names on disk are those of transformers' `DiffusionGemmaConfig`; the class defaults there are not the
released checkpoint's values, so whatever shapes a tensor is required here and never guessed.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from ..errors import EngineError

LayerKind = Literal["sliding_attention", "full_attention"]


@frozen
class LayerShape:
    """One layer's attention: `value_proj` is False where V is the raw output of `k_proj` (full layers)."""

    kind: LayerKind
    head_dim: int
    kv_heads: int

    @property
    def value_proj(self) -> bool:
        return self.kind == "sliding_attention"


@frozen
class Rope:
    """Rotary frequencies of one layer kind: only `partial` of the head's pairs turn, the rest stay still."""

    theta: float
    partial: float


@frozen
class NanoTraits:
    """What a checkpoint trained by `dgemma_engine.train` was taught beyond the released model.

    `filler_id`: the token that fills the unused slots of an elastic hole, or None. `pinned_signal`: the
    self-conditioning at pinned rows, see `sampler.PinnedSignal`. `context`: prefix tokens seen in training.
    `suffix`: tokens after the last hole that go on a canvas at most, None for as many as there is room for.
    """

    filler_id: int | None = None
    pinned_signal: str = "zero"
    context: int | None = None
    suffix: int | None = None


@frozen
class ModelConfig:
    """Shapes of the text path; counts, or tokens for `sliding_window`, `canvas_length` and `context`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    heads: int
    layers: tuple[LayerShape, ...]
    ropes: dict[str, Rope]
    sliding_window: int
    experts: int
    experts_per_token: int
    expert_size: int
    norm_eps: float
    logit_cap: float
    canvas_length: int
    max_positions: int
    bos_id: int
    eos_ids: tuple[int, ...]
    pad_id: int
    traits: NanoTraits = NanoTraits()

    @property
    def control_ids(self) -> tuple[int, ...]:
        ids = {self.bos_id, self.pad_id, *self.eos_ids}
        if self.traits.filler_id is not None:
            ids.add(self.traits.filler_id)
        return tuple(sorted(ids))


def read_config(folder: Path) -> ModelConfig:
    """Read `folder/config.json`.

    Raises `EngineError("checkpoint")` when the file is missing, is not JSON, or is not a DiffusionGemma that
    this engine can run.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError(
            "checkpoint", f"{folder} has no config.json: name a folder in the Hugging Face layout"
        ) from None
    except (OSError, ValueError) as error:
        raise EngineError("checkpoint", f"{path} cannot be read: {error}") from None
    if not isinstance(raw, dict):
        raise EngineError("checkpoint", f"{path} is not a JSON object")
    return parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], where: str = "config.json") -> ModelConfig:
    """Turn the JSON of `config.json` into shapes; `where` names the file in errors."""
    top = _Fields(raw, where)
    if raw.get("model_type") != "diffusion_gemma":
        raise top.refuse(
            f"model_type is {raw.get('model_type')!r}, this engine runs 'diffusion_gemma' checkpoints only"
        )
    if raw.get("text_config") is None:
        raise top.refuse("text_config is missing")
    text, traits = top.inner("text_config"), top.inner("dgemma")
    if text.get("use_bidirectional_attention") == "all":
        raise text.refuse("use_bidirectional_attention='all' is another architecture; only causal encoders are run")
    if top.get("tie_word_embeddings") is False or text.get("tie_word_embeddings") is False:
        raise top.refuse("tie_word_embeddings is false; encoder, decoder and head must share their weights")
    if text.get("hidden_activation", "gelu_pytorch_tanh") != "gelu_pytorch_tanh":
        raise text.refuse(f"hidden_activation {text.get('hidden_activation')!r} is not 'gelu_pytorch_tanh'")
    if text.get("attention_bias"):
        raise text.refuse("attention_bias is true; this model has no biases")

    layers = _layers(text)
    experts, chosen = text.count("num_experts"), text.count("top_k_experts")
    if chosen > experts:
        raise text.refuse(f"top_k_experts is {chosen}, of only {experts} experts")
    eos = text.need("eos_token_id")
    config = ModelConfig(
        vocab_size=text.count("vocab_size"),
        hidden_size=text.count("hidden_size"),
        intermediate_size=text.count("intermediate_size"),
        heads=text.count("num_attention_heads"),
        layers=layers,
        ropes=_ropes(text, layers),
        sliding_window=text.count("sliding_window"),
        experts=experts,
        experts_per_token=chosen,
        expert_size=text.count("moe_intermediate_size"),
        norm_eps=text.number("rms_norm_eps", 1e-6),
        logit_cap=text.number("final_logit_softcapping", 30.0),
        canvas_length=top.count("canvas_length", default=256),
        max_positions=text.count("max_position_embeddings"),
        bos_id=text.count("bos_token_id", least=0),
        eos_ids=tuple(text.as_count(id_, "eos_token_id", least=0) for id_ in (eos if isinstance(eos, list) else [eos])),
        pad_id=text.count("pad_token_id", least=0),
        traits=NanoTraits(
            filler_id=None if traits.get("filler_token_id") is None else traits.count("filler_token_id", least=0),
            pinned_signal=str(traits.get("pinned_signal", "zero")),
            context=None if traits.get("context") is None else traits.count("context"),
            suffix=None if traits.get("suffix") is None else traits.count("suffix"),
        ),
    )
    outside = [id_ for id_ in config.control_ids if id_ >= config.vocab_size]
    if outside:
        raise top.refuse(f"token id {outside[0]} is outside the vocabulary of {config.vocab_size}")
    return config


def _layers(text: _Fields) -> tuple[LayerShape, ...]:
    """Full layers carry their own shape, spelled `per_layer_config` or `global_*` depending on the writer."""
    kinds, count = text.need("layer_types"), text.count("num_hidden_layers")
    if not isinstance(kinds, list) or len(kinds) != count:
        named = len(kinds) if isinstance(kinds, list) else repr(kinds)
        raise text.refuse(f"layer_types names {named} layers, num_hidden_layers is {count}")
    heads, layers = text.count("num_attention_heads"), []
    for index, kind in enumerate(kinds):
        if kind not in ("sliding_attention", "full_attention"):
            raise text.refuse(f"layer_types[{index}] is {kind!r}")
        full = kind == "full_attention"
        own = text.inner("per_layer_config").inner(str(index)) if full else None
        head_dim = _own_count(text, own, "head_dim", "global_head_dim")
        kv_heads = _own_count(text, own, "num_key_value_heads", "num_global_key_value_heads")
        if head_dim % 2 or heads % kv_heads:
            raise text.refuse(f"layer {index}: {heads} heads over {kv_heads} kv heads of an even head_dim ({head_dim})")
        layers.append(LayerShape(kind, head_dim, kv_heads))
    return tuple(layers)


def _own_count(text: _Fields, own: _Fields | None, name: str, global_name: str) -> int:
    """A full layer's own count if `own` or a `global_name` says so, else what all layers share."""
    if own is not None and own.get(name) is not None:
        return own.count(name)
    if own is not None and text.get(global_name) is not None:
        return text.count(global_name)
    return text.count(name)


def _ropes(text: _Fields, layers: tuple[LayerShape, ...]) -> dict[str, Rope]:
    text.need("rope_parameters")
    ropes = {}
    for kind in sorted({layer.kind for layer in layers}):
        rope = text.inner("rope_parameters").inner(kind)
        if rope.get("rope_type") not in ("default", "proportional"):
            raise rope.refuse("rope_type must be 'default' or 'proportional'")
        partial = rope.number("partial_rotary_factor", 1.0)
        if partial > 1:
            raise rope.refuse(f"partial_rotary_factor {partial} turns more than the whole head")
        ropes[kind] = Rope(rope.number("rope_theta"), partial)
    return ropes


@frozen
class _Fields:
    """One object of the file; a value that does not fit is refused by name. null counts as absent."""

    raw: dict[str, Any]
    where: str
    path: str = ""

    def refuse(self, why: str) -> EngineError:
        return EngineError("checkpoint", f"{self.where}: {self.path}{why}")

    def get(self, name: str, default: Any = None) -> Any:
        value = self.raw.get(name)
        return default if value is None else value

    def need(self, name: str) -> Any:
        if self.get(name) is None:
            raise self.refuse(f"{name} is missing")
        return self.raw[name]

    def inner(self, name: str) -> _Fields:
        """The object called `name`, empty when it is absent."""
        value = self.get(name, {})
        if not isinstance(value, dict):
            raise self.refuse(f"{name} is {value!r:.60}, not an object")
        return _Fields(value, self.where, f"{self.path}{name}.")

    def count(self, name: str, default: int | None = None, least: int = 1) -> int:
        return self.as_count(self.need(name) if default is None else self.get(name, default), name, least)

    def as_count(self, value: Any, name: str, least: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.refuse(f"{name} is {value!r:.60}, not a whole number of at least {least}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number."""
        value = self.need(name) if default is None else self.get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise self.refuse(f"{name} is {value!r:.60}, not a positive number")
        return float(value)
