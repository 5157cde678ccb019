"""Our model and transformers' over one set of random weights, and the proof that they compute the same.

What `gpu.py` times. Needs transformers; runs in whatever dtype and on whatever device it is told to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from unittest import mock

import attrs
import torch
from torch import Tensor, nn

from dgemma_engine import kernels
from dgemma_engine.graphs import CudaGraphs, Runner
from dgemma_engine.model import DiffusionGemma, Rows
from dgemma_engine.model.attention import GATHERS
from dgemma_engine.model.config import parse_config
from dgemma_engine.model.experts import Experts
from dgemma_engine.model.joined import Joined, join_projections
from dgemma_engine.model.layers import Layer
from dgemma_engine.model.load import DenseForm, stored_name
from dgemma_engine.model.packing import group_size, quantize_fp8
from dgemma_engine.model.quantized import Form, QuantizedLinear, empty_bank, quantize
from dgemma_engine.model.sources import DENSE
from dgemma_engine.sampler import Denoising, Draws, Schedule

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
TOLERANCE = {torch.bfloat16: 5e-3, torch.float16: 2e-3, torch.float32: 1e-5}
"""Of ‖ours − reference‖ / ‖reference‖ after one layer."""
NEVER = 1e-9
"""A confidence (nats) that no pass reaches."""


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
        elif DENSE.fullmatch(f"{name}.weight") and dense == "fp8":
            owner, _, last = name.rpartition(".")
            weight = module.get_parameter("weight")
            copied.get_submodule(owner).add_module(last, QuantizedLinear(*quantize_fp8(weight), weight.dtype))
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


class ReferenceArm:
    """transformers' own denoising loop, set up by its `generate` and then driven one pass at a time."""

    def __init__(self, pair: Pair, prefix: Tensor, canvas: int, passes: int, static: bool) -> None:
        self.model = pair.reference
        self.model.config.canvas_length = canvas
        self.inputs: dict[str, Any] = {}

        def capture(**inputs: Any) -> None:
            self.inputs = inputs
            raise _SetUpError

        settings: dict[str, Any] = {
            "max_new_tokens": canvas,
            "max_denoising_steps": passes,
            "eos_token_id": None,
        }
        settings |= {"cache_implementation": "static"} if static else {}
        with mock.patch.object(self.model, "_denoising_step", capture), suppress(_SetUpError):
            self.model.generate(input_ids=prefix, confidence_threshold=NEVER, **settings)

    def step(self) -> None:
        inputs = self.inputs
        state = self.model._denoising_step(**inputs)
        names = ("current_canvas", "argmax_canvas", "self_conditioning_logits", "finished_denoising")
        inputs.update(zip(names, state, strict=True))
        inputs["cur_step"] -= 1
        bool(torch.all(inputs["finished_denoising"]))  # generate asks this after every pass

    def close(self) -> None:
        for name in [name for name in vars(self.model) if name == "_cache" or name.startswith("_compiled_")]:
            delattr(self.model, name)
        torch._dynamo.reset()


class _SetUpError(Exception):
    """Leaves `generate` once everything before its first pass is done."""


def denoising(model: Any, cache: Any, canvas: int, device: torch.device, schedule: Schedule, draws: Draws) -> Denoising:
    """A run over one canvas without pinned rows and without a draft."""
    free = torch.ones(1, canvas, dtype=torch.bool, device=device)
    return Denoising(
        model=model,
        cache=cache,
        canvas=torch.zeros(1, canvas, dtype=torch.long, device=device),
        free=free,
        kept=~free,
        schedule=schedule,
        draws=draws,
        forbidden=torch.zeros(model.config.vocab_size, dtype=torch.bool, device=device),
    )


def parity(pair: Pair, prefix: Tensor, canvas: int) -> dict[str, Any]:
    """The gate: every layer alone on the reference's input and routing, and the samplers.

    Reported beside it are the errors from end to end, routing forced and free: rounding adds up over the
    layers, and a flipped expert more so.
    """
    ids = random_ids(pair, canvas)
    layers: list[Tensor] = []
    routing: list[Any] = []
    with hooked(pair.reference, "TextLayer", layers.append), hooked(pair.reference, "Router", routing.append):
        wanted = reference_states(pair, prefix, ids)
    signal = pair.ours.soft_embedding(wanted["first pass logits"] / 0.8)

    free = our_states(pair, prefix, ids, signal)
    routes = iter(routing)
    with hooked(pair.ours, "Router", lambda _: next(routes)[1:]):
        forced = our_states(pair, prefix, ids, signal)
    routes, targets = iter(routing), iter(layers)
    errors: list[float] = []

    def compare(output: Tensor) -> Tensor:
        target = next(targets)
        errors.append(relative_error(output, target))
        return target

    with hooked(pair.ours, "Router", lambda _: next(routes)[1:]), ends_of_layers(pair.ours, compare):
        our_states(pair, prefix, ids, signal)
    return {
        "canvas": canvas,
        "layer": max(errors),
        "forced": {name: relative_error(forced[name], wanted[name]) for name in wanted},
        "free": {name: relative_error(free[name], wanted[name]) for name in wanted},
        "samplers_agree": samplers_agree(pair, canvas),
        "ok": max(errors) < TOLERANCE[pair.dtype],
    }


def reference_states(pair: Pair, prefix: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """Hidden states and logits: a prefill and two passes over the canvas `ids`, the second conditioned."""
    from transformers import DynamicCache

    cache, logits = DynamicCache(config=pair.reference.config.get_text_config()), None
    encoder, decoder = pair.reference.model.encoder, pair.reference.model.decoder
    states = {"encoder": encoder(input_ids=prefix, past_key_values=cache).last_hidden_state}
    for name in ("first pass", "second pass"):
        inputs = {"decoder_input_ids": ids, "past_key_values": cache, "self_conditioning_logits": logits}
        states[name] = decoder(**inputs).last_hidden_state
        capped = torch.tanh(pair.reference.lm_head(states[name]).float() / 30) * 30
        states[f"{name} logits"] = capped
        logits = (capped / 0.8).to(pair.dtype)
    return states


def our_states(pair: Pair, prefix: Tensor, ids: Tensor, signal: Tensor) -> dict[str, Tensor]:
    cache = pair.ours.new_cache(prefix.shape[1] + ids.shape[1])
    states = {"encoder": pair.ours.encode(prefix, cache)}
    for name, given in (("first pass", None), ("second pass", signal)):
        states[name] = pair.ours.decode(ids, cache, given)
        states[f"{name} logits"] = pair.ours.logits(states[name])
    return states


@contextmanager
def hooked(model: nn.Module, kind: str, hook: Callable[[Any], Any]) -> Iterator[None]:
    """Show the output of every module whose class is named `…kind` to `hook`, which may replace it."""
    modules = [module for module in model.modules() if type(module).__name__.endswith(kind)]
    handles = [module.register_forward_hook(lambda _module, _args, output: hook(output)) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def ends_of_layers(model: DiffusionGemma, hook: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Show what each of our layers returns to `hook`, which replaces it; a layer is run in two halves."""

    def shown(layer: Layer) -> Callable[..., Tensor]:
        return lambda *given: hook(Layer.feed(layer, *given))

    with ExitStack() as stack:
        for layer in model.layers:
            assert isinstance(layer, Layer)
            stack.enter_context(mock.patch.object(layer, "feed", shown(layer)))
        yield


def samplers_agree(pair: Pair, canvas: int) -> bool:
    """One pass of both samplers on the same peaked logits, noise and samples: the canvases must be equal."""
    vocab, shape = pair.ours.config.vocab_size, (1, canvas)
    logits = 20 * torch.tanh(torch.randn(*shape, vocab, device=pair.device) / 4)
    first, noise, sample = (torch.randint(vocab, shape, device=pair.device) for _ in range(3))
    arm = ReferenceArm(pair, random_ids(pair, 8), canvas, passes=4, static=False)
    arm.inputs |= {
        "current_canvas": first,
        "decoder_forward": lambda **_: SimpleNamespace(logits=logits.clone()),
    }
    with (
        mock.patch.object(torch, "randint", return_value=noise),
        mock.patch.object(torch, "multinomial", return_value=sample.view(-1, 1)),
    ):
        arm.step()
    noises = iter([first, noise])
    draws = SimpleNamespace(noise=lambda _: next(noises), sample=lambda _: sample.view(-1))
    stub = SimpleNamespace(
        config=pair.ours.config,
        forward=lambda parts: [logits.flatten(0, 1)[parts[0].asked]],
        logits=lambda hidden: hidden,
        statistics=None,
        expected_embedding=lambda given: given[..., :1],
    )
    ours = denoising(stub, None, canvas, pair.device, Schedule(4), draws)  # pyright: ignore[reportArgumentType]
    done = ours.advance()
    accepted = arm.inputs["sampler"].accepted_token_mask
    return (
        0 < int(accepted.sum()) < canvas
        and torch.equal(done.accepted, accepted)
        and torch.equal(done.canvas, arm.inputs["current_canvas"])
        and torch.equal(done.argmax, arm.inputs["argmax_canvas"])
    )


def static(model: DiffusionGemma) -> Runner:
    """What runs the passes of `model` over static memory: replayed on CUDA, one kernel after the other elsewhere."""
    if model.device.type == "cuda":
        return Runner(model, CudaGraphs())
    return Runner(model)


def static_error(pair: Pair, prefix: Tensor, canvas: int) -> str:
    """The largest relative error of static passes, with a riding delta and without, or why there are none."""
    model, errors = pair.ours, []
    runner, ids, delta = static(model), random_ids(pair, canvas), random_ids(pair, 9)
    caches = [model.new_cache(prefix.shape[1] + 64) for _ in range(2)]
    try:
        for cache in caches:
            model.encode(prefix, cache)
        for _ in range(3):
            for riding in (True, False):
                found, wanted = (
                    run.forward([Rows(cache, delta, encoder=True, kept=True)] * riding + [Rows(cache, ids)])
                    for run, cache in zip((runner, model), caches, strict=True)
                )
                errors += [relative_error(one, other) for one, other in zip(found, wanted, strict=True)]
    except Exception as error:  # whatever a driver says: the other arms still count
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    finally:
        runner.drop()
    return f"{max(errors):.1g}" + ("" if runner.static == 6 else f", of {runner.static} passes in 6")


def random_ids(pair: Pair, count: int) -> Tensor:
    return torch.randint(pair.ours.config.vocab_size, (1, count), device=pair.device)


def relative_error(got: Tensor, wanted: Tensor) -> float:
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())
