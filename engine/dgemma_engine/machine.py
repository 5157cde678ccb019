"""`python -m dgemma_engine.machine [NAME [HELD]]`: what this machine can run, and how fast.

Prints JSON objects, one a line, each with its `event`: `devices` (what torch sees, the one that is used first), `rates`
(measured), and for the `released` shape and the `chosen` model NAME what fits in which precision with which window, how
long a pass takes at best, and what to change. Whatever hinders it is `{"event": "failed", "code", "message"}` and exit
status 1.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import attrs

from .checkpoints import INSTRUCTED, find_checkpoint
from .errors import EngineError
from .estimate import CANVASES, CONTEXT, Rates, pass_ms
from .footprint import LEAST_WINDOW, Footprint, choose, gigabytes, read_footprint
from .model.config import parse_config
from .released import released_config
from .wire.model_name import AUTO, PRECISIONS, ModelName


def main(arguments: list[str]) -> int:
    try:
        name, held = [*arguments, *("nano", "0")[len(arguments) :]]
        for event in report(name, int(held)):
            print(json.dumps(event), flush=True)
    except ImportError as error:
        if (error.name or "").startswith("dgemma_engine"):
            raise
        print(json.dumps({"event": "failed", "code": "engine-missing", "message": str(error)}))
        return 1
    return 0


def report(name: str, held: int = 0) -> Iterator[dict[str, Any]]:
    """The events; a model that is not there is one with a `problem`.

    `held` bytes are in use, but would be given back for another model.
    """
    from .rates import devices, measure

    found = devices()
    yield {"event": "devices", "devices": [attrs.asdict(device) for device in found]}
    used = found[0]
    rates = measure("cpu" if used.kind == "cpu" else "cuda", used.free)
    yield {"event": "rates", "device": used.name, **attrs.asdict(rates)}
    free = min(used.total, used.free + held)
    released = Footprint(parse_config(released_config()))
    yield {"event": "released", **model_report(INSTRUCTED, released, free, used.total, rates, used.kind)}
    try:
        footprint = read_footprint(find_checkpoint(name).folder)
    except EngineError as error:
        yield {"event": "chosen", "name": name, "problem": str(error)}
    else:
        yield {"event": "chosen", **model_report(name, footprint, free, used.total, rates, used.kind)}


def model_report(
    name: str, footprint: Footprint, free: int, total: int, rates: Rates, kind: str = "cpu"
) -> dict[str, Any]:
    """What of one model fits into `free` bytes of a device with `total`, and how fast it is."""
    context = min(CONTEXT, footprint.window)
    # What is quantised in its files gets no more exact by another form.
    forms = (footprint.stored,) if footprint.stored else PRECISIONS
    rows = [
        {
            "precision": precision,
            "weights": footprint.weights(precision),
            "peak": footprint.peak(precision, footprint.window),
            "fits": footprint.peak(precision, footprint.window) <= free,
            "window": footprint.widest(precision, free),
            "ms": {str(canvas): round(pass_ms(footprint, precision, canvas, rates, context), 2) for canvas in CANVASES},
        }
        for precision in forms
    ]
    wish = ModelName.parse(name).precision
    try:
        choice = choose(wish, free, footprint)
        chosen = {"precision": choice.precision, "window": choice.window, "reason": choice.reason}
    except EngineError as error:
        chosen = {"precision": None, "window": None, "reason": str(error)}
    return {
        "name": name,
        "problem": None,
        **chosen,
        "context": context,
        "precisions": rows,
        "advice": advice(footprint, forms if wish == AUTO else (wish,), chosen["precision"], free, total, kind),
    }


def advice(
    footprint: Footprint, tried: tuple[str, ...], chosen: str | None, free: int, total: int, kind: str
) -> list[str]:
    """What to change to have more of a model than fits now: one of `tried` before the `chosen` precision."""
    said: list[str] = []
    where = "memory" if kind == "cpu" else "GPU memory"
    better = tried[: tried.index(chosen)] if chosen in tried else tried
    for precision in better:
        need = footprint.peak(precision, footprint.window)
        if free < need <= 0.95 * total:
            taken = f"{gigabytes(need - free)} of the {gigabytes(total - free)} of {where} in use"
            said.append(f"close what holds {taken}, and {precision} fits")
            break
    if chosen is None and not said:
        window = min(LEAST_WINDOW, footprint.window)
        least = gigabytes(footprint.peak(tried[-1], window))
        said.append(f"{tried[-1]} with a window of {window} tokens takes {least} of {where}; nano runs here")
    if kind == "cpu" and shutil.which("nvidia-smi"):
        said.append("there is an NVIDIA driver, but this torch sees no GPU: install torch for CUDA")
    elif kind == "cpu" and footprint.weights("int4") > 2e9:
        said.append("a model of this size wants a GPU: on a CPU a pass takes seconds")
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
