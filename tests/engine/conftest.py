"""Fixtures of the engine's tests: a scheduler whose every forward can be held up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dgemma_engine import residents

from .checkpoints import variant
from .gate import Gate, LoadingGate
from .office import Office, OpenOffice


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadingGate]:
    gate = LoadingGate(monkeypatch)
    yield gate
    gate.open()


@pytest.fixture(scope="session")
def steady_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, never sure of itself: a canvas takes the passes it is given, two more than rows at most."""
    folder = variant(tiny_checkpoint, tmp_path_factory.mktemp("steady"))
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**generation, "confidence_threshold": 0.0}))
    return folder


@pytest.fixture
def open_office(gate: Gate, steady_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenOffice]:
    """Starts schedulers, with a model of three layers; at the end each request must have had its one answer."""
    # Collecting garbage takes longer than anything else here; the test of memory does it again.
    monkeypatch.setattr(residents, "give_back", lambda: None)
    offices: list[Office] = []

    def start(model: Path | str = steady_checkpoint, **options: Any) -> Office:
        offices.append(Office(gate, str(model), **options))
        return offices[-1]

    yield start
    for office in offices:
        office.leave()


@pytest.fixture
def office(open_office: OpenOffice) -> Office:
    return open_office()
