"""A whole unpinned run against transformers' `generate`, pass by pass, both fed the same random draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import frozen
from transformers.models.diffusion_gemma.generation_diffusion_gemma import EntropyBoundSamplerConfig

from dgemma_engine.model import load_model
from dgemma_engine.sampler import Denoising, Schedule

from .reference import Oracle, Replay, Shape
from .test_parity import NANO

SHAPES = [
    Shape("dense-experts", layers="ssf", window=32),
    Shape("many-experts", layers="sf", window=16, experts=16, canvas=48),
]


@frozen
class Case:
    """Settings of a run; `context` is the prefix in tokens."""

    name: str
    context: int = 100
    canvases: int = 1
    passes: int = 12
    entropy_bound: float = 0.1
    t_min: float = 0.4
    t_max: float = 0.8
    stability: int = 1
    confidence: float = 0.005

    def reference_settings(self) -> dict[str, Any]:
        return {
            "sampler_config": EntropyBoundSamplerConfig(entropy_bound=self.entropy_bound),
            "t_min": self.t_min,
            "t_max": self.t_max,
            "stability_threshold": self.stability,
            "confidence_threshold": self.confidence,
        }

    def schedule(self) -> Schedule:
        return Schedule(
            passes=self.passes,
            entropy_bound=self.entropy_bound,
            t_min=self.t_min,
            t_max=self.t_max,
            stability=self.stability,
            confidence=self.confidence,
        )


CASES = [
    Case("as-released", passes=48),
    Case("one-pass", passes=1),
    Case("short-context", context=3),
    Case("hot", t_min=0.8, t_max=2.5),
    Case("hot-and-generous", t_min=1.0, t_max=2.0, entropy_bound=5.0),
    Case("hot-for-long", passes=40, t_min=0.2, t_max=2.5, entropy_bound=0.5),
    Case("stable-for-three", passes=40, t_min=0.2, t_max=2.5, entropy_bound=0.5, stability=3),
    Case("confidence-alone", passes=40, t_min=0.2, t_max=2.5, entropy_bound=0.5, confidence=0.5, stability=0),
    Case("two-canvases", canvases=2, t_min=0.8, t_max=2.0, entropy_bound=1.0),
]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.name)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param.write(tmp_path_factory.mktemp(request.param.name))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_same_draws_same_canvases(folder: Path, case: Case, seed: int) -> None:
    check_run(folder, case, seed)


@pytest.mark.parametrize("case", [Case("as-released", passes=8), Case("hot", passes=4, t_max=1.5)], ids=str)
def test_same_draws_same_canvases_on_nano(case: Case) -> None:
    check_run(NANO, case, seed=0)


def check_run(folder: Path, case: Case, seed: int) -> None:
    oracle, model = Oracle(folder), load_model(folder, torch.float32)
    vocab, length = model.config.vocab_size, model.config.canvas_length
    prefix = torch.randint(vocab, (1, case.context), generator=torch.Generator().manual_seed(seed))
    run = oracle.run(prefix, case.passes, seed, case.canvases, **case.reference_settings())
    assert len(run.noises) == len(run.passes) + case.canvases

    cache, draws, expected = model.new_cache(), Replay(run), iter(run.passes)
    text, argmax = prefix, prefix
    for _ in range(case.canvases):
        model.encode(text[:, cache.length :], cache)
        denoising = Denoising(
            model=model,
            cache=cache,
            canvas=torch.zeros(1, length, dtype=torch.long),
            free=torch.ones(1, length, dtype=torch.bool),
            kept=torch.zeros(1, length, dtype=torch.bool),
            schedule=case.schedule(),
            draws=draws,
            forbidden=torch.zeros(vocab, dtype=torch.bool),
        )
        for remaining in range(case.passes, 0, -1):
            wanted = next(expected)
            assert wanted.remaining == remaining
            assert torch.equal(denoising.canvas, wanted.before)
            done = denoising.advance()
            argmax = done.argmax
            assert torch.equal(done.accepted, wanted.accepted)
            assert torch.equal(done.canvas, wanted.canvas)
            assert torch.equal(argmax, wanted.argmax)
            assert torch.equal(done.readout, wanted.argmax)
            entropy = torch.distributions.Categorical(logits=wanted.logits).entropy()
            torch.testing.assert_close(done.entropy, entropy, atol=1e-4, rtol=0)
            assert bool(done.done.all()) == wanted.finished
            if wanted.finished:
                break
        text = torch.cat([text, argmax], dim=1)
    assert next(expected, None) is None
    assert torch.equal(text[:, case.context :], run.result)


def test_the_cases_reach_every_end(tmp_path: Path) -> None:
    """Some of the runs above stop early, some use all passes; some accept much, some little."""
    oracle = Oracle(SHAPES[0].write(tmp_path))
    prefix = torch.randint(SHAPES[0].vocab, (1, 100), generator=torch.Generator().manual_seed(0))
    runs = {case.name: oracle.run(prefix, case.passes, 0, **case.reference_settings()) for case in CASES}
    used = {case.name: len(runs[case.name].passes) / case.passes for case in CASES}
    assert used["hot"] == 1
    assert used["confidence-alone"] < used["hot-for-long"] < used["stable-for-three"] < 1
    accepted = torch.stack([done.accepted for run in runs.values() for done in run.passes[1:]])
    assert 0.1 < accepted.float().mean() < 0.9
