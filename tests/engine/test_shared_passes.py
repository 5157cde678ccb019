"""On a GPU equally urgent requests share their forwards, and nobody is the worse for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dgemma_engine import fill
from dgemma_engine.draws import SeededDraws
from dgemma_engine.engine import Engine

from .gate import Gate
from .office import OpenOffice


def test_equally_urgent_fills_share_forwards(open_office: OpenOffice, gate: Gate) -> None:
    office = open_office(batch=True)
    office.block()
    together = [office.fill("a", f"{client} = ", client=client, passes=3) for client in (1, 2, 3)]
    together.append(office.fill("b", passes=5))
    other = office.fill("c", priority="rewrite")
    office.finish()
    forwards = gate.seen[1:]
    everybody = {asked.owner for asked in together}
    shared = [forward for forward in forwards if forward.kind == "canvas" and forward.owners == everybody]
    assert len(shared) == 3
    assert all(len(forward.owners) == 1 for forward in gate.of(other.owner))
    # Nobody waits for anybody: the longest one decides.
    assert len(forwards) <= 2 * (5 + 1) + 2
    passes = [asked.filled().candidates[0].passes for asked in together]
    assert passes == [3, 3, 3, 5]


def test_one_that_comes_later_joins_at_the_next_pass(open_office: OpenOffice, gate: Gate) -> None:
    office = open_office(batch=True)
    first = office.fill("a", passes=4)
    gate.until(first.owner, "canvas", 2)
    second = office.fill("a", client=2, passes=4)
    gate.step()
    assert gate.step().owners == {first.owner, second.owner}
    gate.open()
    assert first.filled().candidates[0].passes == second.filled().candidates[0].passes == 4


def test_a_shared_pass_has_a_bound(open_office: OpenOffice, gate: Gate) -> None:
    office = open_office(batch=True)
    office.block()
    everybody = [office.fill("a", client=client) for client in range(20)]
    gate.open()
    for asked in everybody:
        asked.filled()
    assert max(len(forward.owners) for forward in gate.seen) == 8


def test_what_has_a_seed_runs_alone_and_comes_out_the_same(
    open_office: OpenOffice, gate: Gate, steady_checkpoint: Path
) -> None:
    office = open_office(batch=True)
    office.block()
    seeded = [office.fill("a", f"{client} = ", client=client, seed=client) for client in (1, 2)]
    office.fill("a", client=3)
    office.finish()
    engine = Engine.load(str(steady_checkpoint))
    for asked in seeded:
        assert all(forward.owner == asked.owner for forward in gate.of(asked.owner))
        request = asked.request
        alone = engine.fill(request.text, passes=request.passes, length=request.length, seed=request.seed)
        assert asked.filled().candidates == alone.candidates


@pytest.mark.parametrize(
    ("error", "code"),
    [(RuntimeError("boom"), "internal"), (MemoryError(), "memory"), (RuntimeError("CUDA error"), "internal")],
)
def test_one_whose_forward_fails_fails_alone(open_office: OpenOffice, gate: Gate, error: Exception, code: str) -> None:
    office = open_office(batch=True)
    office.block()
    good, bad, other = (office.fill("a", client=client, passes=4) for client in (1, 2, 3))
    gate.until(bad.owner, "canvas", 2)
    gate.broken[bad.owner] = error
    gate.open()
    assert bad.code() == code
    assert [asked.filled().candidates[0].passes for asked in (good, other)] == [4, 4]


def test_in_company_it_comes_out_as_alone(
    open_office: OpenOffice, gate: Gate, steady_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a seed, since that would keep it from sharing, but with known draws.
    monkeypatch.setattr(fill, "SeededDraws", lambda vocab, device, seed: SeededDraws(vocab, device, 5))
    office = open_office(batch=True)
    office.block()
    options = {"passes": 5, "candidates": 2, "length": "auto"}
    together = [office.fill("a", "values = " + client * "12, ", client=client, **options) for client in (1, 9, 25)]
    gate.open()
    engine = Engine.load(str(steady_checkpoint))
    for asked in together:
        alone = engine.fill(asked.request.text, **options).candidates
        found = asked.filled().candidates
        assert [one.texts for one in found] == [one.texts for one in alone]
        assert [one.score for one in found] == pytest.approx([one.score for one in alone], abs=1e-3)
    assert any(forward.owners >= {asked.owner for asked in together} for forward in gate.seen)
