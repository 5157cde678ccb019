"""Models leave when they are idle or when a client says so, and their memory goes with them."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import save_file

from dgemma_engine import engine, residents, wire
from dgemma_engine.model import DiffusionGemma
from dgemma_engine.model.config import read_config
from dgemma_engine.model.load import stored_name
from dgemma_engine.residents import Residents

from .checkpoints import variant
from .gate import WAIT_S, Clock, Gate, LoadingGate
from .office import Office, OpenOffice


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Waits for the next model that leaves, and tells which."""
    names: list[str] = []
    came = threading.Semaphore(0)
    unload = Residents.unload

    def observed(self: Residents, name: str) -> None:
        unload(self, name)
        names.append(name)
        came.release()

    def wait() -> str:
        assert came.acquire(timeout=WAIT_S), "no model left"
        return names[-1]

    monkeypatch.setattr(Residents, "unload", observed)
    return wait


def test_an_idle_model_leaves_by_itself(open_office: OpenOffice, gate: Gate, left: Callable[[], str]) -> None:
    office = open_office(idle_s=0.05)
    gate.open()
    office.fill().filled()
    assert left() == office.model
    office.fill().filled()
    assert left() == office.model


def test_a_lease_says_when(office: Office, gate: Gate, left: Callable[[], str]) -> None:
    gate.open()
    office.lease(idle_s=None)
    assert office.scheduler.models()[0].unload_s == 900
    office.lease(idle_s=0)
    assert office.scheduler.models()[0].unload_s == 0
    assert not office.scheduler.empty
    office.lease(idle_s=0.05)
    assert left() == office.model


@pytest.mark.parametrize("idle_s", [1e10, 1e308])
def test_a_lease_may_be_as_long_as_it_likes(office: Office, gate: Gate, idle_s: float) -> None:
    gate.open()
    office.lease(idle_s)
    office.lease(idle_s)
    office.fill().filled()
    assert office.scheduler.models()[0].unload_s == idle_s


def test_a_model_in_use_is_not_idle(
    open_office: OpenOffice, gate: Gate, monkeypatch: pytest.MonkeyPatch, loading: LoadingGate
) -> None:
    clock = Clock(monkeypatch, residents)
    office = open_office(idle_s=10.0)
    asked = office.fill(passes=5)
    loading.open()
    for _ in range(5):
        gate.step()
        clock.now += 100
    gate.open()
    asked.filled()
    assert loading.loads == [office.model]


def test_a_request_that_comes_while_its_model_leaves_is_served(
    open_office: OpenOffice, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = open_office(idle_s=0.01)
    late = []
    leaving = threading.Event()

    def give_back() -> None:
        if not late:
            late.append(office.fill("late"))
            leaving.set()

    monkeypatch.setattr(residents, "give_back", give_back)
    gate.open()
    office.fill("early").filled()
    assert leaving.wait(WAIT_S), "the model never left"
    late[0].filled()


@pytest.mark.parametrize("everything", [False, True])
def test_unloading_while_it_loads_gives_up(office: Office, gate: Gate, loading: LoadingGate, everything: bool) -> None:
    waiting = office.fill()
    loading.wait()
    office.unload(None if everything else office.model)
    assert waiting.code() == "cancelled"
    assert office.models() == set()
    assert office.scheduler.empty
    loading.open()
    gate.open()
    office.fill().filled()
    assert len(loading.loads) == 2
    assert max(message.fraction for message in waiting.of(wire.Progress)) < 1


@pytest.mark.parametrize("everything", [False, True])
def test_unloading_cancels_what_runs_on_it(office: Office, gate: Gate, everything: bool) -> None:
    running, waiting = office.fill("a"), office.fill("b")
    gate.until(running.owner, "canvas")
    done = threading.Event()
    office.scheduler.unload(None if everything else office.model, done.set)
    assert not done.is_set()
    gate.step()
    assert done.wait(WAIT_S)
    assert (running.code(), waiting.code()) == ("cancelled", "cancelled")
    assert office.models() == set()
    assert len(gate.seen) == 1


def test_unloading_one_leaves_the_other(office: Office, gate: Gate, steady_checkpoint: Path, tmp_path: Path) -> None:
    other = str(variant(steady_checkpoint, tmp_path / "other"))
    gate.open()
    office.fill("a").filled()
    office.fill("a", model=other).filled()
    office.unload("no such model")
    assert office.models() == {office.model, other}
    office.unload(other)
    assert office.models() == {office.model}
    office.unload(other)
    office.unload()
    assert office.models() == set()


def test_whoever_is_told_that_a_model_is_gone_finds_it_gone(
    office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[weakref.ref[DiffusionGemma]] = []
    load = engine.load_model

    def observed(*args: Any) -> DiffusionGemma:
        network = load(*args)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(engine, "load_model", observed)
    rewriting = office.fill("a", priority="rewrite")
    gate.until(rewriting.owner, "canvas")
    cancelled = office.fill("b")
    gate.step()
    gate.wait()
    alive: list[bool] = []
    done = threading.Event()

    def finished() -> None:
        gc.collect()
        alive.append(networks[0]() is not None)
        done.set()

    # The wish comes while the scheduler ends another request: at the worst moment.
    cancelled.on_message = lambda _: office.scheduler.unload(None, finished)
    office.cancel(cancelled)
    gate.open()
    assert done.wait(WAIT_S)
    assert alive == [False]
    assert rewriting.code() == "cancelled"


def large_checkpoint(source: Path, folder: Path, megabytes: int) -> Path:
    """The tiny checkpoint with dense layers so wide that its weights, zeros, take that much."""
    variant(source, folder)
    config = (source / "config.json").read_text()
    # Three matrices a layer in three layers and in the self-conditioning, 64 columns of 4 bytes.
    width = megabytes * 1_000_000 // (4 * 3 * 64 * 4)
    (folder / "config.json").write_text(config.replace('"intermediate_size": 128', f'"intermediate_size": {width}'))
    with torch.device("meta"):
        wanted = DiffusionGemma(read_config(folder)).state_dict()
    tensors = {stored_name(name): torch.zeros(value.shape) for name, value in wanted.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("how", ["unload", "cancel", "memory error"])
def test_the_memory_is_given_back(steady_checkpoint: Path, tmp_path: Path, how: str) -> None:
    large = large_checkpoint(steady_checkpoint, tmp_path / "large", 120)
    # A process of its own: one that has run other tests has freed pages to spare and threads that take some.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        taken, kept = process.submit(memory_of, str(large), str(steady_checkpoint), how).result(timeout=120)
    assert taken > 100e6
    assert abs(kept) < 30e6


def memory_of(large: str, model: str, how: str) -> tuple[int, int]:
    """Bytes that this process takes for the model `large`, and that it keeps when the model has left."""
    process = psutil.Process()
    with pytest.MonkeyPatch.context() as patch:
        gate = Gate(patch)
        office = Office(gate, model)
        gate.open()
        office.fill("a").filled()
        office.fill("a", model=large).filled()  # what any first use leaves behind
        office.unload(large)
        before = process.memory_info().rss
        if how == "memory error":
            gate.broken[1, "a"] = MemoryError()
            assert office.fill("a", model=large).code() == "memory"
            gate.broken.clear()
        gate.close()
        asked = office.fill("a", model=large)
        gate.until(asked.owner, "canvas", 2)
        loaded = process.memory_info().rss
        if how == "cancel":
            office.scheduler.unload(large, lambda: None)
            gate.step()
            assert asked.code() == "cancelled"
        else:
            gate.open()
            asked.filled()
        office.unload(large)
        after = process.memory_info().rss
        gate.open()
        office.leave()
    return loaded - before, after - before


def test_a_model_of_that_size_is_reported(
    open_office: OpenOffice, gate: Gate, steady_checkpoint: Path, tmp_path: Path
) -> None:
    large = large_checkpoint(steady_checkpoint, tmp_path / "large", 8)
    office = open_office(large)
    gate.open()
    office.fill("a").filled()
    (report,) = office.scheduler.models()
    assert 8e6 < report.size < 10e6
