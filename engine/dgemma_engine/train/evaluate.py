"""How good a checkpoint is at the product's jobs, on packages it never saw.

`python -m dgemma_engine.train.evaluate --checkpoint build/nano/checkpoint`. Holes are cut from held-out files where
the true text is known; a fill counts when it equals it. Three columns: with the true length given, with 50 % slack,
and by the engine's own length rule with the room that an editor would give. A fourth column for closers: the true one
is the likeliest of all that a repair would have to choose from.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from .. import wire
from ..engine import Engine
from .batches import load_texts
from .tasks import TASKS, Item, Task, items

SUFFIX_CHARS = 72
"""What a ranked closer is judged by, as in a fill."""


def measure(
    engine: Engine, chosen: list[Item], length: str, room: Callable[[Item], int], passes: int
) -> dict[str, float]:
    """Shares in per cent, median and mean of passes, medians of milliseconds and of those of processor time."""
    exact = first = empty = 0
    spent: list[int] = []
    ms: list[float] = []
    busy: list[float] = []
    for number, item in enumerate(chosen):
        masked = wire.MaskedText((item.prefix, wire.Hole(room(item)), item.suffix))
        started = time.process_time()
        filled = engine.fill(masked, length=length, passes=passes, seed=number)
        busy.append(1000 * (time.process_time() - started))
        best = filled.candidates[0]
        text = best.texts[0]
        exact += text == item.truth
        first += text.split("\n")[0] == item.truth.split("\n")[0]
        empty += text == ""
        spent.append(best.passes)
        ms.append(filled.ms["total"])
    count = len(chosen)
    ms.sort()
    return {
        "n": count,
        "exact": 100 * exact / count,
        "first_line": 100 * first / count,
        "empty": 100 * empty / count,
        "passes": sorted(spent)[count // 2],
        "mean_passes": sum(spent) / count,
        "p50": ms[count // 2],
        "p95": ms[int(0.95 * count)],
        "busy": sorted(busy)[count // 2],
    }


def ranked(engine: Engine, task: Task, chosen: list[Item]) -> dict[str, float]:
    """How often the true closer is the likeliest, in per cent."""
    hits = 0
    known = [item for item in chosen if item.truth in task.closers]
    for item in known:
        scores = engine.score(item.prefix, task.closers, item.suffix[:SUFFIX_CHARS])
        hits += task.closers[scores.index(max(scores))] == item.truth
    return {"n": len(known), "exact": 100 * hits / len(known), "choices": len(task.closers)}


def evaluate(
    checkpoint: str, corpus: Path, task_number: int, count: int, passes: int, pause: Path | None
) -> list[dict[str, object]]:
    """One row a column of one task; runs in a process of its own."""
    torch.set_num_threads(1)
    engine, task = Engine.load(checkpoint), TASKS[task_number]
    sources = load_texts(corpus / "heldout.jsonl", {task.kind})[task.kind]
    chosen = items(task, list(sources.values()), engine.tokenizer, count)
    columns: tuple[tuple[str, str, Callable[[Item], int]], ...] = (
        ("true length", "exact", lambda item: item.tokens),
        ("50 % slack", "elastic", lambda item: item.tokens + max(1, item.tokens // 2)),
        ("own rule", "auto", lambda item: task.room),
    )
    rows: list[dict[str, object]] = []
    for name, length, room in columns:
        while pause is not None and pause.exists():
            time.sleep(1)
        rows.append({"task": task.name, "column": name, **measure(engine, chosen, length, room, passes)})
    if task.closers:
        rows.append({"task": task.name, "column": "ranked", **ranked(engine, task, chosen)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dgemma_engine.train.evaluate", description=__doc__)
    parser.add_argument("--checkpoint", default="nano", help="a folder, or nano")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--count", type=int, default=300, help="holes a task")
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, one thread each")
    parser.add_argument("--pause", type=Path, help="while this file exists the evaluation sleeps")
    parser.add_argument("--out", type=Path, help="write the rows as JSON here")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(
                evaluate,
                arguments.checkpoint,
                arguments.corpus,
                number,
                arguments.count,
                arguments.passes,
                arguments.pause,
            )
            for number in range(len(TASKS))
        ]
        for job in jobs:
            for row in job.result():
                rows.append(row)
                print(json.dumps(row), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
