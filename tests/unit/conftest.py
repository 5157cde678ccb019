"""For tests with a client of the engine: a place for its daemon, daemons that start, limits one can wait for."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dgemma_engine import wire
from dgemma_lsp.engine_client import connection as engine_connection
from dgemma_lsp.engine_client import dial as engine_dial
from dgemma_lsp.engine_client import link as engine_link
from dgemma_lsp.engine_client.dial import daemon_pid
from tests.client_help import Starts


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[wire.Endpoint]:
    """The endpoint of this test; a daemon that is left there in the end is killed, unless it is in this process."""
    # Not tmp_path: a socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="dg-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    # The log is elsewhere: a daemon that is just leaving still writes to it, and would make the folder again.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    endpoint = wire.find_endpoint()
    yield endpoint
    if (pid := daemon_pid(endpoint)) and pid != os.getpid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Starts]:
    """Makes daemons start in the loop of the test."""

    def install(*behaviours: str) -> Starts:
        found = Starts(list(behaviours))
        monkeypatch.setattr(engine_link, "start_daemon", found)
        return found

    return install


@pytest.fixture
def nothing_is_lost(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs what nobody looked at: exceptions, and tasks that were dropped."""
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(engine_connection, "QUIET", 0.1)
    monkeypatch.setattr(engine_connection, "PATIENCE", 0.2)
    monkeypatch.setattr(engine_connection, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(engine_dial, "GREETING_TIMEOUT", 0.3)
    monkeypatch.setattr(engine_link, "LEAVE_TIMEOUT", 0.3)
    monkeypatch.setattr(engine_link, "REACH_TIMEOUT", 0.5)
    monkeypatch.setattr(engine_link, "START_PAUSE", 0.1)
