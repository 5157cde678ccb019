"""The daemon as a process: it starts once, stands alone, heals what the dead left and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dgemma_engine import wire

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, signals and modes")

COMMAND = [sys.executable, "-m", "dgemma_engine"]
TIMEOUT = 30


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the starter to its end; it would never end if the daemon kept its pipes."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=Path(sys.executable).parent,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def started(*arguments: str, **environment: str) -> psutil.Process:
    ran = start(*arguments, **environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    word, pid = ran.stdout.split()
    assert word == "ready"
    return psutil.Process(int(pid))


def ask(endpoint: wire.Endpoint, *messages: wire.Message) -> list[Any]:
    """The answers to a hello and then to each message, events left out."""

    async def talk() -> list[Any]:
        if endpoint.tcp:
            port, token = endpoint.address()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        else:
            token = ""
            reader, writer = await asyncio.open_unix_connection(str(endpoint.socket))
        answers = []
        for message in (wire.Hello(wire.PROTOCOL, "0.1", token), *messages):
            writer.write(wire.encode(message))
            while isinstance(answer := await wire.read_message(reader), wire.Progress):
                pass
            answers.append(answer)
        writer.close()
        return answers

    return asyncio.run(asyncio.wait_for(talk(), TIMEOUT))


def gone(process: psutil.Process) -> bool:
    """Waits for the end of a process that is nobody's child; the system's first process clears its entry away."""
    deadline = time.monotonic() + TIMEOUT
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
    return True


def files(endpoint: wire.Endpoint) -> set[str]:
    """What lies in the runtime folder, but for the log's folder, which the fixture puts there."""
    return {path.name for path in endpoint.folder.iterdir()} - {"state"}


def log() -> str:
    return wire.log_file().read_text()


def test_it_starts_once_and_stands_alone(runtime):
    process = started()
    assert runtime.lock.read_text() == f"{process.pid}\n"
    assert files(runtime) == {runtime.lock.name, runtime.socket.name}
    assert runtime.socket.stat().st_mode == stat.S_IFSOCK | 0o600
    assert os.getsid(process.pid) == process.pid
    assert os.getpid() not in [parent.pid for parent in process.parents()]
    assert process.cwd() == "/"
    assert "dgemma" in " ".join(process.cmdline())
    again = start()
    assert (again.returncode, again.stdout, again.stderr) == (0, "held\n", "")
    welcome, report = ask(runtime, wire.Status(1))
    assert welcome == wire.Welcome(wire.PROTOCOL, wire.package_version(), process.pid)
    assert (report.pid, report.clients, report.python) == (process.pid, 1, sys.executable)
    assert report.log == str(wire.log_file())


def test_of_ten_that_start_at_once_one_stays(runtime):
    starting = [subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(10)]
    said = [process.communicate(timeout=TIMEOUT) for process in starting]
    assert [stderr for _, stderr in said] == [""] * 10
    words = sorted(stdout.split()[0] for stdout, _ in said)
    assert words == ["held"] * 9 + ["ready"]
    (pid,) = (int(stdout.split()[1]) for stdout, _ in said if stdout.startswith("ready"))
    assert ask(runtime, wire.Status(1))[1].pid == pid
    assert log().count(" started: ") == 1


@pytest.mark.parametrize("how", ["shutdown", "shutdown now", "SIGTERM", "SIGINT"])
def test_it_leaves_nothing_behind(runtime, how):
    process = started()
    if how.startswith("shutdown"):
        assert ask(runtime, wire.Shutdown(1, finish=how == "shutdown"))[1] == wire.Done(1)
        assert files(runtime) == set()
    else:
        process.send_signal(getattr(signal, how))
    assert gone(process)
    assert files(runtime) == set()
    assert f"leaving: {how if how.startswith('SIG') else 'client 1 asked for it'}" in log()
    assert "ended after" in log()


def test_a_killed_daemon_is_replaced(runtime):
    killed = started()
    killed.kill()
    assert gone(killed)
    assert files(runtime) == {runtime.lock.name, runtime.socket.name}
    following = started()
    assert following.pid != killed.pid
    assert ask(runtime, wire.Status(1))[1].pid == following.pid


def leave_a_socket(endpoint: wire.Endpoint) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(endpoint.socket))


@pytest.mark.parametrize(
    "leave",
    [
        leave_a_socket,
        lambda endpoint: endpoint.socket.write_text("no socket"),
        lambda endpoint: endpoint.lock.write_text("1\n"),
        lambda endpoint: endpoint.address_file.write_text("{"),
        lambda endpoint: endpoint.address_file.with_suffix(".new").write_text("{"),
    ],
    ids=["socket", "file", "lock", "address", "half an address"],
)
def test_what_the_dead_left_is_cleared_away(runtime, leave):
    leave(runtime)
    started()
    assert files(runtime) == {runtime.lock.name, runtime.socket.name}
    assert ask(runtime, wire.Shutdown(1))[1] == wire.Done(1)
    assert files(runtime) == set()


def test_it_leaves_when_its_door_is_removed(runtime):
    process = started()
    runtime.socket.unlink()
    assert gone(process)
    assert files(runtime) == set()
    assert "its door has gone" in log()


def test_a_port_is_told_to_the_user_alone_and_asks_for_the_token(runtime, monkeypatch):
    monkeypatch.setenv("DGEMMA_ENGINE_TCP", "1")
    endpoint = wire.find_endpoint()
    process = started()
    assert endpoint.tcp
    assert files(endpoint) == {endpoint.lock.name, endpoint.address_file.name}
    assert endpoint.address_file.stat().st_mode & 0o777 == 0o600
    assert ask(endpoint, wire.Status(1))[1].pid == process.pid
    port, token = endpoint.address()
    endpoint.address_file.write_text(f'{{"port": {port}, "token": "not {token}"}}')
    assert ask(endpoint)[0].code == "request"


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda folder: folder.chmod(0o755), "is open to other users (mode 755); chmod 700"),
        (lambda folder: folder.rmdir(), "cannot be used: No such file or directory"),
        (lambda folder: (folder / "dgemma-engine.lock").mkdir(), "cannot lock"),
        (lambda folder: (folder / "dgemma-engine.sock").mkdir(), "cannot listen at"),
    ],
    ids=["open to others", "missing", "lock", "socket"],
)
def test_a_folder_that_cannot_be_used_is_one_clear_line(runtime, spoil: Callable[[Path], Any], complaint):
    folder = runtime.folder / "run"
    folder.mkdir(mode=0o700)
    spoil(folder)
    ran = start(XDG_RUNTIME_DIR=str(folder))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert complaint in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--idle", "soon"], "argument --idle: 'soon' is no number of seconds"),
        (["--idle", "-1"], "argument --idle: '-1' is no number of seconds"),
        (["--idle", "nan"], "argument --idle: 'nan' is no number of seconds"),
        (["--memory", "much"], "argument --memory: 'much' is no size in bytes, such as 6000000000, 6000M or 6G"),
        (["--memory", "0"], "argument --memory: '0' is no size in bytes"),
        (["--memory", "infG"], "argument --memory: 'infG' is no size in bytes"),
        (["--model", "x"], "unrecognized arguments: --model x"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_clear_line(runtime, arguments, complaint):
    ran = start(*arguments)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert complaint in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert files(runtime) == set()


def test_its_version_is_the_packages(runtime):
    assert start("--version").stdout == wire.package_version() + "\n"


@pytest.fixture
def without(tmp_path) -> Callable[[str], dict[str, str]]:
    """The environment of an interpreter in which a package is not installed."""

    def hide(name: str) -> dict[str, str]:
        message = f"No module named {name!r}"
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError({message!r}, name={name!r})\n")
        return {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    return hide


def test_a_missing_package_says_what_to_install(runtime, without):
    ran = start(**without("msgpack"))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "No module named 'msgpack'" in ran.stderr
    assert "-m pip install 'dgemma-lsp[engine]'" in ran.stderr
    assert ran.stderr.count("\n") == 1


FILL = wire.Fill(1, wire.MaskedText(("MARKER = ", wire.Hole(4))), document="MARKER.py")


def test_without_torch_it_lives_and_says_what_is_missing(runtime, without):
    started(**without("torch"))
    _, answer, report = ask(runtime, FILL, wire.Status(2))
    assert (answer.id, answer.code) == (1, "engine-missing")
    assert "torch" in answer.message
    assert isinstance(report, wire.Report)


def test_its_log_is_private_and_quotes_no_text(runtime):
    started()
    nowhere = wire.Fill(1, FILL.text, model="/nowhere", document="MARKER.py")
    delta = wire.TextDelta(7, 0, 0, "MARKER", (wire.Place(0, wire.Hole(1)),))
    _, answer, unknown = ask(runtime, nowhere, wire.Fill(2, delta, document="MARKER.py"))
    assert (answer.code, unknown.code) == ("checkpoint", "text-unknown")
    ask(runtime, wire.Shutdown(1))
    path = wire.log_file()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for line in ("started: dgemma-lsp", "client 1 opened, 1 now", "fill 1", "checkpoint", "text-unknown", "leaving"):
        assert line in log()
    assert "MARKER" not in log()


@pytest.mark.parametrize("trouble", ["full", "no folder"])
def test_a_log_that_cannot_be_written_hurts_nobody(runtime, trouble):
    path = wire.log_file()
    if trouble == "full":
        if not Path("/dev/full").exists():
            pytest.skip("there is no /dev/full here")
        path.parent.mkdir(parents=True)
        path.symlink_to("/dev/full")
    else:
        path.parent.parent.parent.mkdir()
        path.parent.parent.write_text("in the way")
    process = started()
    _, report, done = ask(runtime, wire.Status(1), wire.Shutdown(2))
    assert isinstance(report, wire.Report)
    assert done == wire.Done(2)
    assert gone(process)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_in_the_foreground_it_stays_a_child(runtime, name):
    child = subprocess.Popen([*COMMAND, "--foreground"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == f"ready {child.pid}\n"
    assert ask(runtime, wire.Status(1))[1].pid == child.pid
    child.send_signal(getattr(signal, name))
    assert child.communicate(timeout=TIMEOUT) == ("", "")
    assert child.returncode == 0
    assert files(runtime) == set()


def test_many_lives_leave_no_process_and_no_file(runtime):
    lives = []
    for number in range(6):
        lives.append(started())
        if number % 2:
            lives[-1].kill()
        else:
            ask(runtime, wire.Shutdown(1))
        assert gone(lives[-1])
    started()
    ask(runtime, wire.Shutdown(1))
    assert files(runtime) == set()
