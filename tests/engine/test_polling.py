"""A pass that is begun before the one before it is read changes nothing but when it is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from torch import Tensor

from dgemma_engine import polling, wire
from dgemma_engine.engine import Engine
from dgemma_engine.model import DiffusionGemma, Rows
from dgemma_engine.wire import Hole, MaskedText

from .checkpoints import variant

TEXTS = (
    (MaskedText(("x = [", Hole(6), "]\n")), {"candidates": 4}),
    (MaskedText(("def f(", Hole(3), "):\n    return ", Hole(5), "\n")), {"length": "exact"}),
    (MaskedText(("x = ", Hole(70), "\n")), {"length": "exact", "candidates": 2}),
)


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Of a checkpoint that is sure of itself early, of some canvases earlier than of others."""
    folder = variant(tiny_checkpoint, tmp_path_factory.mktemp("sure"))
    generation = json.loads((folder / "generation_config.json").read_text())
    sampler = {**generation["sampler_config"], "entropy_bound": 0.02}
    sure = {**generation, "confidence_threshold": 0.01, "sampler_config": sampler}
    (folder / "generation_config.json").write_text(json.dumps(sure))
    return Engine.load(str(folder))


@define
class Counted:
    """Runs passes, and counts them with the canvases of each."""

    model: DiffusionGemma
    canvases: list[int] = field(factory=list)

    def forward(self, parts: Sequence[Rows]) -> list[Tensor]:
        self.canvases += [len(rows.ids) for rows in parts if not rows.encoder]
        return self.model.forward(parts)


def filled(engine: Engine, text: MaskedText, **options: Any) -> tuple[Any, ...]:
    """Candidates and drafts of a fill, and the canvases of its passes."""
    drafts: list[wire.Draft] = []
    counted = Counted(engine.model)
    fill = evolve(engine, runner=counted).fill
    found = fill(text, on_draft=lambda draft: drafts.append(evolve(draft, ms=0.0)), **options)
    return found.candidates, drafts, counted.canvases


@pytest.mark.parametrize(("text", "options"), TEXTS)
@pytest.mark.parametrize("passes", [1, 2, 7])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_fill_comes_out_the_same(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, text: MaskedText, options: dict[str, Any], passes: int, seed: int
) -> None:
    candidates, drafts, _ = filled(engine, text, passes=passes, seed=seed, **options)
    monkeypatch.setattr(polling, "runs_ahead", lambda device: True)
    assert filled(engine, text, passes=passes, seed=seed, **options)[:2] == (candidates, drafts)


def test_canvases_settle_at_passes_of_their_own(engine: Engine) -> None:
    """Else the tests above would not prove much."""
    finishes: dict[str, set[int]] = {}
    for seed in (1, 2, 3):
        for one in filled(engine, TEXTS[0][0], passes=7, seed=seed, candidates=4)[0]:
            finishes.setdefault(one.finish, set()).add(one.passes)
    assert finishes == {"converged": {2, 3, 4}, "passes": {3}}


def test_one_pass_is_thrown_away_where_a_canvas_settles_and_none_at_the_last(
    engine: Engine, steady_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, options = TEXTS[1]
    steady = Engine.load(str(steady_checkpoint))
    behind = [filled(one, text, passes=5, seed=1, **options)[2] for one in (engine, steady)]
    monkeypatch.setattr(polling, "runs_ahead", lambda device: True)
    ahead = [filled(one, text, passes=5, seed=1, **options)[2] for one in (engine, steady)]
    assert len(ahead[0]) > len(behind[0])
    assert ahead[1] == behind[1]
