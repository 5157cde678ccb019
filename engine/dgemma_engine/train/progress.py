"""What a run says of itself: losses every few steps, quality on held-out packages every few million tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ..engine import Engine
from .evaluate import measure
from .tasks import TASKS, items
from .vocabulary import Texts

PASSES = 8


def heldout_quality(
    checkpoint: Path, texts: Texts, count: int, rank: int, workers: int, rest: Callable[[], None]
) -> dict[str, float]:
    """Exact matches in per cent of `count` holes a task, by the engine's own rule; the workers share the tasks.

    `rest` is called between tasks and may sleep.
    """
    engine = Engine.load(str(checkpoint))
    own: dict[str, float] = {}
    for number, task in enumerate(TASKS):
        if number % workers == rank:
            rest()
            chosen = items(task, list(texts[task.kind].values()), engine.tokenizer, count)
            own[task.name] = measure(engine, chosen, "auto", lambda item, room=task.room: room, PASSES)["exact"]
    everyone: list[Any] = [None] * workers
    dist.all_gather_object(everyone, own)
    return {name: exact for part in everyone for name, exact in part.items()}
