"""`python -m dgemma_engine.hub ACTION`: what the command line asks of the engine's interpreter about models.

`look ID`, `fetch ID COMMIT`, `check NAME` and `list`. Prints JSON objects, one a line, each with its `event`; whatever
hinders it is the last one, `{"event": "failed", "code", "message"}`, and exit status 1. Only the first two use the
network.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..checkpoints import INSTRUCTED, Checkpoint, adapter_base, find_checkpoint, hub_folder, read_chat_template
from ..errors import EngineError
from ..footprint import Footprint, choose, read_footprint
from ..model.config import read_config
from ..shards import check_weights, read_header
from ..wire.model_name import ModelName

TELL_S = 0.1
"""Between two reports of a download."""


def main(arguments: list[str]) -> int:
    actions: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
        "look": look,
        "fetch": fetch,
        "check": check,
        "list": list_downloads,
    }
    if not arguments or arguments[0] not in actions:
        print(f"name one of {', '.join(actions)}", file=sys.stderr)
        return 2
    # Of what the hub's client would send and show by itself.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        for event in actions[arguments[0]](*arguments[1:]):
            _say(event)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody listens any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except ImportError as error:
        if (error.name or "").startswith("dgemma_engine"):
            raise
        _say({"event": "failed", "code": "engine-missing", "message": str(error)})
        return 1
    except Exception as error:
        failure = _explained(error, arguments[1] if len(arguments) > 1 else "")
        if not isinstance(failure, EngineError):
            raise
        _say({"event": "failed", "code": failure.code, "message": str(failure)})
        return 1
    return 0


def look(name: str) -> Iterator[dict[str, Any]]:
    """Licence and size of what the hub has, and whether it will fit; nothing but its config is downloaded."""
    from huggingface_hub import hf_hub_download

    from .repository import look

    wanted = ModelName.parse(name)
    found = look(wanted.name)
    names = {file.name for file in found.files}
    event = {
        "event": "found",
        "id": found.hub_id,
        "commit": found.commit,
        "licence": found.licence,
        "gated": found.gated,
        "bytes": found.size,
        "missing": found.missing,
        "place": str(hub_folder()),
    }
    if "config.json" in names:
        config = Path(hf_hub_download(found.hub_id, "config.json", revision=found.commit))
        event |= _fit(wanted, Footprint(read_config(config.parent)))
    yield event


def fetch(name: str, commit: str) -> Iterator[dict[str, Any]]:
    """Download a revision; reports on the way go out at once."""
    from .download import download
    from .repository import look

    repository = look(ModelName.parse(name).name, commit)
    done, told = 0, 0.0

    def on_bytes(count: int, file: str) -> None:
        nonlocal done, told
        done += count
        if (now := time.monotonic()) > told + TELL_S:
            told = now
            _say({"event": "progress", "file": file, "done": done, "bytes": repository.size})

    folder = download(repository, on_bytes)
    yield {"event": "progress", "file": "", "done": repository.size, "bytes": repository.size}
    yield {"event": "done", "folder": str(folder)}


def check(name: str) -> Iterator[dict[str, Any]]:
    """Whether a model that is here is whole and can be run, and in which precision it fits."""
    found = find_checkpoint(name)
    footprint = _whole(found)
    yield {
        "event": "checked",
        "name": ModelName.parse(name).name,
        "folder": str(found.folder),
        "adapter": None if found.adapter is None else str(found.adapter),
        "bytes": check_weights(found.folder),
        "instructed": read_chat_template(found.folder) is not None,
        **_fit(ModelName.parse(name), footprint),
    }


def list_downloads() -> Iterator[dict[str, Any]]:
    """What the hub's cache holds that this engine runs, complete or not."""
    for folder in sorted(hub_folder().glob("models--*--*")):
        hub_id = folder.name.removeprefix("models--").replace("--", "/")
        configs = [*folder.glob("snapshots/*/config.json"), *folder.glob("snapshots/*/adapter_config.json")]
        if not any(_is_ours(config) for config in configs):
            continue
        blobs = [path.stat() for path in folder.glob("blobs/*") if path.is_file()]
        event = {"event": "model", "name": hub_id, "folder": str(folder), "problem": None}
        try:
            found = find_checkpoint(hub_id)
            _whole(found)
            event["folder"] = str(found.adapter or found.folder)
        except EngineError as error:
            event["problem"] = str(error)
        yield {**event, "bytes": sum(stat.st_size for stat in blobs)}


def _is_ours(config: Path) -> bool:
    try:
        if config.name != "config.json":
            return "diffusiongemma" in adapter_base(config.parent).lower()
        return json.loads(config.read_text(encoding="utf-8"))["model_type"] == "diffusion_gemma"
    except (EngineError, OSError, ValueError, KeyError, TypeError):
        return False


def _whole(found: Checkpoint) -> Footprint:
    check_weights(found.folder)
    if found.adapter is not None:
        read_header(found.adapter / "adapter_model.safetensors")
    if not (found.folder / "tokenizer.json").is_file():
        raise EngineError("checkpoint", f"{found.folder} has no tokenizer.json")
    return read_footprint(found.folder)


def _fit(name: ModelName, footprint: Footprint) -> dict[str, Any]:
    """Of the memory that is free now: a precision and a window, or why there is none."""
    import torch  # noqa: F401 - the free memory is that of its device

    from ..residents import best_device, free_memory

    fit = {"device": best_device(), "free": int(free_memory()), "precision": None, "window": None, "need": None}
    try:
        choice = choose(name.precision, free_memory(), footprint)
    except EngineError as error:
        return {**fit, "fits": False, "reason": str(error)}
    chosen = {"precision": choice.precision, "window": choice.window, "need": choice.need, "reason": choice.reason}
    return {**fit, "fits": True, **chosen}


def _explained(error: Exception, hub_id: str) -> Exception:
    if isinstance(error, EngineError):
        return error
    from .refusals import explained

    return explained(error, ModelName.parse(hub_id).name or INSTRUCTED)


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
