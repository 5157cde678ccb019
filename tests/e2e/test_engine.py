"""`dgemma-lsp engine` with the real daemon: it comes, stays, is seen, is ended, and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND, Cli
from tests.fake_engine import interpreter

SOURCE = "def mean(values):\n    return sum(values) / len(values\n\n\nprint(mean([1, 2, 3]))\n"
FILL = ("fill", "f.py", "--at", "2:36", "--seed", "1", "--max-tokens", "4")


def pid(cli: Cli) -> int:
    return json.loads(cli("engine", "status", "--json").out)["pid"]


def lives(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_none_runs_until_it_is_wanted(fresh_cli):
    ran = fresh_cli("engine", "status", "--json")
    assert (ran.code, json.loads(ran.out), ran.err) == (1, {"running": False}, "")
    assert fresh_cli("engine", "status").out == "no engine is running; the next request starts one\n"
    for force in ([], ["--force"]):
        ran = fresh_cli("engine", "stop", *force)
        assert (ran.code, ran.out, ran.err) == (0, "no engine is running\n", "")
    ran = fresh_cli("engine", "logs")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("there is no log yet; an engine writes ")
    assert fresh_cli.home.left() == []


def test_it_starts_loads_stays_and_ends(fresh_cli):
    started = fresh_cli("engine", "start", "--idle", 600)
    said = re.fullmatch(r"the engine runs \(pid (\d+)\), nano is loaded \(\d+ ms\)\n", started.out)
    assert said
    report = json.loads(fresh_cli("engine", "status", "--json").out)
    assert report["running"]
    assert report["pid"] == int(said[1])
    assert [(model["name"], model["state"], model["unload_s"]) for model in report["models"]] == [
        ("nano", "ready", 600.0)
    ]
    assert report["clients"] == 1
    assert 0 < report["memory"] < 2**30
    table = fresh_cli("engine", "status").out
    assert f"pid {report['pid']}, up" in table
    assert re.search(r"^nano +ready +cpu .* after 10 min$", table, re.MULTILINE)

    again = json.loads(fresh_cli("engine", "start", "--json").out)
    assert (again["pid"], again["model"], again["python"]) == (report["pid"], "nano", sys.executable)

    fresh_cli.file("f.py", SOURCE)
    filled = json.loads(fresh_cli(*FILL, "--json").out)
    assert filled["ms"]["load"] == 0
    assert pid(fresh_cli) == report["pid"]

    path = fresh_cli("engine", "logs", "--path").out.rstrip("\n")
    assert Path(path).is_relative_to(fresh_cli.home.folder)
    log = fresh_cli("engine", "logs", "-n", 3).out
    assert log.count("\n") == 3
    assert "def mean" not in Path(path).read_text()

    ended = fresh_cli("engine", "stop")
    assert (ended.code, ended.out) == (0, f"the engine (pid {report['pid']}) has ended\n")
    assert not lives(report["pid"])
    assert fresh_cli.home.left() == []


def test_it_is_nobodys_child_and_outlives_who_started_it(fresh_cli):
    fresh_cli("engine", "start")
    stat = Path(f"/proc/{pid(fresh_cli)}/stat").read_text().rpartition(")")[2].split()
    session = int(stat[3])
    assert session != os.getsid(0)
    command = Path(f"/proc/{pid(fresh_cli)}/cmdline").read_bytes()
    assert b"dgemma" in command


def test_two_commands_at_once_start_one(fresh_cli):
    fresh_cli.file("f.py", SOURCE)
    commands = [
        subprocess.Popen(
            [COMMAND, *FILL, "--json"],
            cwd=fresh_cli.folder,
            env=fresh_cli.home.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    answers = [command.communicate(timeout=120) for command in commands]
    assert [error for _, error in answers] == [b""] * 3
    assert len({json.loads(out)["text"] for out, _ in answers}) == 1
    assert Path(fresh_cli("engine", "logs", "--path").out.strip()).read_text().count("started: ") == 1


def test_force_ends_one_that_does_not_answer(fresh_cli):
    fresh_cli("engine", "start")
    daemon = pid(fresh_cli)
    os.kill(daemon, signal.SIGSTOP)
    try:
        ran = fresh_cli("engine", "stop", "--force")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon, signal.SIGCONT)
    assert (ran.code, ran.out) == (0, f"the engine (pid {daemon}) is killed\n")
    assert not lives(daemon)
    assert fresh_cli.home.left() == []


def test_force_clears_away_what_a_killed_one_left(fresh_cli):
    fresh_cli("engine", "start")
    daemon = pid(fresh_cli)
    os.kill(daemon, signal.SIGKILL)
    while lives(daemon):
        time.sleep(0.01)
    assert len(fresh_cli.home.left()) == 2
    assert fresh_cli("engine", "stop", "--force").out == "no engine is running\n"
    assert fresh_cli.home.left() == []


def test_force_kills_nothing_but_a_daemon(fresh_cli, tmp_path):
    python = interpreter(tmp_path, "good")
    fresh_cli("engine", "start", "--engine-python", python)
    fake = pid(fresh_cli)
    ran = fresh_cli("engine", "stop", "--force")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: process {fake} is no engine (")
    assert lives(fake)


def test_a_killed_one_is_replaced_by_the_next_fill(fresh_cli):
    fresh_cli.file("f.py", SOURCE)
    first = json.loads(fresh_cli(*FILL, "--json").out)
    daemon = pid(fresh_cli)
    os.kill(daemon, signal.SIGKILL)
    second = json.loads(fresh_cli(*FILL, "--json").out)
    assert second["text"] == first["text"]
    assert pid(fresh_cli) != daemon


def test_ctrl_c_cancels_the_fill_in_the_daemon(fresh_cli, tiny_checkpoint):
    fresh_cli.file("f.py", SOURCE)
    endless = ("--model", tiny_checkpoint, "--max-tokens", 400, "--passes", 1000, "--length", "exact")
    with fresh_cli.on_a_terminal("fill", "f.py", "--at", "2:36", *endless) as terminal:
        terminal.read_until("pass 2/1000")
        terminal.press_ctrl_c()
        assert terminal.end() == 130
        assert "Traceback" not in terminal.shown
        assert "Abort" not in terminal.shown
    limit = time.monotonic() + 20
    while not (ended := json.loads(fresh_cli("engine", "status", "--json").out)["queue"]["ended"]).get("cancelled"):
        assert time.monotonic() < limit, ended


def test_the_log_is_followed_over_its_renaming(fresh_cli):
    fresh_cli("engine", "start")
    file = Path(fresh_cli("engine", "logs", "--path").out.strip())
    with fresh_cli.on_a_terminal("engine", "logs", "--follow", "-n", 1) as terminal:
        terminal.read_until("closed")
        file.rename(file.with_name(file.name + ".1"))
        file.write_text("the first line of another\n")
        terminal.read_until("the first line of another")
        with file.open("a") as log:
            log.write("begun ")
            log.flush()
            log.write("and finished\x1b[2J\n")
        terminal.read_until("begun and finished␛[2J")
        terminal.press_ctrl_c()
        assert terminal.end() == 130
        assert "Traceback" not in terminal.shown


def test_a_trace_of_a_real_fill_is_a_page(cli):
    cli.file("f.py", SOURCE)
    ran = cli(*FILL, "--trace", "out.html")
    assert (ran.code, ran.err) == (0, "out.html written; open it in a browser\n")
    assert "</html>" in (cli.folder / "out.html").read_text()


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_runtime_folder_that_others_may_enter_is_refused(fresh_cli, mode):
    fresh_cli.file("f.py", SOURCE)
    fresh_cli.home.folder.chmod(mode)
    try:
        for command in (FILL, ("engine", "start"), ("engine", "status"), ("engine", "stop", "--force")):
            ran = fresh_cli(*command)
            assert (ran.code, ran.out) == (2, "")
            assert re.fullmatch(r"error: .* is open to other users \(mode 7\d\d\); chmod 700 .*\n", ran.err)
        findings = {one["name"]: one for one in json.loads(fresh_cli("doctor", "--json").out)}
        assert not findings["runtime folder"]["ok"]
        assert "chmod 700" in findings["runtime folder"]["detail"]
    finally:
        fresh_cli.home.folder.chmod(0o700)


def test_doctor_says_whether_one_was_running(fresh_cli):
    for how in ("was started", "was running"):
        findings = {one["name"]: one for one in json.loads(fresh_cli("doctor", "--json").out)}
        assert how in findings["fill"]["detail"]
        assert findings["log"]["ok"]


def test_over_tcp_all_is_the_same(fresh_cli):
    environment = {**fresh_cli.home.environment, "DGEMMA_ENGINE_TCP": "1"}
    fresh_cli.file("f.py", SOURCE)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments], cwd=fresh_cli.folder, env=environment, capture_output=True, text=True, timeout=120
        )

    filled = run(*FILL, "--json")
    assert (filled.returncode, filled.stderr) == (0, "")
    assert fresh_cli.home.left() == ["dgemma-engine.json", "dgemma-engine.lock"]
    assert json.loads(run("engine", "status", "--json").stdout)["endpoint"].endswith(".json")
    assert "has ended" in run("engine", "stop").stdout
    assert fresh_cli.home.left() == []
