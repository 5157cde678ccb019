"""`python -m dgemma_engine.quantize NAME PRECISION [FOLDER]`: what the command line asks of the engine's interpreter.

Prints JSON objects, one a line: `{"event": "progress", "fraction"}`, `{"event": "layer", "layer", "gate_up", "down",
"dense"}` (relative errors), at last `{"event": "quantized", "folder", "bytes", "source_bytes"}`, or `{"event":
"failed", "code", "message"}` and exit status 1.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import attrs

from .checkpoints import find_checkpoint
from .errors import EngineError
from .quantized_cache import make_quantized
from .shards import check_weights

TELL_S = 0.1
"""Between two reports."""


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3) or arguments[1] not in ("int4", "fp8"):
        print("name a model and int4 or fp8", file=sys.stderr)
        return 2
    try:
        _quantize(arguments[0], arguments[1], Path(arguments[2]) if arguments[2:] else None)
    except KeyboardInterrupt:
        return 130
    except EngineError as error:
        _say("failed", code=error.code, message=str(error))
        return 1
    except ImportError as error:
        if (error.name or "").startswith("dgemma_engine"):
            raise
        _say("failed", code="engine-missing", message=str(error))
        return 1
    return 0


def _quantize(name: str, precision: Any, folder: Path | None) -> None:
    from .residents import best_device

    found = find_checkpoint(name)
    if found.adapter is not None:
        raise EngineError(
            "request", f"{name} is an adapter; quantise its base, the adapter is merged when it is loaded"
        )
    told = 0.0

    def progress(fraction: float) -> None:
        nonlocal told
        if (now := time.monotonic()) - told > TELL_S:
            told = now
            _say("progress", fraction=round(fraction, 4))

    made = make_quantized(
        found.folder,
        precision,
        folder,
        best_device(),
        lambda error: _say("layer", **attrs.asdict(error)),
        progress,
    )
    _say("quantized", folder=str(made), bytes=check_weights(made), source_bytes=check_weights(found.folder))


def _say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
