"""What a request may take at once: rows of a forward, memory of a prefix, and time after its deadline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache as once
from pathlib import Path
from unittest import mock

import pytest
import torch
from attrs import evolve

from dgemma_engine import likelihood, passes
from dgemma_engine.engine import Engine
from dgemma_engine.likelihood import log_likelihoods
from dgemma_engine.model import Rows
from dgemma_engine.passes import surest
from dgemma_engine.prefix_cache import Prefix, PrefixCache
from dgemma_engine.request import Progress
from dgemma_engine.steps import drive
from dgemma_engine.wire import MAX_CANDIDATES, Filled, Hole, MaskedText

CANVAS = 32


@once
def load(folder: Path) -> Engine:
    return Engine.load(str(folder))


@pytest.fixture
def engine(steady_checkpoint: Path) -> Engine:
    found = load(steady_checkpoint)
    return evolve(found, prefixes=PrefixCache(found.model))


@pytest.fixture
def forwards(engine: Engine) -> Iterator[list[list[Rows]]]:
    seen: list[list[Rows]] = []
    forward = engine.model.forward

    def observed(parts: list[Rows]) -> list[torch.Tensor]:
        seen.append(list(parts))
        return forward(parts)

    with mock.patch.object(engine.model, "forward", observed):
        yield seen


def canvases(forwards: list[list[Rows]]) -> list[int]:
    """How many canvases each forward had."""
    return [len(rows.ids) for parts in forwards for rows in parts if not rows.encoder]


def fill(engine: Engine, *parts: str | Hole, **options: object) -> Filled:
    return engine.fill(MaskedText(parts), **{"passes": 2, "seed": 0, **options})  # type: ignore[arg-type]


def test_many_canvases_take_turns(engine: Engine, forwards: list[list[Rows]]) -> None:
    filled = fill(engine, "x = ", Hole(8), "\n", candidates=MAX_CANDIDATES, length="probe")
    assert len(filled.candidates) == MAX_CANDIDATES
    rows = [rows.ids.numel() for parts in forwards for rows in parts if not rows.encoder]
    assert max(rows) <= passes.GROUP_ROWS
    assert filled.tokens["canvases"] == 6 * MAX_CANDIDATES


@pytest.mark.parametrize(("rows", "sizes"), [(CANVAS, 1), (2 * CANVAS + 1, 2), (1, 1), (10 * CANVAS, 6)])
def test_the_size_of_a_group(engine: Engine, forwards: list[list[Rows]], rows: int, sizes: int) -> None:
    suffix = "\n" + "y" * 90
    with mock.patch.object(passes, "GROUP_ROWS", rows):
        fill(engine, "x = ", Hole(8), suffix, length="probe")
    assert max(canvases(forwards)) == sizes
    # Every canvas had its passes.
    assert sum(canvases(forwards)) == 6 * 2


def test_in_groups_it_comes_to_as_many_candidates(engine: Engine) -> None:
    together = fill(engine, "x = ", Hole(4), "\n", candidates=6, length="exact")
    with mock.patch.object(passes, "GROUP_ROWS", 2 * CANVAS):
        apart = fill(engine, "x = ", Hole(4), "\n", candidates=6, length="exact")
    assert len(apart.candidates) == len(together.candidates)
    scores = [one.score or 0.0 for one in apart.candidates]
    assert scores == sorted(scores, reverse=True)


# Time.


def test_groups_that_the_deadline_leaves_unbegun_are_left_out(engine: Engine, forwards: list[list[Rows]]) -> None:
    with mock.patch.object(passes, "GROUP_ROWS", 2 * CANVAS):
        filled = fill(engine, "x = ", Hole(4), "y" * 90, candidates=9, length="exact", deadline_ms=0.001)
    assert canvases(forwards) == [2]
    assert len(filled.candidates) == 2
    assert {one.finish for one in filled.candidates} == {"deadline"}


def test_what_the_deadline_leaves_unranked_is_left_out(engine: Engine, forwards: list[list[Rows]]) -> None:
    with mock.patch.object(likelihood, "BATCH_ROWS", 60):
        filled = fill(engine, "x = ", Hole(8), "\n", candidates=9, length="exact", deadline_ms=0.001)
    assert 0 < len(filled.candidates) < 9
    assert sum(rows.encoder and not rows.kept for parts in forwards for rows in parts) == 1


def test_canvases_that_the_deadline_leaves_unbegun_stay_empty(engine: Engine, forwards: list[list[Rows]]) -> None:
    parts = [part for n in range(12) for part in (f"key{n}: ", Hole(20), ",\n")]
    filled = fill(engine, *parts, deadline_ms=0.001, candidates=3)
    assert len([count for count in canvases(forwards) if count]) == 1
    for candidate in filled.candidates:
        assert candidate.finish == "deadline"
        assert [bool(text) for text in candidate.texts][1:] == [False] * 11


def test_candidates_go_on_one_after_the_other_while_there_is_time(engine: Engine) -> None:
    """The deadline comes when the first of three has its second canvas."""
    asked: list[int] = []

    def late(self: Progress) -> bool:
        asked.append(1)
        return len(asked) > 9

    with mock.patch.object(Progress, "late", property(late)):
        filled = fill(engine, "a", Hole(20), "b", Hole(20), "c", candidates=3, length="exact", deadline_ms=1e9)
    assert 1 <= len(filled.candidates) <= 3
    assert all(len(one.texts) == 2 for one in filled.candidates)


@torch.inference_mode()
def test_likelihoods_end_where_it_is_late(engine: Engine) -> None:
    prefix = Prefix(engine.model.new_cache(), None)
    drive(engine.model, prefix.extend([2]))
    texts = [[9] * 10 for _ in range(8)]
    answers = iter([False, True])
    with mock.patch.object(likelihood, "BATCH_ROWS", 20):
        scores = drive(engine.model, log_likelihoods(engine.model, prefix, texts, lambda: next(answers)))
    assert len(scores) == 4
    whole = drive(engine.model, log_likelihoods(engine.model, prefix, texts))
    assert scores == pytest.approx(whole[:4], abs=1e-4)


# Memory.


def capacities(engine: Engine) -> list[int]:
    return [prefix.cache.capacity for prefix in engine.prefixes.held]


def test_a_new_prefix_takes_what_it_needs(engine: Engine) -> None:
    filled = fill(engine, "x = [1, 2, 3] " * 20, Hole(4), "\n", seed=None, length="exact")
    (capacity,) = capacities(engine)
    assert capacity < filled.tokens["prefix"] + 2 * CANVAS


def test_so_does_the_copy_of_another_owners(engine: Engine) -> None:
    from dgemma_engine import wire

    for owner, text in (("ann", "x = [1, 2, 3] " * 20), ("ben", "x = [1, 2, 3] " * 15 + "y = ")):
        request = wire.Fill(0, MaskedText((text, Hole(4))), passes=1, length="exact")
        filled = drive(engine.model, engine.filling(request, owner=owner))
    assert filled.tokens["reused"] > 60
    assert len(capacities(engine)) == 2
    assert capacities(engine)[0] < filled.tokens["prefix"] + 2 * CANVAS


# Which lengths go on.


@pytest.mark.parametrize(
    ("entropy", "free", "count", "expected"),
    [
        pytest.param([[1, 9], [2, 9]], [[1, 0], [1, 0]], 1, [0], id="pinned-rows-do-not-count"),
        pytest.param([[1, 1], [1, 0]], [[1, 1], [1, 0]], 2, [1, 0], id="as-sure-by-row-the-shorter-first"),
        pytest.param([[1, 0], [0.6, 0.6]], [[1, 0], [1, 1]], 2, [1, 0], id="longer-and-surer"),
        pytest.param([[3], [1], [2]], [[1], [1], [1]], 2, [1, 2], id="as-many-as-wanted"),
    ],
)
def test_who_survives_the_first_pass(
    entropy: list[list[float]], free: list[list[int]], count: int, expected: list[int]
) -> None:
    assert surest(torch.tensor(entropy), torch.tensor(free, dtype=torch.bool), count) == expected
