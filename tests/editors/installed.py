"""The editors that `make editors` installs, or a developer has: where they are, and what it means that one is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

FOLDER = Path(__file__).parents[2] / "build" / "editors"
"""Where tests/editors/install.sh puts them."""
CLIENT = Path(__file__).parents[2] / "editors" / "vscode"
PATIENCE_S = 30.0
NAMES_OF_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def lacking(what: str) -> NoReturn:
    """Skips the module for want of `what`; fails it where CI is set, since .ci/run installs everything."""
    reason = f"needs {what}: make editors installs it"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI has to have it", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def find_neovim() -> Path:
    """Neovim 0.11 or newer: of the folder DGEMMA_NVIM, of `make editors` or on PATH; else the module is skipped."""
    given = os.environ.get("DGEMMA_NVIM")
    places = [given] if given else [str(FOLDER / "nvim" / "bin"), None]
    found = next(filter(None, (shutil.which("nvim", path=place) for place in places)), None)
    if found is None or version(found) < (0, 11):
        lacking("Neovim 0.11 or newer")
    return Path(found).absolute()


def find_optional(variable: str, name: str, *, least: tuple[int, ...]) -> Path:
    """An editor that `make editors` leaves out: in the folder `variable` or on PATH; else the module is skipped."""
    need_tmux()
    found = shutil.which(name, path=os.environ.get(variable))
    if found is None or version(found) < least:
        wanted = ".".join(map(str, least))
        pytest.skip(f"put {name} {wanted} or newer on PATH or its folder in {variable}", allow_module_level=True)
    return Path(found).absolute()


def version(editor: str | Path) -> tuple[int, ...]:
    said = subprocess.run([editor, "--version"], capture_output=True, text=True, timeout=PATIENCE_S).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return tuple(map(int, found[0].split("."))) if found else ()


def need_tmux() -> None:
    if shutil.which("tmux") is None:
        lacking("tmux")


def find_chromium() -> str:
    found = next(filter(None, map(shutil.which, NAMES_OF_CHROMIUM)), None)
    if found is None:
        lacking("Chromium or Chrome")
    return found


def need_client() -> None:
    """What the VS Code client is built with."""
    if not (CLIENT / "node_modules").exists():
        lacking("the packages of editors/vscode")
