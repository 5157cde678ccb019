"""A model that is put on kernels, family by family, beside the same model on plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dgemma_engine import kernels
from dgemma_engine.draws import Draws, SeededDraws
from dgemma_engine.graphs import Runner
from dgemma_engine.kernels import attention as attending
from dgemma_engine.kernels import gated, norms, rotary, row_statistics
from dgemma_engine.model import DiffusionGemma, Rows, load_model
from dgemma_engine.model import attention as plain
from dgemma_engine.model.experts import Experts
from dgemma_engine.sampler import Denoising, Pass, Schedule

ALL = [
    "norms",
    "rotation",
    "gated MLP",
    "attention with heads of 16",
    "attention with heads of 32",
    "reading of logits",
]


@pytest.fixture
def model(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> DiffusionGemma:
    """Its heads are small; here torch takes none of them."""
    monkeypatch.setattr(plain, "FUSED", 0)
    return load_model(tiny_checkpoint)


@torch.inference_mode()
def states(model: DiffusionGemma, runner: Runner | None = None) -> list[Tensor]:
    """An encoder with more tokens than the window, a keystroke with a canvas, a batch of canvases, a few rows asked."""
    cache, run = model.new_cache(), runner or model
    found = [model.encode(torch.arange(36)[None] * 5 % 300, cache)]
    canvas, signal = torch.arange(7)[None] * 3, 0.1 * torch.randn(1, 7, model.config.hidden_size)
    typed = Rows(cache, torch.tensor([[7, 9, 11]]), encoder=True, kept=True)
    found += run.forward([typed, Rows(cache, canvas, signal)])
    found += run.forward([Rows(cache, canvas.repeat(2, 1), asked=torch.tensor([0, 3, 12]))])
    return found


def off(found: list[Tensor], wanted: list[Tensor]) -> float:
    return max(float((one - other).norm() / other.norm()) for one, other in zip(found, wanted, strict=True))


def test_a_model_on_kernels_is_the_model(model: DiffusionGemma) -> None:
    torch.manual_seed(0)
    wanted = states(model)
    assert kernels.use(model) == ALL
    torch.manual_seed(0)
    found = states(model)
    assert 0 < off(found, wanted) < 1e-4
    kernels.leave(model)
    torch.manual_seed(0)
    assert off(states(model), wanted) == 0


def test_passes_over_static_memory_gather_by_kernels_too(
    model: DiffusionGemma, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    wanted = states(model)
    kernels.use(model)
    masks: list[Tensor | None] = []

    def counted(*given: Tensor) -> Tensor:
        masks.append(given[3])
        return attending.attend(*given)

    for key in plain.GATHERS:
        monkeypatch.setitem(plain.GATHERS, key, counted)
    runner = Runner(model)
    torch.manual_seed(0)
    found = states(model, runner)
    assert runner.static == 2
    assert len(masks) == 3 * len(model.layers)
    assert all(mask is not None for mask in masks)
    assert off(found, wanted) < 1e-4


def test_experts_that_are_not_quantised_are_torch_s_unless_asked_for(
    model: DiffusionGemma,
) -> None:
    for one in model.modules():
        if isinstance(one, Experts):
            one.dense = False
    torch.manual_seed(0)
    wanted = states(model)
    assert kernels.use(model, grouped="triton") == ["experts", *ALL]
    torch.manual_seed(0)
    assert off(states(model), wanted) < 1e-4


def broken(*_: object, **__: object) -> Tensor:
    raise RuntimeError("no such instruction\nat line 7")


def wrong(run: Any) -> Any:
    """As a kernel that a compiler got wrong: nine tenths of each result."""

    def scaled(result: Any) -> Any:
        if isinstance(result, Tensor):
            return result * 0.9 if result.is_floating_point() else result
        if isinstance(result, tuple):
            return tuple(scaled(one) for one in result)
        return row_statistics.RowStatistics(
            result.argmax, result.permitted, result.sample, result.entropy * 0.9, result.probabilities
        )

    return lambda *given, **named: scaled(run(*given, **named))


@pytest.mark.parametrize(
    ("name", "module", "kernel"),
    [
        ("norms", norms, "norm"),
        ("norms", norms, "fan_out"),
        ("norms", norms, "close"),
        ("rotation", rotary, "turn"),
        ("gated MLP", gated, "gated"),
        ("reading of logits", row_statistics, "row_statistics"),
        ("attention with heads of 16", attending, "attend"),
    ],
)
@pytest.mark.parametrize("failing", [True, False])
def test_a_family_that_fails_here_is_left_alone(
    model: DiffusionGemma,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    module: Any,
    kernel: str,
    failing: bool,
) -> None:
    """It alone, with one line that says which and why."""
    monkeypatch.setattr(module, kernel, broken if failing else wrong(getattr(module, kernel)))
    lost = {one for one in ALL if one == name or (module is attending and "attention" in one)}
    assert kernels.use(model) == [one for one in ALL if one not in lost]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(lost)
    assert all("\n" not in line for line in said)
    assert said[0].startswith(name)
    assert ("no such instruction" if failing else "off by 0.1") in said[0]
    with torch.inference_mode():
        model.encode(torch.arange(2)[None], model.new_cache())


class Told:
    """Draws that are known beforehand."""

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        return torch.arange(shape[0] * shape[1]).view(shape) * 7 % 300

    def sample(self, probabilities: Tensor) -> Tensor:
        return probabilities.float().topk(3).indices[:, 2]


@torch.inference_mode()
def run(model: DiffusionGemma, draws: Draws, choices: int = 0, passes: int = 2) -> list[Pass]:
    """A few passes over two canvases with pinned rows and with ids that they must not be read as."""
    cache = model.new_cache()
    model.encode(torch.arange(5)[None] * 5 % 300, cache)
    free = torch.ones(2, 12, dtype=torch.bool)
    free[:, :2] = free[1, 9:] = False
    forbidden = torch.zeros(2, model.config.vocab_size, dtype=torch.bool)
    forbidden[0, ::2] = forbidden[1, 1::2] = True
    opening = torch.zeros(model.config.vocab_size, dtype=torch.bool)
    opening[:200] = True
    denoising = Denoising(
        model=model,
        cache=cache,
        canvas=torch.arange(24).view(2, 12) + 100,
        free=free,
        kept=torch.zeros_like(free),
        schedule=Schedule(passes, entropy_bound=20.0, confidence=0.0),
        draws=draws,
        forbidden=forbidden,
        opening=opening,
        choices=choices,
        ends=(1,),
    )
    return [denoising.advance() for _ in range(passes)]


@pytest.mark.parametrize("choices", [0, 4])
def test_a_run_on_kernels_is_the_run(model: DiffusionGemma, choices: int) -> None:
    wanted = run(model, Told(), choices)
    assert "reading of logits" in kernels.use(model)
    found = run(model, Told(), choices)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one.canvas, other.canvas)
        assert torch.equal(one.argmax, other.argmax)
        assert torch.equal(one.readout, other.readout)
        assert torch.equal(one.accepted, other.accepted)
        assert torch.allclose(one.entropy, other.entropy, atol=1e-3)
        assert (one.top is None) == (other.top is None) == (choices == 0)
        if one.top is not None and other.top is not None:
            assert torch.allclose(one.top[1], other.top[1], atol=1e-4)
    assert any((one.readout != one.argmax).any() for one in found)


def test_the_same_seed_is_the_same_run(model: DiffusionGemma) -> None:
    kernels.use(model)
    vocabulary = model.config.vocab_size
    (one,), (same,), (other,) = (
        run(model, SeededDraws(vocabulary, torch.device("cpu"), seed), passes=1) for seed in (3, 3, 4)
    )
    assert torch.equal(one.canvas, same.canvas)
    assert not torch.equal(one.canvas, other.canvas)
