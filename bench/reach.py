"""The user's side: how long a fill takes, from a loaded engine and from nothing, and what it costs in memory."""

from __future__ import annotations

import argparse as stdlib_module
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from dgemma_engine import wire
from dgemma_engine.engine import Engine

from .measure import Spread
from .results import Goal

Row = tuple[str, str, str]

HOLE = 16
PASSES = 8
SETTLE = 5
"""Runs before the timed ones."""
FILL = f"fill, {HOLE}-token hole, {PASSES} passes, loaded"

MEMORY = """
from dgemma_engine import wire
from dgemma_engine.engine import Engine
engine = Engine.load({model!r})
engine.fill(wire.MaskedText(("x = 1\\n" * 400, wire.Hole(16), "\\ny = 2\\n" * 100)))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def holes(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Text before and after `count` places in real source: modules of the standard library."""
    rng = Random(seed)
    folder = Path(stdlib_module.__file__).parent
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("argparse.py", "tarfile.py", "typing.py")]
    places = []
    for _ in range(count):
        text = rng.choice(texts)
        at = rng.randrange(4000, len(text) - 2000)
        places.append((text[:at], text[at + 40 : at + 2000]))
    return places


FILLS = {
    "auto": Goal("nano_fill", f"{FILL}, the engine's own rule", "ms", 100),
    "elastic": Goal("nano_fill_elastic", f"{FILL}, elastic", "ms", 100),
    "exact": Goal("nano_fill_exact", f"{FILL}, length given", "ms", 100),
}


def fills(model: str, rounds: int) -> dict[str, Spread]:
    """A hole of 16 tokens, at most 8 passes, by three ways of finding its length: milliseconds by the goal's key."""
    engine = Engine.load(model)
    found = {}
    for length, goal in FILLS.items():
        sample = []
        for seed, (before, after) in enumerate(holes(SETTLE + rounds)):
            text = wire.MaskedText((before, wire.Hole(HOLE), after))
            sample.append(engine.fill(text, passes=PASSES, length=length, seed=seed).ms["total"])
        found[goal.key] = Spread.of(sample[SETTLE:])
    return found


def start_rows(model: str) -> list[Row]:
    """From the start of the command to the end of its fill, as a user sees it: with no daemon there, and with one."""
    file = Path(__file__).parents[1] / "examples" / "inventory.py"
    fill = [sys.executable, "-m", "dgemma_lsp.cli", "fill", str(file), "--at", "27:64", "--json", "--model", model]
    stop = [sys.executable, "-m", "dgemma_lsp.cli", "engine", "stop"]
    with tempfile.TemporaryDirectory(prefix="dgemma-") as folder:
        environment = os.environ | {"XDG_RUNTIME_DIR": folder}

        def run(command: list[str]) -> None:
            subprocess.run(command, check=True, capture_output=True, env=environment)

        cold = Spread.of(timed(lambda: run(fill), 7, before=lambda: run(stop)))
        warm = Spread.of(timed(lambda: run(fill), 7))
        run(stop)
    return [
        ("start to first fill (`dgemma-lsp fill`), no daemon", "≤ 6 s", f"{cold} ms"),
        ("start to fill, with the daemon there", "", f"{warm} ms"),
    ]


def memory_row(model: str) -> Row:
    """Peak resident memory of a process that loads and fills."""
    code = MEMORY.format(model=model)
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return "peak memory of the engine", "≤ 600 MB", f"{int(run.stdout) / 1000:.0f} MB"


def help_row() -> Row:
    command = [sys.executable, "-m", "dgemma_lsp.cli", "--help"]
    spread = Spread.of(timed(lambda: subprocess.run(command, check=True, capture_output=True), 15))
    return "`dgemma-lsp --help`", "≤ 400 ms, without torch", f"{spread} ms"


def timed(call: Callable[[], object], rounds: int, before: Callable[[], object] = lambda: None) -> list[float]:
    """Milliseconds of each round after a first one that warms the disk cache; `before` each is not timed."""
    call()
    sample = []
    for _ in range(rounds):
        before()
        started = time.monotonic()
        call()
        sample.append(1000 * (time.monotonic() - started))
    return sample
