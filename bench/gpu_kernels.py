"""A roofline line for each kernel: the bytes that it has to move, its time, and how near it comes to a plain copy.

What `gpu.py` prints below its table. Each kernel stands beside the torch that it replaces, on inputs that take turns so
that none lies in the card's cache still; both are captured in a CUDA graph, since most of them last for less than a
launch. Bytes are those that must move: every input read once, every output written once.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from dgemma_engine.model import DiffusionGemma
from dgemma_engine.model.attention import Attention, plain_gather, rotation
from dgemma_engine.model.experts import Experts
from dgemma_engine.model.experts import gated as plain_gated
from dgemma_engine.model.layers import Layer
from dgemma_engine.model.packing import group_size
from dgemma_engine.model.quantized import Form, Quantized, empty_bank, quantize

NOT_MEASURED = "not measured: no GPU"
COLD = 256 * 2**20
"""Bytes that inputs taking turns have in all, at least: several times a card's cache."""
REPLAYS = 20
Run = Callable[[], Any]


@attrs.frozen
class Work:
    """One kernel at one shape; `make` gives it and its torch twin inputs of their own."""

    name: str
    size: int
    make: Callable[[], tuple[Run, Run | None]]


def works(model: DiffusionGemma, rows: int, context: int) -> Iterator[Work]:
    """Every kernel as a pass over `rows` of canvas behind `context` tokens runs it."""
    from dgemma_engine.kernels import norms

    layer, width = layers(model)[0], model.config.hidden_size
    row = width * model.embed_tokens.weight.element_size()

    def normalise() -> tuple[Run, Run]:
        x, norm = given(model, 1, rows, width), layer.input_layernorm
        return lambda: norms.norm(x, norm.weight, norm.eps), lambda: norm.weighted(norm.bare(x), x.dtype)

    def fan_out() -> tuple[Run, Run]:
        x, other = (given(model, 1, rows, width) for _ in range(2))
        return both(layer, lambda: layer.fan_out(x, other))

    def close() -> tuple[Run, Run]:
        x, dense, routed = (given(model, 1, rows, width) for _ in range(3))
        return both(layer, lambda: layer.close(x, dense, routed, 0))

    yield Work("norm", 2 * rows * row, normalise)
    yield Work("fan_out", 6 * rows * row, fan_out)
    yield Work("close", 4 * rows * row, close)
    yield gated_work(model, rows)
    for kind, one in {shape.kind: index for index, shape in enumerate(model.config.layers)}.items():
        yield turn_work(model, kind, layers(model)[one].self_attn, rows)
        yield attend_work(model, kind, layers(model)[one].self_attn, rows, context + rows)
    yield statistics_work(model, rows)
    if not layer.experts.dense:
        for form in ("plain", "fp8", "int4"):
            yield experts_work(model, form, rows)


def gated_work(model: DiffusionGemma, rows: int) -> Work:
    from dgemma_engine.kernels import gated

    width = model.config.intermediate_size

    def make() -> tuple[Run, Run]:
        gate, up = given(model, rows, 2 * width).chunk(2, dim=-1)
        return lambda: gated.gated(gate, up), lambda: plain_gated(gate, up)

    return Work("gelu·up", 3 * rows * width * model.embed_tokens.weight.element_size(), make)


def turn_work(model: DiffusionGemma, kind: str, one: Attention, rows: int) -> Work:
    from dgemma_engine.kernels import rotary

    read = one.heads + one.kv_heads * (1 if one.v_proj is None else 2)
    written = one.heads + 2 * one.kv_heads
    turn = rotation(model.frequencies(kind), torch.arange(rows, device=model.device)[None], model.dtype)
    query, key = one.q_norm.weight, one.k_norm.weight
    assert query is not None
    assert key is not None

    def make() -> tuple[Run, Run]:
        heads = given(model, 1, rows, read, one.head_dim)
        split, eps = (one.heads, one.kv_heads), one.q_norm.eps
        return lambda: rotary.turn(heads, split, query, key, turn, eps), lambda: one.turned(heads, turn)

    moved = rows * one.head_dim * (read + written) * model.embed_tokens.weight.element_size()
    return Work(f"turn, heads of {one.head_dim}", moved, make)


def attend_work(model: DiffusionGemma, kind: str, one: Attention, rows: int, length: int) -> Work:
    from dgemma_engine.kernels import attention

    if kind == "sliding_attention":
        length = min(length, model.config.sliding_window - 1 + rows)
    shape = (1, one.kv_heads, length, one.head_dim)

    def make() -> tuple[Run, Run]:
        query, keys, values = given(model, 1, rows, one.heads, one.head_dim), given(model, *shape), given(model, *shape)
        keys = keys * one.head_dim**-0.5
        # A replayed pass brings one.
        mask = torch.zeros(1, rows, length, dtype=model.dtype, device=model.device)
        return lambda: attention.attend(query, keys, values, mask), lambda: plain_gather(query, keys, values, mask)

    values = 2 * one.head_dim * (rows * one.heads + one.kv_heads * length) + rows * length
    moved = values * model.embed_tokens.weight.element_size()
    return Work(f"attention, heads of {one.head_dim}, {length} keys", moved, make)


def statistics_work(model: DiffusionGemma, rows: int) -> Work:
    from dgemma_engine.kernels import row_statistics

    vocabulary, cap = model.config.vocab_size, model.config.logit_cap

    def make() -> tuple[Run, Run]:
        raw = 4 * given(model, rows, vocabulary)

        def plain() -> tuple[Tensor, ...]:
            shares = (torch.tanh(raw.float() / cap) * cap / 0.7).log_softmax(-1)
            return shares.exp().to(raw.dtype), -torch.einsum("rv,rv->r", shares.exp(), shares), shares.argmax(-1)

        def kernel() -> tuple[Tensor, ...]:
            found = row_statistics.row_statistics(raw, cap, 0.7, 1)
            return found.probabilities, found.entropy, found.argmax

        return kernel, plain

    moved = 2 * rows * vocabulary * model.embed_tokens.weight.element_size()
    return Work(f"row statistics, {rows} rows", moved, make)


def experts_work(model: DiffusionGemma, form: Form, rows: int) -> Work:
    """On the experts of the model's layers in turn; quantised ones are those of the first layer."""
    from dgemma_engine.kernels import experts

    turn = iter(range(1 << 30))
    first = layers(model)[0].experts
    share = {"plain": first.gate_up_proj.dtype.itemsize, "fp8": 1.0, "int4": 0.5}[form]
    made: list[tuple[Any, Any]] = []

    def banks() -> tuple[Experts, Any, Any]:
        one = layers(model)[next(turn) % len(model.layers)].experts
        if form == "plain":
            return one, one.gate_up_proj, one.down_proj
        if not made:
            made.append((packed(first.gate_up_proj, form), packed(first.down_proj, form)))
        return first, *made[0]

    def make() -> tuple[Run, Run | None]:
        one, up, down = banks()
        x = given(model, rows, model.config.hidden_size)
        weights, index = torch.rand(rows, up.shape[0], device=model.device).topk(model.config.experts_per_token)
        plain = (lambda: without(one, lambda: one(x, weights, index))) if form == "plain" else None
        return lambda: experts.run(x, weights, index, up, down), plain

    values = math.prod(first.gate_up_proj.shape) + math.prod(first.down_proj.shape)
    return Work(f"experts, {'bf16' if form == 'plain' else form}", int(values * share), make)


def packed(wide: Any, form: Form) -> Quantized:
    bank = empty_bank(form, tuple(wide.shape), group_size(wide.shape[2]), wide.dtype, wide.device)
    for expert in range(len(wide)):
        bank.put(expert, 0, quantize(wide[expert], form))
    return bank


def without(module: Any, run: Run) -> Any:
    """`run` while `module` has no kernel."""
    return under(module, None, run)


def under(module: Any, kernel: Any, run: Run) -> Any:
    before, module.kernel = module.kernel, kernel
    try:
        return run()
    finally:
        module.kernel = before


def both(layer: Layer, run: Run) -> tuple[Run, Run]:
    from dgemma_engine.kernels import norms
    from dgemma_engine.model.layers import Between

    between = Between(norms.fan_out, norms.close)
    return lambda: under(layer, between, run), lambda: under(layer, None, run)


def layers(model: DiffusionGemma) -> list[Layer]:
    return [layer for layer in model.layers if isinstance(layer, Layer)]


def given(model: DiffusionGemma, *shape: int) -> Tensor:
    return torch.randn(shape, device=model.device).to(model.dtype)


def roofline(model: DiffusionGemma, rows: int, context: int, copy_gb_s: float) -> list[dict[str, Any]] | str:
    """Every kernel's line, or why there is none."""
    if model.device.type != "cuda":
        return NOT_MEASURED
    return [measured(work, copy_gb_s) for work in works(model, rows, context)]


def measured(work: Work, copy_gb_s: float) -> dict[str, Any]:
    """A kernel that fails leaves the others alone."""
    line: dict[str, Any] = {"kernel": work.name, "mb": work.size / 1e6}
    try:
        copies = [work.make() for _ in range(min(64, max(1, COLD // work.size)))]
        line["ms"] = milliseconds([kernel for kernel, _ in copies])
        line["of_copy"] = work.size / line["ms"] / 1e6 / copy_gb_s
        twins = [twin for _, twin in copies if twin is not None]
        line["torch_ms"] = milliseconds(twins) if twins else None
    except Exception as error:  # whatever a compiler or a driver says
        line["failure"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return line


def milliseconds(runs: list[Run]) -> float:
    """Of one of them: the median of replays of a graph of all."""
    for _ in range(3):
        runs[0]()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for run in runs:
            run()
    spans = []
    for _ in range(REPLAYS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        spans.append(start.elapsed_time(end) / len(runs))
    return statistics.median(spans)


def lines(found: list[dict[str, Any]] | str) -> list[str]:
    """As markdown."""
    if isinstance(found, str):
        return ["", f"Kernels: {found}."]
    head = ["", "| kernel | MB | ms | of copy bandwidth | torch ms |", "|---|---|---|---|---|"]
    return head + [
        f"| {one['kernel']} | {one['mb']:.1f} | failed: {one['failure']} | | |"
        if "failure" in one
        else f"| {one['kernel']} | {one['mb']:.1f} | {one['ms']:.4f} | {one['of_copy']:.0%} | "
        + (f"{one['torch_ms']:.4f} |" if one["torch_ms"] else "|")
        for one in found
    ]
