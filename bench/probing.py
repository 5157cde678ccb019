"""How long a hole is, found out by probing: `python -m bench.probing --corpus DIR [--count 100]`.

A checkpoint without a filler token has to be told how long its text will be. nano with its filler taken away fills
held-out holes at fixed lengths, at the length that the first pass has most confidence in, and at all lengths; beside
it what nano's own rule and the true length come to. A fill counts when it equals what was there. DIR has the corpus'
heldout.jsonl (see nano's model card). Nothing else should be running for the milliseconds to mean much.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from attrs import define, evolve, field, frozen
from torch import Tensor

from bench.measure import Spread, machine, table
from dgemma_engine import fill as filling
from dgemma_engine import passes as denoising
from dgemma_engine import wire
from dgemma_engine.engine import Engine
from dgemma_engine.train.batches import load_texts
from dgemma_engine.train.tasks import TASKS, Item, items

NAMES = ("Python identifiers", "Python rest of line", "Python argument lists", "Python whole lines")
PASSES = 8


def by_mean(entropy: Tensor, free: Tensor, count: int) -> list[int]:
    return ((entropy * free).sum(-1) / free.sum(-1)).argsort()[:count].tolist()


def by_sum(entropy: Tensor, free: Tensor, count: int) -> list[int]:
    return (entropy * free).sum(-1).argsort()[:count].tolist()


@frozen
class Arm:
    """A way to fill a hole: `slots` for an item in a hole of `room` tokens, and who survives the first pass."""

    name: str
    length: str
    slots: Callable[[Item, int], int]
    has_filler: bool = False
    survivors: int = filling.SURVIVORS
    surest: Callable[[Tensor, Tensor, int], list[int]] = denoising.surest


ARMS = (
    *(Arm(f"fixed, {n}", "exact", lambda item, room, n=n: n) for n in (4, 8, 16)),
    Arm("probing, one survivor", "auto", lambda item, room: room, survivors=1),
    Arm("probing, two survivors", "auto", lambda item, room: room),
    Arm("two survivors by mean entropy", "auto", lambda item, room: room, surest=by_mean),
    Arm("two survivors by its sum", "auto", lambda item, room: room, surest=by_sum),
    Arm("all lengths to the end", "probe", lambda item, room: room),
    Arm("nano's own rule (filler)", "auto", lambda item, room: room, has_filler=True),
    Arm("true length", "exact", lambda item, room: item.tokens),
)


@contextmanager
def chosen(engine: Engine, arm: Arm) -> Iterator[None]:
    """The engine as the arm wants it."""
    config, survivors, surest = engine.model.config, filling.SURVIVORS, denoising.surest
    filling.SURVIVORS, denoising.surest = arm.survivors, arm.surest
    if not arm.has_filler:
        engine.model.config = evolve(config, traits=evolve(config.traits, filler_id=None))
    try:
        yield
    finally:
        engine.model.config, filling.SURVIVORS, denoising.surest = config, survivors, surest


@define
class Tally:
    """What an arm came to: exact matches, and milliseconds of each fill."""

    right: int = 0
    ms: list[float] = field(factory=list)


def measure(engine: Engine, holes: list[Item], room: int) -> list[Tally]:
    """Of every arm. They take turns at each hole, so that what else the machine does is the same to all of them."""
    tallies = [Tally() for _ in ARMS]
    for seed, item in enumerate(holes):
        for arm, tally in zip(ARMS, tallies, strict=True):
            text = wire.MaskedText((item.prefix, wire.Hole(arm.slots(item, room)), item.suffix))
            with chosen(engine, arm):
                filled = engine.fill(text, passes=PASSES, seed=seed, length=arm.length)
            tally.right += filled.candidates[0].texts[0] == item.truth
            tally.ms.append(filled.ms["passes"] + filled.ms["rank"])
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.probing", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="the folder of heldout.jsonl")
    parser.add_argument("--count", type=int, default=100, help="holes a task")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    arguments = parser.parse_args()
    os.nice(10)
    torch.set_num_threads(1)
    engine = Engine.load("nano")
    shares: list[list[str]] = []
    spreads: list[list[str]] = []
    tasks = [task for task in TASKS if task.name in NAMES]
    for task in tasks:
        sources = load_texts(arguments.corpus / "heldout.jsonl", {task.kind})[task.kind]
        holes = items(task, list(sources.values()), engine.tokenizer, arguments.count, seed=2)
        tallies = measure(engine, holes, task.room)
        shares.append([f"{100 * tally.right / len(holes):.0f}" for tally in tallies])
        spreads.append([str(Spread.of(tally.ms)) for tally in tallies])
        for arm, share, spread in zip(ARMS, shares[-1], spreads[-1], strict=True):
            print((task.name, arm.name, share, spread), flush=True)
    header = ["length", *(f"{task.name}, %" for task in tasks), *(f"{task.name}, ms" for task in tasks)]
    rows = [[arm.name, *cells] for arm, *cells in zip(ARMS, *shares, *spreads, strict=True)]
    text = f"{machine()}\n\n{table(header, rows)}\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
