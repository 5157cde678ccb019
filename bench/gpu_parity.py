"""The proof that our model and transformers' compute the same, without which `gpu.py` times nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from bench.gpu_arms import ReferenceArm, denoising, static
from bench.gpu_pair import Pair, random_ids
from dgemma_engine.model import DiffusionGemma, Rows
from dgemma_engine.model.layers import Layer
from dgemma_engine.sampler import Schedule

TOLERANCE = {torch.bfloat16: 5e-3, torch.float16: 2e-3, torch.float32: 1e-5}
"""Of ‖ours − reference‖ / ‖reference‖ after one layer."""


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


def relative_error(got: Tensor, wanted: Tensor) -> float:
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())
