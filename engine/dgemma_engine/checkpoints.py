"""Where checkpoints are found; no torch and no network: one that is missing is known before anything is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

from attrs import frozen

from .errors import EngineError
from .shards import weight_files
from .wire.model_name import AUTO, ModelName

INSTRUCTED = "google/diffusiongemma-26B-A4B-it"
"""A checkpoint that follows instructions, for those whose own does not."""

ADAPTER_CONFIG = "adapter_config.json"
"""What makes a folder an adapter in PEFT's layout, which names its base and has no weights of its own."""


@frozen
class Checkpoint:
    """What a name stands for: `folder` has config, tokenizer and weights, `adapter` (PEFT) what is merged into them."""

    folder: Path
    adapter: Path | None = None
    precision: str = AUTO


def find_checkpoint(model: str) -> Checkpoint:
    """What `model` names: `nano`, a folder, an adapter's folder or the hub id of what was downloaded, see `ModelName`.

    Raises `EngineError("checkpoint")`, which says what to do, when there is none.
    """
    name = ModelName.parse(model)
    folder = _folder(name.name)
    if not (folder / ADAPTER_CONFIG).is_file():
        return Checkpoint(folder, None, name.precision)
    base = adapter_base(folder)
    beside = folder / Path(base).expanduser()
    try:
        found = beside if beside.is_dir() else _folder(base)
    except EngineError as error:
        raise EngineError("checkpoint", f"{name.name} is an adapter of {base}: {error}") from None
    if (found / ADAPTER_CONFIG).is_file():
        raise EngineError(
            "checkpoint", f"{name.name} is an adapter of {base}, which is an adapter too; merge that first"
        )
    return Checkpoint(found, folder, name.precision)


def adapter_base(folder: Path) -> str:
    """What an adapter is to be merged into: a hub id or a folder. Raises `EngineError("checkpoint")`."""
    path = folder / ADAPTER_CONFIG
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise EngineError("checkpoint", f"{path} names no base model (base_model_name_or_path)")
    return base


def hub_folder() -> Path:
    """Where downloads from the hub are kept, as the environment (`HF_HOME`, `HF_HUB_CACHE`) says."""
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise EngineError("engine-missing", f"{error}; it comes with: pip install 'dgemma-lsp[engine]'") from None
    return Path(constants.HF_HUB_CACHE)


def _folder(name: str) -> Path:
    if name == "nano":
        return Path(__file__).parent / "nano"
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if ModelName(name).is_hub_id:
        return _downloaded(name)
    raise EngineError("checkpoint", f"no checkpoint at {name}: name a folder, a hub id, or 'nano' for the packaged one")


def _downloaded(hub_id: str) -> Path:
    """The newest revision in the hub's cache, all of it. Raises `EngineError("checkpoint")`."""
    kept = hub_folder() / f"models--{hub_id.replace('/', '--')}"
    try:
        commit = (kept / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        commit = ""
    folder = kept / "snapshots" / commit
    if not re.fullmatch(r"[0-9a-f]+", commit) or not folder.is_dir():
        raise EngineError("checkpoint", f"{hub_id} is not on this machine: run dgemma-lsp model use {hub_id}")
    if not (folder / ADAPTER_CONFIG).is_file():
        try:
            weight_files(folder)
        except EngineError:
            raise EngineError(
                "checkpoint", f"{hub_id} is not all there: dgemma-lsp model use {hub_id} gets the rest"
            ) from None
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
        return read_chat_template(find_checkpoint(model).folder) is not None
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
        f"{model} follows no instructions; a checkpoint such as {INSTRUCTED} does: dgemma-lsp model use {INSTRUCTED}",
    )
