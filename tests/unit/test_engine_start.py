"""A daemon starts, or the reason is told; nothing is left behind and nothing waits without an end."""

from __future__ import annotations

import os
import sys
import time

import psutil
import pytest

from dgemma_lsp.engine_client import start as engine_start
from dgemma_lsp.engine_client.dial import daemon_pid
from dgemma_lsp.engine_client.errors import EngineUnavailable
from dgemma_lsp.engine_client.start import start_daemon
from tests.fake_engine import interpreter


@pytest.fixture(autouse=True)
def no_child_is_left():
    before = set(psutil.Process().children())
    yield
    assert set(psutil.Process().children()) <= before


def test_the_first_one_starts_and_the_second_finds_it(tmp_path, runtime):
    python = interpreter(tmp_path, "good")
    pid = start_daemon(python, ["--idle", "5"])
    assert pid == daemon_pid(runtime)
    assert pid is not None
    assert os.getsid(pid) == pid
    assert start_daemon(python) is None


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ("broken", "ended with status 1; its last words: ModuleNotFoundError: No module named 'msgpack'; see: "),
        ("chatty", "said 'hello' instead of being ready; see: dgemma-lsp doctor"),
        ("hanging", "did not start within 0 s; see: dgemma-lsp doctor"),
    ],
)
def test_one_that_does_not_start_says_why(tmp_path, runtime, monkeypatch, behaviour, complaint):
    if behaviour == "hanging":
        monkeypatch.setattr(engine_start, "START_TIMEOUT", 0.3)
        monkeypatch.setattr(engine_start, "END_TIMEOUT", 0.2)
    with pytest.raises(EngineUnavailable) as caught:
        start_daemon(interpreter(tmp_path, behaviour))
    assert complaint in str(caught.value)
    assert not runtime.lock.exists()


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("kill -9 $$", "was killed (by the system when memory ran out, most often)"),
        ("kill -15 $$", "was ended by signal 15"),
        ("exit 3", "ended with status 3; see: dgemma-lsp doctor"),
        ("echo one >&2; echo two >&2; exit 1", "its last words: one | two"),
        ("echo ready soon", "said 'ready soon' instead of being ready"),
        (f'exec {sys.executable} -I -S "$@"', "has no engine; install it there with: pip install 'dgemma-lsp[engine]'"),
    ],
)
def test_an_interpreter_in_trouble(tmp_path, script, complaint):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    with pytest.raises(EngineUnavailable) as caught:
        start_daemon(str(path))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("python", "complaint"),
    [
        ("no-such-python", "no-such-python does not exist or cannot be run; name another one"),
        ("/", "does not exist or cannot be run"),
        ("false", "(false -m dgemma_engine) ended with status 1"),
        ("echo", "(echo -m dgemma_engine) said '-m dgemma_engine' instead of being ready"),
    ],
)
def test_an_interpreter_that_is_none(python, complaint):
    with pytest.raises(EngineUnavailable) as caught:
        start_daemon(python)
    assert complaint in str(caught.value)


def test_a_child_that_keeps_the_pipe_holds_nobody_up(tmp_path, monkeypatch):
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nsleep 5 &\necho ready 77\n")
    path.chmod(0o755)
    monkeypatch.setattr(engine_start, "END_TIMEOUT", 0.5)
    begun = time.monotonic()
    assert start_daemon(str(path)) == 77
    assert time.monotonic() - begun < 10


def test_the_daemon_does_not_start_in_the_workspace(tmp_path, monkeypatch):
    path = tmp_path / "bin" / "python"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\npwd >&2\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineUnavailable, match=f"its last words: {path.parent}"):
        start_daemon(str(path))
