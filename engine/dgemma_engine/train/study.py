"""What the choices of nano's `generation_config` and of the engine's defaults rest on.

`python -m dgemma_engine.train.study --checkpoint nano --out build/nano/study.json`. Every study varies one thing on
the same holes, cut from held-out files; the figures are exact matches in per cent and medians of milliseconds of
processor time on one thread, which a busy machine does not falsify.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import evolve

from ..engine import Engine
from ..sampler import PINNED_SIGNALS
from .batches import load_texts
from .canvas_study import canvas_confidence, fill_exactly
from .evaluate import SUFFIX_CHARS, measure
from .tasks import TASKS, Item, Task, items

Row = dict[str, Any]
Holes = dict[str, list[Item]]

CLOSERS = ("JSON closers", "Markdown closers", "Python closers")
BROKEN = ("JSON closers, broken elsewhere", "Markdown closers, broken elsewhere")
LONGER = ("Python identifiers", "Python rest of line")
TEMPERATURES = ((0.4, 0.8), (0.2, 0.4), (0.1, 0.1), (1.0, 1.0))
TYPED = (0, 2, 8, 16, 32)
SUFFIXES = (8, 16, 24, 32, None)
STOPS = ((1, 0.005), (1, 0.05), (1, 100.0), (0, 0.005), (0, 0.02), (0, 0.05), (0, 0.2))
"""Passes that must have said the same before, and the mean entropy (nats) below which a canvas may stop."""


def task(name: str) -> Task:
    return next(one for one in TASKS if one.name == name)


def by_fill(engine: Engine, name: str, chosen: list[Item], passes: int, length: str = "auto") -> Row:
    """A row of one setting of the engine; the true length is given where the length rule is `exact`."""
    room = (lambda item: item.tokens) if length == "exact" else (lambda item: task(name).room)
    found = measure(engine, chosen, length, room, passes)
    return {"task": name, **{key: found[key] for key in ("n", "exact", "mean_passes", "busy")}}


def study_passes(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    for budget in (1, 2, 4, 8, 16):
        for name in (*CLOSERS, *LONGER):
            yield {"setting": f"at most {budget}", **by_fill(engine, name, holes[name], budget)}


def study_pinned_signal(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    own = engine.model.config
    for signal in PINNED_SIGNALS:
        engine.model.config = evolve(own, traits=evolve(own.traits, pinned_signal=signal))
        for name in (*CLOSERS, *LONGER):
            yield {"setting": signal, **by_fill(engine, name, holes[name], passes)}
    engine.model.config = own


def study_temperature(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    for low, high in TEMPERATURES:
        other = evolve(engine, schedule=evolve(engine.schedule, t_min=low, t_max=high))
        for name in (*CLOSERS, *LONGER):
            yield {"setting": f"{high:g} to {low:g}", **by_fill(other, name, holes[name], passes)}


def study_stop(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    for stability, confidence in STOPS:
        other = evolve(engine, schedule=evolve(engine.schedule, stability=stability, confidence=confidence))
        for name in (*CLOSERS, *LONGER):
            setting = f"{stability} the same, below {confidence:g}"
            row = by_fill(other, name, holes[name], passes)
            # From run to run the milliseconds vary by more than a pass is worth.
            yield {"setting": setting, **{key: row[key] for key in ("task", "n", "exact", "mean_passes")}}


def study_suffix(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    own = engine.model.config
    for suffix in SUFFIXES:
        engine.model.config = evolve(own, traits=evolve(own.traits, suffix=suffix))
        for name in (*CLOSERS, *LONGER):
            setting = "as many as fit" if suffix is None else f"{suffix} tokens"
            yield {"setting": setting, **by_fill(engine, name, holes[name], passes)}
    engine.model.config = own


def study_length(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    for length, setting in (("exact", "true length"), ("elastic",) * 2, ("probe",) * 2, ("auto", "engine's rule")):
        for name in (*CLOSERS, *LONGER):
            yield {"setting": setting, **by_fill(engine, name, holes[name], passes, length)}


def study_last_pass(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    """The argmax of the last pass against its sample, on one run each with the true length."""
    for name in (*CLOSERS, *LONGER):
        ends = [fill_exactly(engine, item, passes, seed) for seed, item in enumerate(holes[name])]
        for setting in ("argmax", "sample"):
            right = [getattr(end, setting) == item.truth for end, item in zip(ends, holes[name], strict=True)]
            yield {"setting": setting, "task": name, "n": len(right), "exact": 100 * sum(right) / len(right)}


def study_typed_tokens(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    """The last k tokens before the hole pinned on the canvas instead of in the prefix, true length."""
    for typed in TYPED:
        for name in (*CLOSERS, *LONGER):
            right, ms = 0, []
            for seed, item in enumerate(holes[name]):
                started = time.process_time()
                right += fill_exactly(engine, item, passes, seed, typed).argmax == item.truth
                ms.append(1000 * (time.process_time() - started))
            count = len(ms)
            yield {
                "setting": f"k = {typed}", "task": name, "n": count, "exact": 100 * right / count,
                "busy": sorted(ms)[count // 2],
            }  # fmt: skip


def study_ranking(engine: Engine, holes: Holes, passes: int) -> Iterator[Row]:
    """All closers of a kind in one place: which one is the true one?"""
    ways: dict[str, Callable[[Item, tuple[str, ...]], list[float]]] = {
        "score, text after it included": lambda item, ends: engine.score(item.prefix, ends, item.suffix[:SUFFIX_CHARS]),
        "score, the closer alone": lambda item, ends: engine.score(item.prefix, ends),
        "canvas confidence, first pass": lambda item, ends: canvas_confidence(engine, item, ends),
    }
    for setting, way in ways.items():
        for name in (*CLOSERS, *BROKEN):
            ends, right, ms = task(name).closers, 0, []
            known = [item for item in holes[name] if item.truth in ends]
            for item in known:
                started = time.process_time()
                scores = way(item, ends)
                ms.append(1000 * (time.process_time() - started))
                right += ends[scores.index(max(scores))] == item.truth
            yield {
                "setting": setting, "task": name, "n": len(known), "exact": 100 * right / len(known),
                "busy": sorted(ms)[len(ms) // 2],
            }  # fmt: skip


STUDIES = {
    "Hole length": study_length,
    "Ranking closers": study_ranking,
    "Passes": study_passes,
    "When a canvas stops": study_stop,
    "Self-conditioning at pinned rows": study_pinned_signal,
    "Temperature": study_temperature,
    "Read-out at the last pass": study_last_pass,
    "Typed tokens on the canvas": study_typed_tokens,
    "Text after the hole on the canvas": study_suffix,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dgemma_engine.train.study", description=__doc__)
    parser.add_argument("--checkpoint", default="nano", help="a folder, or nano")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--count", type=int, default=60, help="holes a task")
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--only", choices=list(STUDIES), nargs="+", default=list(STUDIES), help="some of the studies")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pause", type=Path, help="while this file exists the study sleeps")
    parser.add_argument("--out", type=Path, default=Path("build/nano/study.json"), help="rewritten after every study")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    engine = Engine.load(arguments.checkpoint)
    texts = load_texts(arguments.corpus / "heldout.jsonl", {one.kind for one in TASKS})
    holes = {
        one.name: items(one, list(texts[one.kind].values()), engine.tokenizer, arguments.count, seed=1) for one in TASKS
    }
    found: dict[str, list[Row]] = {}
    for title in arguments.only:
        found[title] = []
        for row in STUDIES[title](engine, holes, arguments.passes):
            found[title].append(row)
            print(title, json.dumps(row), flush=True)
            while arguments.pause is not None and arguments.pause.exists():
                time.sleep(1)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
