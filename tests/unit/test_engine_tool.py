"""Tools of the engine are heard line by line, and always end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dgemma_lsp.engine_client.errors import EngineError, EngineUnavailable
from dgemma_lsp.engine_tool import ask
from dgemma_lsp.errors import UserError

PID = "import os; print('{\"pid\": %d}' % os.getpid(), flush=True)"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are modules for every interpreter that is started."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def tool(folder: Path, code: str) -> str:
    (folder / "one_tool.py").write_text(code)
    return "one_tool"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_objects_come_as_they_are_said_and_the_rest_is_nothing(tools: Path) -> None:
    name = tool(
        tools, "import sys\nprint('a banner')\nprint('[1]')\nprint('{\"event\": \"x\", \"a\": [%r]}' % len(sys.argv))"
    )
    events = [event for event in ask(sys.executable, name, ["one", "two"]) if event]
    assert events == [{"event": "x", "a": [3]}]


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ('print(\'{"event": "failed", "code": "disk", "message": "it is full"}\')', EngineError, r"^it is full$"),
        (
            'print(\'{"event": "failed", "code": "engine-missing", "message": "No module torch"}\')',
            EngineUnavailable,
            r"No module torch; install it with: pip install 'dgemma-lsp\[engine\]'",
        ),
        (
            "raise ValueError('a bug')",
            EngineUnavailable,
            "ended with status 1: ValueError: a bug; see: dgemma-lsp doctor",
        ),
        ("import os; os.kill(os.getpid(), 9)", EngineUnavailable, "ended with status -9"),
    ],
)
def test_a_tool_that_fails_says_one_line(tools: Path, code: str, kind: type[UserError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        list(ask(sys.executable, tool(tools, code)))
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, EngineError):
        assert caught.value.code == "disk"


def test_an_interpreter_without_the_engine_says_what_to_install(tools: Path) -> None:
    code = 'import sys; sys.exit("/usr/bin/python3: No module named dgemma_engine.hub")'
    with pytest.raises(EngineUnavailable, match=r"has no engine; install it there with: pip install"):
        list(ask(sys.executable, tool(tools, code)))
    with pytest.raises(EngineUnavailable, match="does not exist or cannot be run"):
        list(ask("/no/such/python", "dgemma_engine.hub"))


def test_a_tool_that_takes_too_long_is_ended(tools: Path) -> None:
    heard = ask(sys.executable, tool(tools, f"{PID}; import time; time.sleep(600)"), limit_s=1.5)
    pid = next(heard)["pid"]
    with pytest.raises(EngineUnavailable, match="took longer than 2 s"):
        list(heard)
    assert not is_running(pid)


def test_a_tool_that_nobody_hears_is_ended(tools: Path) -> None:
    heard = ask(sys.executable, tool(tools, f"{PID}; import time; time.sleep(600)"))
    pid = next(heard)["pid"]
    heard.close()  # type: ignore[attr-defined] - it is a generator
    assert not is_running(pid)


def test_an_interrupted_tool_interrupts(tools: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(ask(sys.executable, tool(tools, "raise SystemExit(130)")))
