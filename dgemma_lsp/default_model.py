"""The model that is used where nobody names one: what `dgemma-lsp model use` was told last, else nano."""

from __future__ import annotations

import json
import os
from pathlib import Path

import platformdirs

from dgemma_lsp.config import Settings, read_settings, read_user_file, user_file
from dgemma_lsp.errors import UserError

BUNDLED = "nano"
"""What is there without anything being chosen."""


def choice_file() -> Path:
    """Where the choice is kept; it need not exist."""
    return platformdirs.user_config_path("dgemma-lsp", appauthor=False) / "model.json"


def remember(model: str | None) -> None:
    """Use `model` from now on, None for the bundled one. Raises `UserError` when that cannot be written."""
    path = choice_file()
    try:
        if model is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # Somebody may read it at this moment.
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.write_text(json.dumps({"model": model}) + "\n", encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def remembered() -> tuple[str, str | None]:
    """What was chosen, else `BUNDLED`, and what is wrong with the file, if so."""
    path = choice_file()
    try:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
    except FileNotFoundError:
        return BUNDLED, None
    except (OSError, ValueError, KeyError, TypeError) as error:
        model = error
    if isinstance(model, str) and model:
        return model, None
    return BUNDLED, f"{path} cannot be read, so {BUNDLED} is used: choose again with dgemma-lsp model use"


def model_of(settings: Settings) -> tuple[str, str | None]:
    """The model that `settings` name, else what was chosen, and what is wrong with that, if so."""
    return (settings.model, None) if settings.model else remembered()


def model_for(option: str | None) -> str:
    """The model of a command: its option, else the user's setting, else what was chosen. Raises `UserError`."""
    if option:
        return option
    path = user_file()
    user, _ = read_user_file(path)
    model, problem = model_of(read_settings((str(path), user)).settings)
    if problem:
        raise UserError(problem)
    return model
