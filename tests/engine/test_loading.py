"""Models come when they are asked for, and fail for those who wait for them alone."""

from __future__ import annotations

import shutil
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file

from dgemma_engine import engine, residents, wire
from dgemma_engine.errors import EngineError

from .checkpoints import EMBEDDING
from .gate import Gate, LoadingGate
from .office import Asked, Office

Damage = Callable[[Path], Any]


def fractions(asked: Asked) -> list[float]:
    assert {message.stage for message in asked.of(wire.Progress)} <= {"loading"}
    return [message.fraction for message in asked.of(wire.Progress)]


# Loading.


def test_whoever_waits_hears_how_far_it_is(
    office: Office, gate: Gate, loading: LoadingGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dgemma_engine.scheduler.TELL_S", 0.0)
    first = office.fill("a")
    loading.wait()
    (report,) = office.scheduler.models()
    assert (report.state, report.size) == ("loading", 0)
    assert report.fraction is not None
    assert 0.5 <= report.fraction < 1
    late = office.ask(wire.Lease, client=2)
    loading.open()
    gate.open()
    first.filled()
    late.answer()
    heard = fractions(first)
    assert heard == sorted(set(heard)), "fractions go up"
    assert (heard[0], heard[-1]) == (0.0, 1.0)
    assert min(fractions(late)) >= 0.5
    assert loading.loads == [office.model]
    (report,) = office.scheduler.models()
    assert (report.state, report.fraction, report.device, report.dtype) == ("ready", None, "cpu", "float32")
    assert report.size > 1e6


def test_the_first_news_of_loading_is_that_it_begins(
    office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The thread that loads is as quick as can be.
    class Now(threading.Thread):
        def start(self) -> None:
            self.run()

    monkeypatch.setattr("dgemma_engine.scheduler.TELL_S", 0.0)
    monkeypatch.setattr(residents.threading, "Thread", Now)
    asked = office.fill("a")
    gate.open()
    asked.filled()
    heard = fractions(asked)
    assert heard == sorted(heard)


def test_a_thread_that_cannot_be_started_fails_who_waits_for_it(
    office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(residents.threading, "Thread", Never)
        assert office.fill("a").code() == "internal"
    gate.open()
    office.fill("a").filled()


def edit_config(text: str) -> Damage:
    return lambda folder: (folder / "config.json").write_text(text)


def cut(name: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(share * len(whole))])

    return damage


def replace_by_folder(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def lose_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[EMBEDDING]
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        shutil.rmtree,
        edit_config("{"),
        edit_config("[]"),
        edit_config("{}"),
        cut("model.safetensors", 0.5),
        cut("model.safetensors", 0),
        cut("tokenizer.json", 0.5),
        lose_tensor,
        replace_by_folder("model.safetensors"),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "generation_config.json").write_text("]"),
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}'),
    ],
    ids=[
        "missing folder",
        "config that is no JSON",
        "config that is a list",
        "empty config",
        "half the weights",
        "empty weights",
        "half a tokenizer",
        "missing tensor",
        "weights that are a folder",
        "no tokenizer",
        "schedule that is no JSON",
        "missing shard",
    ],
)
def test_a_broken_checkpoint_fails_those_who_wait_for_it_and_can_be_mended(
    office: Office, gate: Gate, steady_checkpoint: Path, tmp_path: Path, damage: Damage
) -> None:
    gate.open()
    broken = Path(shutil.copytree(steady_checkpoint, tmp_path / "broken"))
    damage(broken)
    waiting = [office.fill("a", model=str(broken)), office.ask(wire.Lease, client=2, model=str(broken))]
    other = office.fill("a", client=3)
    for asked in waiting:
        assert asked.code() == "checkpoint", asked.answer().message
        assert "Traceback" not in asked.answer().message
    other.filled()
    assert office.models() == {office.model}
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(steady_checkpoint, broken)
    office.fill("a", model=str(broken)).filled()


@pytest.mark.parametrize("name", ["", "/", "~nobody-of-this-name/model", "x" * 5000, "\0", "nowhere", "/dev/null/x"])
def test_a_name_that_is_none_is_the_fault_of_who_asks(office: Office, gate: Gate, name: str) -> None:
    gate.open()
    assert office.fill("a", model=name).code() == "checkpoint"
    office.fill("a").filled()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (MemoryError, "memory"),
        (lambda: torch.empty(1 << 50), "memory"),
        (lambda: RuntimeError("[…] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."), "memory"),
        (lambda: EngineError("engine-missing", "torch is not installed"), "engine-missing"),
        (lambda: KeyError("a bug"), "internal"),
    ],
    ids=["Python's memory", "torch's memory", "torch's memory on Windows", "no torch", "bug"],
)
@pytest.mark.parametrize("place", ["load", "forward"])
def test_what_goes_wrong_has_a_code(
    office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any], code: str, place: str
) -> None:
    try:
        error = make()
    except RuntimeError as real:
        error = real

    def fail(*_: Any) -> None:
        raise error() if isinstance(error, type) else error

    gate.open()
    with monkeypatch.context() as patch:
        if place == "load":
            patch.setattr(engine, "load_model", fail)
        else:
            gate.broken[1, "a"] = error() if isinstance(error, type) else error
        assert office.fill("a").code() == code
    gate.broken.clear()
    office.fill("a").filled()


def test_where_models_go_is_asked_once_torch_can_tell(
    office: Office, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first model is loaded nobody knows of a GPU, whose memory it is that counts then."""
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        assert residents.free_memory() == float("inf")
    answers = iter([float("inf"), 1000.0])
    monkeypatch.setattr(residents, "free_memory", lambda: next(answers))
    assert office.fill("a").code() == "memory"
    assert office.models() == set()


def test_without_torch_it_is_said_what_is_missing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dgemma_engine.engine")
    monkeypatch.setitem(sys.modules, "torch", None)
    asked = office.fill("a")
    assert asked.code() == "engine-missing"
    assert "torch" in asked.answer().message


@pytest.mark.parametrize("error", [MemoryError(), EngineError("checkpoint", "it lacks a tensor"), KeyError("a bug")])
def test_what_was_half_loaded_is_gone_when_memory_is_given_back(
    office: Office, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Weights:
        pass

    held: list[weakref.ref[Weights]] = []
    left: list[bool] = []

    def load(*_: Any) -> None:
        weights = Weights()
        held.append(weakref.ref(weights))
        raise error

    monkeypatch.setattr(engine, "load_model", load)
    monkeypatch.setattr(residents, "give_back", lambda: left.append(held[0]() is not None))
    office.fill("a").answer()
    assert left == [False]


def test_a_model_can_leave_while_it_is_reported() -> None:
    loaded = mock.Mock(**{"model.parameters.return_value": [], "model.buffers.return_value": [], "size": 1})

    def leaving() -> residents.Resident:
        """Its engine is there only when it is asked for the first time."""
        engines = iter([loaded])
        engine = property(lambda _: next(engines, None), lambda *_: None)
        return type("Leaving", (residents.Resident,), {"engine": engine})("one", 0.0)

    assert leaving().report().state == "ready"
    assert leaving().size == 1
