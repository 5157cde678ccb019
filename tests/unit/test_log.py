"""The log: what happened and where, never what was written; and no trouble for who writes it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dgemma_engine import log as logs
from dgemma_engine.log import LogFile, describe


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "log" / "engine.log"


def line(handler: LogFile, message: str, *arguments: object, error: BaseException | None = None) -> None:
    exc_info = (type(error), error, error.__traceback__) if error else None
    handler.handle(logging.LogRecord("dgemma_engine", logging.INFO, __file__, 1, message, arguments, exc_info))


def test_a_line_has_time_process_and_level(path):
    line(LogFile(path), "client %d opened", 3)
    date, time, pid, level, rest = path.read_text().split(" ", 4)
    assert len(date.split("-")) == len(time.split(":")) == 3
    assert (int(pid), level, rest) == (os.getpid(), "info", "client 3 opened\n")


def fail_with_text() -> None:
    secret = "MARKER"
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise ValueError(f"cannot fill {secret}") from error


def test_an_exception_is_its_type_and_frames(path):
    try:
        fail_with_text()
    except ValueError as error:
        line(LogFile(path), "fill 3", error=error)
    text = path.read_text()
    assert "MARKER" not in text
    for part in ("fill 3\n", "builtins.ValueError\n", "builtins.KeyError\n", "test_log.py:", ":fail_with_text\n"):
        assert part in text


def test_exceptions_that_contain_each_other_come_to_an_end():
    one, two = ValueError(), KeyError()
    one.__context__, two.__context__ = two, one
    assert describe(one).count("\n") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_it_is_the_users_alone_also_when_it_was_not(path):
    path.parent.mkdir(mode=0o755)
    path.touch(0o644)
    line(LogFile(path), "x")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_full_file_becomes_the_one_backup(path, monkeypatch):
    monkeypatch.setattr(logs, "LOG_BYTES", 500)
    handler = LogFile(path)
    for number in range(100):
        line(handler, "line %d", number)
    assert sorted(found.name for found in path.parent.iterdir()) == ["engine.log", "engine.log.1"]
    assert all(found.stat().st_size <= 500 for found in path.parent.iterdir())
    both = path.with_name("engine.log.1").read_text() + path.read_text()
    numbers = [int(text.rsplit(" ", 1)[1]) for text in both.splitlines()]
    assert numbers == list(range(numbers[0], 100))


def test_two_writers_do_not_rotate_each_others_file_away(path, monkeypatch):
    monkeypatch.setattr(logs, "LOG_BYTES", 500)
    leaving, following = LogFile(path), LogFile(path)
    line(leaving, "x" * 300)
    line(following, "y" * 300)
    line(leaving, "z" * 50)
    assert "yyy" in path.read_text()
    assert "zzz" in path.with_name("engine.log.1").read_text()


@pytest.mark.parametrize("loss", ["deleted", "moved", "in the way"])
def test_it_goes_on_after_any_loss(path, loss):
    handler = LogFile(path)
    line(handler, "before")
    if loss == "deleted":
        path.unlink()
    else:
        path.replace(path.with_name("elsewhere"))
    if loss == "in the way":
        handler.close()
        path.mkdir()
        line(handler, "lost")
        path.rmdir()
    line(handler, "after")
    line(handler, "more")
    found = path if path.exists() else path.with_name("elsewhere")
    assert "after\n" in found.read_text()
    assert "lost" not in found.read_text()


def test_folders_that_were_removed_stay_away(path):
    deep = path.parent / "more" / path.name
    handler = LogFile(deep)
    line(handler, "before")
    shutil.rmtree(path.parent)
    line(handler, "after")
    assert not path.parent.exists()


def test_a_message_that_cannot_be_formatted_is_lost_alone(path):
    handler = LogFile(path)
    line(handler, "%d", "no number")
    line(handler, "\ud800 after")
    assert path.read_text().endswith("\\ud800 after\n")


STRAY = """
import os, sys, threading, warnings
from pathlib import Path
from dgemma_engine.log import log, start_log
start_log(Path(sys.argv[1]))
log.info("a line")
print("stray print")
os.system("echo stray child")
os.write(1, b"stray write\\n")
warnings.warn("stray warning")
def fail(): raise KeyError("MARKER")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
class Unraisable:
    def __del__(self): fail()
Unraisable()
if "crash" in sys.argv:
    import ctypes
    ctypes.string_at(0)
fail()
"""


def test_all_that_the_process_says_goes_there(path):
    ran = subprocess.run([sys.executable, "-c", STRAY, str(path)], capture_output=True, text=True, timeout=30)
    assert (ran.stdout, ran.stderr) == ("", "")
    text = path.read_text()
    for part in ("a line", "stray print", "stray child", "stray write", "stray warning"):
        assert part in text
    for part in ("a thread ended by a bug", "an exception went nowhere", "critical ended by a bug"):
        assert part in text
    assert text.count("builtins.KeyError") == 3
    assert "MARKER" not in text


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_leaves_its_frames(path):
    ran = subprocess.run([sys.executable, "-c", STRAY, str(path), "crash"], capture_output=True, timeout=30)
    assert ran.returncode < 0
    assert "Fatal Python error: Segmentation fault" in path.read_text()


def test_printing_is_no_error_where_nothing_can_be_written(tmp_path):
    (tmp_path / "log").write_text("in the way of the folder")
    path = tmp_path / "log" / "engine.log"
    ran = subprocess.run([sys.executable, "-c", STRAY, str(path)], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "")
