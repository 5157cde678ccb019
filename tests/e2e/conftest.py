"""Running the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

COMMAND = Path(sys.executable).parent / "dgemma-lsp"


@attrs.frozen
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str


class Cli:
    """`dgemma-lsp` as a user's shell runs it, without a terminal, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def __call__(self, *arguments: object, timeout: float = 120, prefix: Sequence[str] = ()) -> Ran:
        """Runs it; `prefix` is a command that runs commands, such as `setpriv`."""
        ran = subprocess.run(
            [*prefix, COMMAND, *map(str, arguments)],
            cwd=self.folder,
            capture_output=True,
            timeout=timeout,
            env=environment(),
        )
        return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def environment() -> dict[str, str]:
    """Ours without what a developer may have set for himself."""
    unwanted = {"DGEMMA_ENGINE_PYTHON", "FORCE_COLOR", "NO_COLOR", "COLUMNS"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)
