"""The kernels by what they replace: how each family is proved on a few rows of a loaded model, and switched on in it.

A proof runs what is about to be used, with the model's own weights and shapes, beside the plain torch of the modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from ..model import DiffusionGemma
from ..model.attention import GATHERS, Attention, RMSNorm, plain_gather, rotation
from ..model.experts import MLP, Experts
from ..model.experts import gated as plain_gated
from ..model.layers import Between, Layer
from ..model.quantized import Quantized, QuantizedLinear
from ..model.static import MASKED
from . import Grouped, attention, experts, gated, linear, norms, rotary, row_statistics

ROWS = 5
KEYS = (100, 300)
"""For attention in one piece and for one that is split."""


@frozen
class Family:
    """`error`: the largest ‖kernel − torch‖ / ‖torch‖. `switch` lets the model run on the kernels, or on torch."""

    name: str
    error: Callable[[], float]
    switch: Callable[[bool], None]


def families(model: DiffusionGemma, grouped: Grouped) -> Iterator[Family]:
    """Those that `model` has a use for."""
    yield from _experts(model, grouped)
    yield from _dense(model)
    yield _norms(model)
    yield _rotary(model)
    yield _gated(model)
    yield from _attention(model)
    yield _statistics(model)


def _experts(model: DiffusionGemma, grouped: Grouped) -> Iterator[Family]:
    found = [
        one
        for one in _all(model, Experts)
        if isinstance(one.gate_up_proj, Quantized) or (grouped == "triton" and not one.dense)
    ]

    def error() -> float:
        one = found[0]
        count, _, width = one.gate_up_proj.shape
        weights, index = torch.rand(ROWS, count, generator=torch.Generator().manual_seed(0)).topk(min(2, count))
        given = _rows(model, width), weights.to(model.device), index.to(model.device)
        return _off([experts.run(*given, one.gate_up_proj, one.down_proj)], [one.each(*given)])

    def switch(on: bool) -> None:
        for one in found:
            one.kernel = experts.run if on else None

    if found:
        yield Family("experts", error, switch)


def _dense(model: DiffusionGemma) -> Iterator[Family]:
    found = _all(model, QuantizedLinear)

    def error() -> float:
        one, errors = found[0], []
        # Each height of a tile is a program of its own to a compiler.
        for rows in linear.ROWS:
            x = _rows(model, one.in_features, rows).to(one.dtype)
            errors.append(_off([linear.run(x, one.values, one.scales)], [F.linear(x, one.wide)]))
        return max(errors)

    def switch(on: bool) -> None:
        for one in found:
            one.kernel = linear.run if on else None

    if found:
        yield Family("8-bit dense layers", error, switch)


def _norms(model: DiffusionGemma) -> Family:
    # Those of heads are part of the rotation.
    heads = {id(norm) for one in _all(model, Attention) for norm in (one.q_norm, one.k_norm, one.v_norm)}
    found = [one for one in _all(model, RMSNorm) if id(one) not in heads]
    layers = _all(model, Layer)
    between = Between(norms.fan_out, norms.close)

    def error() -> float:
        errors = []
        for norm in (layers[0].input_layernorm, model.self_conditioning.post_norm):
            x = _rows(model, norm.size[0])
            errors.append(_off([norms.norm(x, norm.weight, norm.eps)], [norm.weighted(norm.bare(x), x.dtype)]))
        for layer, delta in ((layers[0], 2), (layers[-1], 0)):
            x, other, third = (_rows(model, model.config.hidden_size, seed=seed)[None] for seed in range(3))
            results = []
            for kernel in (between, None):
                before, layer.kernel = layer.kernel, kernel
                try:
                    results.append([*layer.fan_out(x, other), layer.close(x, other, third, delta)])
                finally:
                    layer.kernel = before
            errors.append(_off(*results))
        return max(errors)

    def switch(on: bool) -> None:
        for one in found:
            one.kernel = norms.norm if on else None
        for layer in layers:
            layer.kernel = between if on else None

    return Family("norms", error, switch)


def _rotary(model: DiffusionGemma) -> Family:
    found = _all(model, Attention)

    def error() -> float:
        errors = []
        for kind, one in _by_kind(model):
            heads = one.heads + one.kv_heads * (1 if one.v_proj is None else 2)
            x = _rows(model, heads * one.head_dim).view(1, ROWS, heads, one.head_dim)
            places = torch.arange(ROWS, device=model.device)[None] * 7
            turn = rotation(model.frequencies(kind), places, model.dtype)
            weights = one.q_norm.weight, one.k_norm.weight
            turned = rotary.turn(x, (one.heads, one.kv_heads), *weights, turn, one.q_norm.eps)
            errors.append(_off(turned, one.turned(x, turn)))
        return max(errors)

    def switch(on: bool) -> None:
        for one in found:
            one.kernel = rotary.turn if on else None

    return Family("rotation", error, switch)


def _gated(model: DiffusionGemma) -> Family:
    found = [*_all(model, MLP), *_all(model, Experts)]

    def error() -> float:
        gate, up = _rows(model, 2 * model.config.intermediate_size).chunk(2, dim=-1)
        return _off([gated.gated(gate, up)], [plain_gated(gate, up)])

    def switch(on: bool) -> None:
        for one in found:
            one.gated = gated.gated if on else plain_gated

    return Family("gated MLP", error, switch)


def _attention(model: DiffusionGemma) -> Iterator[Family]:
    """A family for each size of heads: one that a card has no room for takes nothing from the others."""

    def error(one: Attention) -> float:
        query = _rows(model, one.heads * one.head_dim).view(1, ROWS, one.heads, one.head_dim)
        errors = []
        for count in KEYS:
            shape = (1, one.kv_heads, count, one.head_dim)
            keys, values = (_rows(model, one.head_dim, one.kv_heads * count, seed).view(shape) for seed in (1, 2))
            # Keys as long as queries would leave each row with one key.
            keys = keys * one.head_dim**-0.5
            found, wanted = attention.attend(query, keys, values), plain_gather(query, keys, values, None)
            errors.append(_off([found], [wanted]))
            # As in a replayed pass: what is padding lies between the canvas and the prefix, or behind that.
            mask = torch.zeros(1, ROWS, count, dtype=model.dtype, device=model.device)
            mask[:, :, 7:31] = mask[:, :, count - 9 :] = MASKED
            wanted = plain_gather(query, keys, values, mask)
            errors.append(_off([attention.attend(query, keys, values, mask)], [wanted]))
        return max(errors)

    def switch(size: int, on: bool) -> None:
        key = (model.device, model.dtype, size)
        if on:
            GATHERS[key] = attention.attend
        else:
            GATHERS.pop(key, None)

    for size, one in {one.head_dim: one for _, one in _by_kind(model)}.items():
        if size & (size - 1) == 0 and size >= 16:
            yield Family(f"attention with heads of {size}", partial(error, one), partial(switch, size))


def _statistics(model: DiffusionGemma) -> Family:
    def error() -> float:
        raw, cap, temperature = model.raw_logits(_rows(model, model.config.hidden_size)), model.config.logit_cap, 0.7
        found = row_statistics.row_statistics(raw, cap, temperature, 1)
        shares = (torch.tanh(raw.float() / cap) * cap / temperature).log_softmax(-1)
        picked = shares.gather(1, found.argmax[:, None]).squeeze(-1)
        entropy = -(shares.exp() * shares).sum(-1)
        wanted = [shares.exp(), entropy, shares.amax(-1)]
        return _off([found.probabilities, found.entropy, picked], wanted)

    def switch(on: bool) -> None:
        model.statistics = row_statistics.row_statistics if on else None

    return Family("reading of logits", error, switch)


T = TypeVar("T", bound=nn.Module)


def _all(model: DiffusionGemma, kind: type[T]) -> list[T]:
    return [one for one in model.modules() if isinstance(one, kind)]


def _by_kind(model: DiffusionGemma) -> list[tuple[str, Attention]]:
    """An attention of each kind of layers."""
    found = {shape.kind: index for index, shape in enumerate(model.config.layers)}
    layers = _all(model, Layer)
    return [(kind, layers[index].self_attn) for kind, index in found.items()]


def _rows(model: DiffusionGemma, width: int, count: int = ROWS, seed: int = 0) -> Tensor:
    """Random rows `[count, width]` as the model has them."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).to(model.device, model.dtype)


def _off(found: Iterable[Tensor], wanted: Iterable[Tensor]) -> float:
    """The largest ‖kernel − torch‖ / ‖torch‖."""
    pairs = [(one.float(), other.float()) for one, other in zip(found, wanted, strict=True)]
    return float(torch.stack([(one - other).norm() / other.norm() for one, other in pairs]).max())
