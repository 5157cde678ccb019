"""Running the real command, with a daemon that no other suite and no developer shares."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import pytest

from tests.e2e.terminal import Terminal

COMMAND = Path(sys.executable).parent / "dgemma-lsp"


@attrs.frozen
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str


@attrs.frozen
class Home:
    """Where a daemon lives: its runtime folder, and its log below that."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "dgemma-engine.sock"

    @property
    def environment(self) -> Mapping[str, str]:
        """Ours without what a developer may have set for himself."""
        unwanted = {"DGEMMA_ENGINE_PYTHON", "DGEMMA_ENGINE_TCP", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "HF_TOKEN"}
        own = {
            "XDG_RUNTIME_DIR": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "HF_HOME": str(self.folder / "hub"),
        }
        return {name: value for name, value in os.environ.items() if name not in unwanted} | own

    def left(self) -> list[str]:
        """What a daemon left in its runtime folder."""
        return sorted(
            entry.name for entry in self.folder.iterdir() if entry.name not in ("state", "config", "cache", "hub")
        )


class Cli:
    """`dgemma-lsp` as a user's shell runs it, without a terminal, in a folder of its own."""

    def __init__(self, folder: Path, home: Home) -> None:
        self.folder = folder
        self.home = home

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
            env=self.home.environment,
        )
        return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    def on_a_terminal(self, *arguments: object, term: str = "xterm-256color") -> Terminal:
        return Terminal([COMMAND, *arguments], self.folder, self.home.environment, term)


def private_home() -> Iterator[Home]:
    """A home whose daemon, if one was started, ends with it and leaves nothing."""
    # Not pytest's folder: a socket's path has to be short.
    home = Home(Path(tempfile.mkdtemp(prefix="dg-")))
    try:
        yield home
        Cli(home.folder, home)("engine", "stop")
        assert home.left() == []
    finally:
        Cli(home.folder, home)("engine", "stop", "--force")
        shutil.rmtree(home.folder)


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    yield from private_home()


@pytest.fixture
def fresh_home() -> Iterator[Home]:
    """For a test that ends or breaks its daemon."""
    yield from private_home()


@pytest.fixture
def cli(tmp_path: Path, home: Home) -> Cli:
    return Cli(tmp_path, home)


@pytest.fixture
def fresh_cli(tmp_path: Path, fresh_home: Home) -> Cli:
    return Cli(tmp_path, fresh_home)


@pytest.fixture
def in_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Has clients in this process find the daemon of `home`."""
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, home.environment[name])
    return home
