"""`python -m dgemma_engine.compare MODEL [AUTOREGRESSIVE]`: denoising beside writing token by token, on this machine.

The same weights do both: the causal encoder with the tied head is a language model, so that only the way of decoding
differs. A second, autoregressive checkpoint (a folder that transformers can load) may stand beside them. Every arm
writes a hole of `TOKENS` tokens behind the same prefix, alone and for several requests at once.

Prints JSON objects, one a line: `{"event": "arm", "arm", "batch", "tokens", "passes", "ms": […]}`, at last
`{"event": "compared", …}` with the machine, or `{"event": "failed", "code", "message"}`.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .draws import SeededDraws
from .engine import Engine
from .errors import EngineError
from .model import DiffusionGemma, KVCache, Rows
from .residents import best_device
from .sampler import Denoising, Schedule
from .steps import Forward

BATCHES = (1, 2, 4)
TOKENS = 32
"""Of the hole: a line or two."""
PREFIX = 256
"""Tokens before it, encoded before the clock starts, as they are while somebody types."""
ROUNDS, WARM_UP = 7, 2


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        print("name a model, and an autoregressive one if you like", file=sys.stderr)
        return 2
    try:
        for event in compare(arguments[0], arguments[1] if arguments[1:] else None):
            print(json.dumps(event), flush=True)
    except KeyboardInterrupt:
        return 130
    except EngineError as error:
        print(json.dumps({"event": "failed", "code": error.code, "message": str(error)}))
        return 1
    except ImportError as error:
        print(json.dumps({"event": "failed", "code": "engine-missing", "message": str(error)}))
        return 1
    return 0


@torch.inference_mode()
def compare(name: str, rival: str | None) -> Iterator[dict[str, Any]]:
    """The events above; arms take turns round by round, so that a slow moment of the machine meets all of them."""
    engine = Engine.load(name, device=best_device())
    model, runner, passes = engine.model, engine.runner, engine.schedule.passes
    prefix = _prefix(engine)
    caches = [_encoded(model, prefix) for _ in range(max(BATCHES))]
    for batch in BATCHES:
        arms: dict[str, tuple[int, Callable[[], object]]] = {
            "diffusion": (passes, partial(_denoise, runner, model, caches[0], batch, passes, settle=False)),
            "diffusion, until it settles": (0, partial(_denoise, runner, model, caches[0], batch, passes, settle=True)),
            "token by token": (TOKENS, partial(_write, runner, model, prefix, caches[:batch])),
        }
        if rival is not None:
            from .rival import Rival

            arms[f"token by token, {rival}"] = (TOKENS, Rival.at(rival, prefix, model.device, batch, TOKENS).write)
        ms: dict[str, list[float]] = {arm: [] for arm in arms}
        for number in range(WARM_UP + ROUNDS):
            for arm, (_, run) in arms.items():
                _wait(model.device)
                start = time.perf_counter()
                run()
                _wait(model.device)
                if number >= WARM_UP:
                    ms[arm].append(1000 * (time.perf_counter() - start))
        for arm, (count, _) in arms.items():
            yield {"event": "arm", "arm": arm, "batch": batch, "tokens": TOKENS, "passes": count, "ms": ms[arm]}
    yield {"event": "compared", "model": name, "prefix": len(prefix), "machine": _machine(model.device)}


def _prefix(engine: Engine) -> list[int]:
    """Some text that every tokenizer knows; what it says changes nothing in the time."""
    text = (
        "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n\n\n"
    )
    ids = engine.tokenizer.encode(text * PREFIX)
    return [engine.model.config.bos_id, *ids[: min(PREFIX, engine.context) - 1]]


def _encoded(model: DiffusionGemma, prefix: list[int]) -> KVCache:
    cache = model.new_cache(len(prefix) + 2 * TOKENS)
    model.encode(torch.tensor([prefix], device=model.device), cache)
    return cache


def _denoise(runner: Forward, model: DiffusionGemma, cache: KVCache, batch: int, passes: int, settle: bool) -> Tensor:
    """The hole, free on a canvas of its size, in `passes` passes, or until the stop rule says that it has settled."""
    schedule = Schedule(passes) if settle else Schedule(passes, confidence=0.0)
    shape = (batch, TOKENS)
    free = torch.ones(shape, dtype=torch.bool, device=model.device)
    run = Denoising(
        model=model,
        cache=cache,
        canvas=torch.zeros(shape, dtype=torch.int64, device=model.device),
        free=free,
        kept=~free,
        schedule=schedule,
        draws=SeededDraws(model.config.vocab_size, model.device, seed=0),
        forbidden=torch.zeros(model.config.vocab_size, dtype=torch.bool, device=model.device),
    )
    while True:
        (hidden,) = runner.forward([run.rows()])
        state = run.take(hidden)
        if not run.remaining or (settle and bool(state.done.all())):
            return state.readout


def _write(runner: Forward, model: DiffusionGemma, prefix: list[int], caches: list[KVCache]) -> list[Tensor]:
    """The hole by the encoder, the likeliest token each time, behind each of the prefixes in one forward."""
    ids = [torch.tensor([prefix[-1:]], device=model.device)] * len(caches)
    for cache in caches:
        cache.truncate(len(prefix) - 1)
    for _ in range(TOKENS):
        rows = [Rows(cache, one, encoder=True, kept=True) for cache, one in zip(caches, ids, strict=True)]
        hidden = torch.cat([one[:, -1] for one in runner.forward(rows)])
        ids = list(model.logits(hidden).argmax(-1)[:, None, None].unbind(0))
    for cache in caches:
        # A canvas that comes next sees the prefix as it was.
        cache.truncate(len(prefix))
    return ids


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
