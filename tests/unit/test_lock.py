"""The lock: one holder at a time, whatever becomes of him."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dgemma_engine.lock import LockFile

HOLD = """
import os, sys, time
from pathlib import Path
from dgemma_engine.lock import LockFile
lock = LockFile(Path(sys.argv[1]))
taken = lock.take()
lock.sign()
if "fork" in sys.argv and os.fork():
    os._exit(0)
print(taken, os.getpid(), flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that takes the lock, says whether it got it, and holds it until its stdin ends."""

    def __init__(self, path: Path, *how: str) -> None:
        command = [sys.executable, "-c", HOLD, str(path), *how]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        taken, pid = self.process.stdout.readline().split()
        self.taken, self.pid = taken == "True", int(pid)

    def end(self) -> None:
        self.process.communicate(timeout=10)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "engine.lock"


def test_a_lock_is_taken_once_and_names_its_holder(path):
    holder = Holder(path)
    assert holder.taken
    assert path.read_text() == f"{holder.pid}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not LockFile(path).take()
    holder.end()


def test_two_locks_of_one_process_exclude_each_other(path):
    first, second = LockFile(path), LockFile(path)
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    second.release()


@pytest.mark.parametrize("how", ["end", "kill"])
def test_a_dead_holders_lock_is_free_though_its_file_is_there(path, how):
    holder = Holder(path)
    if how == "kill":
        holder.process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    holder.end()
    assert path.exists()
    again = Holder(path)
    assert again.taken
    assert path.read_text() == f"{again.pid}\n"
    again.end()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_child_of_a_fork_goes_on_holding(path):
    holder = Holder(path, "fork")
    assert holder.taken
    assert holder.process.wait(10) == 0
    assert holder.pid != holder.process.pid
    assert not LockFile(path).take()
    holder.end()
    deadline = time.monotonic() + 10
    while not LockFile(path).take():  # it is nobody's child whose end could be awaited
        assert time.monotonic() < deadline


def test_release_leaves_nothing_and_can_be_repeated(path):
    lock = LockFile(path)
    assert lock.take()
    lock.release()
    lock.release()
    assert not path.exists()
    assert lock.take()
    lock.release()


def test_a_lock_whose_file_was_deleted_is_not_mistaken_for_the_new_one(path):
    """Both processes are right to believe they hold theirs; the older one must not delete the newer one's."""
    first, second = LockFile(path), LockFile(path)
    assert first.take()
    path.unlink()
    assert second.take()
    first.release()
    assert path.exists()
    assert not LockFile(path).take()
    second.release()
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
def test_a_file_deleted_between_open_and_lock_is_not_taken_for_the_lock(path, monkeypatch):
    """The classic race: we open, the holder deletes and lets go, we lock what nobody will ever see again."""
    holder = LockFile(path)
    assert holder.take()
    really_open = os.open
    opened: list[int] = []

    def open_then_lose(*arguments: object) -> int:
        opened.append(really_open(*arguments))  # type: ignore[arg-type]
        holder.release()
        return opened[-1]

    monkeypatch.setattr(os, "open", open_then_lose)
    late = LockFile(path)
    assert late.take()
    monkeypatch.undo()
    assert len(opened) == 2
    assert path.exists()
    assert not LockFile(path).take()
    late.release()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links")
def test_a_link_in_the_place_of_the_lock_is_refused(path, tmp_path):
    (tmp_path / "elsewhere").write_text("precious")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"."):
        LockFile(path).take()
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_what_cannot_be_locked_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        LockFile(tmp_path / "missing" / "engine.lock").take()
