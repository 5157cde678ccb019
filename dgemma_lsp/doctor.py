"""What is installed, what is missing, and whether a fill works."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import attrs

from dgemma_engine.wire import Filled, Hole, MaskedText, log_file
from dgemma_lsp import models
from dgemma_lsp.config import Settings, read_settings, read_user_file, user_file
from dgemma_lsp.default_model import model_of
from dgemma_lsp.engine_client import resolve_model
from dgemma_lsp.engine_client.blocking import BlockingEngine
from dgemma_lsp.engine_client.dial import endpoint
from dgemma_lsp.engine_client.errors import EngineLeft, EngineNotRunning
from dgemma_lsp.engine_client.start import INSTALL, find_interpreter
from dgemma_lsp.engine_tool import ask
from dgemma_lsp.errors import UserError
from dgemma_lsp.files import shown

BASE = ("dgemma-lsp", "attrs", "msgpack", "platformdirs", "rich", "typer")
ENGINE = ("dgemma-lsp", "torch", "tokenizers", "safetensors", "numpy", "psutil", "jinja2", "huggingface-hub")

MACHINE_S = 60.0
"""How long the look at the machine may take; torch and the measurements take about four seconds."""

SAMPLE = MaskedText(("def add(first, second):\n    return first +", Hole(4), "\n"))

_ASK = """
import json, platform, sys
from importlib import metadata
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        versions[name] = None
print(json.dumps([platform.python_version(), versions]))
"""


@attrs.frozen
class Finding:
    """One thing that was looked at; the detail of a bad one says what to do."""

    name: str
    ok: bool
    detail: str
    data: Any = None
    """The same for programs, where there is more than a line of it: see docs/models.md."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return attrs.asdict(self, filter=lambda field, value: field.name != "data" or value is not None)


def examine(engine_python: str | None = None) -> Iterator[Finding]:
    """Findings as they are made. The fill is tried only when all before it is well."""
    sound = True
    for finding in _installation(engine_python or sys.executable):
        sound = sound and finding.ok
        yield finding
    if sound:
        yield from _machine(engine_python or sys.executable)
        yield _fill(engine_python)
    else:
        yield Finding("fill", False, "not tried: mend the above first")


def _machine(python: str) -> Iterator[Finding]:
    """What it can run, and how fast: measured by the engine's interpreter."""
    chosen, problem = model_of(_settings())
    if problem:
        yield Finding("chosen model", False, problem)
    try:
        for event in ask(python, "dgemma_engine.machine", [resolve_model(chosen), str(_held())], MACHINE_S):
            kind = event.pop("event", None)
            if kind == "devices":
                yield _devices(event["devices"])
            elif kind == "rates":
                yield _rates(event)
            elif kind in ("released", "chosen"):
                yield _model(f"{kind} model", event)
    except UserError as error:
        yield Finding("machine", False, str(error))


def _held() -> int:
    """Bytes that models take which the engine holds now; it would give them back for another."""
    try:
        with BlockingEngine(name="doctor", start=False) as engine:
            return sum(model.size for model in engine.status().models)
    except UserError:
        return 0


def _settings() -> Settings:
    path = user_file()
    user, _ = read_user_file(path)
    return read_settings((str(path), user)).settings


def _devices(devices: list[dict[str, Any]]) -> Finding:
    listed = (
        f"{one['name']} ({one['kind']}, {models.megabytes(one['free'])} of {models.megabytes(one['total'])} free): "
        f"{one['path']}"
        for one in devices
    )
    return Finding("devices", True, "; ".join(listed), devices)


def _rates(rates: dict[str, Any]) -> Finding:
    detail = f"copies {rates['copy'] / 1e9:.0f} GB/s, multiplies {rates['matrix'] / 1e12:.1f} TFLOP/s in bf16"
    return Finding("rates", True, detail, rates)


def _model(name: str, model: dict[str, Any]) -> Finding:
    if model["problem"] is not None:
        return Finding(name, False, model["problem"], model)
    unfit = "" if model["precision"] else "does not fit here: "
    return Finding(name, True, "; ".join([f"{model['name']}, {unfit}{model['reason']}", *model["advice"]]), model)


def _installation(engine_python: str) -> Iterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 10), f"{platform.python_version()} ({sys.executable})")
    yield _packages("packages", {name: _version(name) for name in BASE}, "pip install dgemma-lsp")
    yield from _engine(engine_python)
    for checkpoint in models.bundled():
        if checkpoint.problem is None:
            detail = f"{models.megabytes(checkpoint.size)}, sha256 {models.sha256(checkpoint)[:16]}"
        else:
            detail = f"{checkpoint.problem}; install the package again"
        yield Finding(checkpoint.name, checkpoint.problem is None, f"{detail} ({checkpoint.folder})")
    yield from _places()


def _engine(python: str) -> Iterator[Finding]:
    try:
        found = find_interpreter(python)
        asked = subprocess.run(
            [found, "-c", _ASK, *ENGINE],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            cwd=found.parent,
        )
        version, versions = json.loads(asked.stdout)
    except UserError as error:
        yield Finding("engine python", False, str(error))
        return
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        yield Finding("engine python", False, f"{python} is no Python that runs: {error}")
        return
    yield Finding("engine python", True, f"{version} ({python})")
    yield _packages("engine packages", versions, INSTALL)


def _places() -> Iterator[Finding]:
    """Where the daemon listens, and where it writes."""
    try:
        place = endpoint()
        yield Finding("runtime folder", True, f"{shown(place.folder)}, for you alone")
    except UserError as error:
        yield Finding("runtime folder", False, str(error))
    folder = log_file().parent
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield Finding("log", True, shown(log_file()))
    else:
        # No reason not to fill: a daemon that cannot write its log goes on without.
        how = "cannot be written to" if there.is_dir() else "is no folder"
        yield Finding("log", False, f"{shown(there)} {how}, so there will be no log; mend it or set XDG_STATE_HOME")


def _fill(engine_python: str | None) -> Finding:
    """Two fills, and whether the daemon had to be started for them."""
    start = time.monotonic()
    try:
        running = _running()
        with BlockingEngine(engine_python, name="doctor") as engine:
            first = engine.fill(SAMPLE, seed=0)
            since_start = (time.monotonic() - start) * 1000
            warm = engine.fill(SAMPLE, seed=0)
            pid = engine.status().pid
    except UserError as error:
        return Finding("fill", False, str(error))
    how = f"the engine (pid {pid}) {'was running' if running == pid else 'was started'}"
    return Finding(
        "fill",
        True,
        f"{first.candidates[0].texts[0]!r}; {how}, a fill after {since_start:.0f} ms "
        f"(load {_ms(first, 'load')}), the next in {_ms(warm, 'total')}",
    )


def _running() -> int | None:
    """The process id of the daemon that runs, if one does."""
    try:
        with BlockingEngine(name="doctor", start=False) as engine:
            return engine.status().pid
    except (EngineNotRunning, EngineLeft):
        return None


def _ms(filled: Filled, stage: str) -> str:
    return f"{filled.ms[stage]:.0f} ms" if stage in filled.ms else "unknown"


def _packages(name: str, versions: dict[str, str | None], install: str) -> Finding:
    missing = [package for package, version in versions.items() if version is None]
    listed = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
    if missing:
        return Finding(name, False, f"{', '.join(missing)} missing; {install}")
    return Finding(name, True, listed)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
