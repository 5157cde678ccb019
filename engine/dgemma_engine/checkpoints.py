"""Where checkpoints are found; no torch, so that one that is missing is known before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

from .errors import EngineError

INSTRUCTED = "google/diffusiongemma-26B-A4B-it"
"""A checkpoint that follows instructions, for those whose own does not."""


def find_checkpoint(model: str) -> Path:
    """The folder that `model` names: `nano`, or a path. Raises `EngineError("checkpoint")` when there is none."""
    if model == "nano":
        return Path(__file__).parent / "nano"
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise EngineError("checkpoint", f"no checkpoint at {model}: name a folder, or 'nano' for the packaged one")
    return folder


def read_chat_template(folder: Path) -> tuple[str, Path] | None:
    """A checkpoint's chat template and the file it stands in; None when it has none, which follows no instructions.

    Raises `EngineError("checkpoint")` for a file that cannot be read.
    """
    path, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8"), path
        found = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else None
    except (OSError, ValueError) as error:
        raise EngineError("checkpoint", f"the chat template of {folder} cannot be read: {error}") from None
    template = found.get("chat_template") if isinstance(found, dict) else None
    if isinstance(template, list):
        # Several of them, each with its name.
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default")
    return (template, settings) if isinstance(template, str) else None


def follows_instructions(model: str) -> bool:
    """Whether `model` takes a prompt. Raises `EngineError("checkpoint")` when there is no such model."""
    try:
        return read_chat_template(find_checkpoint(model)) is not None
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError("checkpoint", f"no checkpoint can be read at {model:.200}: {error}") from None


def require_instructions(model: str) -> None:
    """Raises `EngineError("instructions")` when `model` takes no prompt, `checkpoint` when there is no such model."""
    if not follows_instructions(model):
        raise no_instructions(model)


def no_instructions(model: str) -> EngineError:
    """The refusal of a prompt by a model that cannot follow it."""
    return EngineError(
        "instructions",
        f"{model} follows no instructions; a checkpoint such as {INSTRUCTED} does; name its folder as the model",
    )
