"""Two models and memory for one: who leaves, who stays, and who goes first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dgemma_engine import residents
from dgemma_engine.residents import needed_memory

from .gate import Gate, LoadingGate
from .office import Office, OpenOffice

Damage = Callable[[Path], Any]


@pytest.fixture
def copies(steady_checkpoint: Path, tmp_path: Path) -> list[str]:
    """Three models that are the same but for their names."""
    return [str(shutil.copytree(steady_checkpoint, tmp_path / name)) for name in ("one", "two", "three")]


def room_for(count: float, model: str) -> int:
    return int(count * needed_memory(model))


def test_the_least_recently_used_leaves(open_office: OpenOffice, gate: Gate, copies: list[str]) -> None:
    one, two, three = copies
    office = open_office(one, memory=room_for(2.5, one))
    gate.open()
    for model in (one, two, one, three):
        office.fill("a", model=model).filled()
    assert office.models() == {one, three}
    office.fill("a", model=two).filled()
    assert office.models() == {two, three}


def test_who_uses_its_model_is_waited_for(open_office: OpenOffice, gate: Gate, copies: list[str]) -> None:
    one, two, _ = copies
    office = open_office(one, memory=room_for(1.5, one))
    running = office.fill("a", passes=5)
    gate.until(running.owner, "canvas", 2)
    other = office.fill("a", client=2, model=two)
    gate.step()
    assert gate.wait().owner == running.owner
    assert office.models() == {one}
    gate.open()
    running.filled()
    other.filled()
    assert other.filled().ms["load"] > 0
    assert office.models() == {two}
    assert gate.order() == [running.owner, other.owner]


def test_two_models_that_are_asked_for_at_once_are_both_served(
    open_office: OpenOffice, gate: Gate, loading: LoadingGate, copies: list[str]
) -> None:
    one, two, _ = copies
    office = open_office(one, memory=room_for(1.5, one))
    first = office.fill("a")
    loading.wait()
    rest = [office.fill("b", model=two), office.fill("c"), office.fill("d", model=two)]
    loading.open()
    gate.open()
    for asked in (first, *rest):
        asked.filled()
    assert len(loading.loads) <= 4


def test_a_model_stays_while_a_more_urgent_request_waits_for_it(
    open_office: OpenOffice, gate: Gate, loading: LoadingGate, copies: list[str]
) -> None:
    one, two, _ = copies
    loading.open()
    office = open_office(one, memory=room_for(1.5, one))
    first = office.fill("first")
    gate.until(first.owner, "canvas")
    office.fill("second")
    office.fill("other", client=2, model=two, priority="rewrite")
    office.finish()
    assert loading.loads == [one, two]
    assert [document for _, document in gate.order()] == ["first", "second", "other"]


def test_a_model_is_not_loaded_for_nothing(
    open_office: OpenOffice, gate: Gate, loading: LoadingGate, copies: list[str]
) -> None:
    one, two, _ = copies
    office = open_office(one, memory=room_for(1.5, one))
    office.fill("rewrite", priority="rewrite")
    loading.wait()
    office.fill("fill", model=two)
    loading.open()
    office.finish()
    assert loading.loads == [one, two]
    assert [document for _, document in gate.order()] == ["rewrite", "fill"]


def test_an_interactive_request_comes_before_a_rewrite_of_another_model(
    open_office: OpenOffice, gate: Gate, loading: LoadingGate, copies: list[str]
) -> None:
    one, two, three = copies
    office = open_office(one, memory=room_for(1.5, one))
    office.fill("a")
    loading.wait()
    office.fill("b", model=three, priority="rewrite")
    office.fill("c", model=two)
    loading.open()
    office.finish()
    assert [document for _, document in gate.order()] == ["a", "c", "b"]


def test_a_pinned_model_stays_and_the_refusal_says_so(open_office: OpenOffice, gate: Gate, copies: list[str]) -> None:
    one, two, _ = copies
    office = open_office(one, memory=room_for(1.5, one))
    gate.open()
    office.lease(idle_s=0)
    refused = office.fill("a", model=two)
    assert refused.code() == "memory"
    assert "pinned" in refused.answer().message
    assert one in refused.answer().message
    assert office.models() == {one}
    office.lease(idle_s=60)
    office.fill("a", model=two).filled()
    assert office.models() == {two}


def test_a_model_that_is_too_large_at_all_drives_nobody_out(
    open_office: OpenOffice, gate: Gate, copies: list[str]
) -> None:
    small, large, _ = copies
    config = json.loads(Path(large, "config.json").read_text())
    config["text_config"]["num_experts"] = 640
    Path(large, "config.json").write_text(json.dumps(config))
    office = open_office(small, memory=room_for(1.5, small))
    gate.open()
    office.fill("a").filled()
    refused = office.fill("a", client=2, model=large)
    assert refused.code() == "memory"
    assert "MB" in refused.answer().message
    assert office.models() == {small}


def test_counts_survive_the_models_they_come_from(open_office: OpenOffice, gate: Gate, copies: list[str]) -> None:
    one, two, _ = copies
    office = open_office(one, memory=room_for(1.5, one))
    gate.open()
    for model in (one, one, two, one):
        office.fill("a", "a text of some length ", model=model).filled()
    office.unload()
    cache = office.scheduler.cache()
    assert (cache.entries, cache.tokens, cache.size) == (0, 0, 0)
    assert (cache.hits, cache.misses) == (1, 3)
    assert cache.tokens_saved > 0
    assert cache.tokens_encoded > 0


def test_without_a_limit_the_free_memory_decides(office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residents, "free_memory", lambda: 1000.0)
    refused = office.fill("a")
    assert refused.code() == "memory"
    monkeypatch.setattr(residents, "free_memory", lambda: 1e9)
    gate.open()
    office.fill("a").filled()


def test_the_precision_is_what_fits_and_is_said(
    open_office: OpenOffice, gate: Gate, copies: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    one, two, three = copies
    caplog.set_level("INFO")
    office = open_office(one, memory=room_for(1, f"{one}@fp8"))
    gate.open()
    office.fill("a").filled()
    (report,) = office.scheduler.models()
    assert report.dtype == "fp8"
    assert f"{one} is loaded in fp8" in caplog.text
    refused = office.fill("a", client=2, model=f"{two}@bf16")
    assert refused.code() == "memory"
    assert f"{two}@bf16: bf16 needs" in refused.answer().message
    assert "fp8 would fit" in refused.answer().message
    assert office.models() == {one}
    roomy = open_office(three, memory=room_for(1, three))
    roomy.fill("a").filled()
    assert [one.dtype for one in roomy.scheduler.models()] == ["float32"]


def test_idle_models_leave_for_a_better_precision(open_office: OpenOffice, gate: Gate, copies: list[str]) -> None:
    """What is unused for the moment is loaded again sooner than a model gets better."""
    one, two, _ = copies
    office = open_office(one, memory=room_for(1, one))
    gate.open()
    office.fill("a").filled()
    office.fill("a", model=two).filled()
    assert [(report.name, report.dtype) for report in office.scheduler.models()] == [(two, "float32")]
