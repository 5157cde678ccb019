"""Where checkpoints are found; no torch, so that one that is missing is known before anything is loaded."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from .errors import EngineError


def find_checkpoint(model: str) -> Path:
    """The folder that `model` names: `nano`, or a path. Raises `EngineError("checkpoint")` when there is none."""
    if model == "nano":
        return Path(str(resources.files("dgemma_engine"))) / "nano"
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise EngineError("checkpoint", f"no checkpoint at {model}: name a folder, or 'nano' for the packaged one")
    return folder
