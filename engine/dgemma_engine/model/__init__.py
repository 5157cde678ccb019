"""Our own DiffusionGemma: config · cache · attention · experts · layers · diffusion_gemma · load.

The names below are imported when they are first used: `model.config` is wanted where torch is not there, or not yet.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import KVCache
    from .config import ModelConfig, NanoTraits, read_config
    from .diffusion_gemma import DiffusionGemma
    from .load import load_model
    from .rows import Rows

_HOMES = {
    "DiffusionGemma": "diffusion_gemma",
    "KVCache": "cache",
    "ModelConfig": "config",
    "NanoTraits": "config",
    "Rows": "rows",
    "load_model": "load",
    "read_config": "config",
}

__all__ = ["DiffusionGemma", "KVCache", "ModelConfig", "NanoTraits", "Rows", "load_model", "read_config"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
