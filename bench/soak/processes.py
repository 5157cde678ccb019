"""The processes that a runtime folder is the home of, living and dead."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import psutil

from .waiting import BOUND_S, Broken, until, within

_SET_CHILD_SUBREAPER = 36
"""<linux/prctl.h>"""


@attrs.define(eq=False)
class Processes:
    """Daemons are nobody's children; here this process collects them, so that none ends unseen, nor how it ended."""

    home: Path
    statuses: dict[int, int] = attrs.field(factory=dict)
    """How those ended that have ended, as in `subprocess`."""
    _killed: set[int] = attrs.field(factory=set)

    @classmethod
    @contextlib.contextmanager
    def collected(cls, home: Path) -> Iterator[Processes]:
        processes = cls(home)
        _collect_orphans(True)
        try:
            yield processes
        finally:
            processes.clear()
            _collect_orphans(False)

    def daemons(self) -> list[int]:
        """Process ids of the engines that live, those that are only starting included."""
        return sorted(one.pid for one in psutil.Process().children(recursive=True) if "dgemma_engine" in _command(one))

    async def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> int | None:
        """Ends a process and waits for that; its exit status."""
        self.strike(pid, number)
        return await self.gone(pid)

    def strike(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal that may end a process, which is no failure then."""
        self._killed.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    async def gone(self, pid: int) -> int | None:
        """Waits for the end of a process; its exit status, None when nobody can know it any more."""
        if pid not in self.statuses:
            await within(_ended(pid), f"process {pid}")
            await until(lambda: not self._collect(pid), lambda: f"process {pid} was not handed over to us")
        return self.statuses.get(pid)

    async def alone(self, pid: int) -> None:
        """Waits until no other daemon than this one is there."""
        await until(lambda: self.daemons() == [pid], lambda: f"daemons {self.daemons()} live, not {pid} alone")

    def collect(self) -> None:
        """Takes note of those that have ended. Raises `Broken` when one of them did not end well."""
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.status() == psutil.STATUS_ZOMBIE:
                    self._collect(child.pid)
        for pid, status in self.statuses.items():
            if status and not (pid in self._killed and status < 0):
                self._killed.add(pid)
                self.statuses[pid] = -abs(status)
                raise Broken(f"daemon {pid} ended with status {status}")

    def left(self) -> list[str]:
        """All that are still there, the dead included that have a parent who does not collect them."""
        self.collect()
        found = {one.pid: one for one in (*psutil.Process().children(recursive=True), *self._living())}
        return [f"process {pid} ({_command(one)[:80] or 'dead'})" for pid, one in sorted(found.items())]

    def clear(self) -> None:
        """Ends all of them by force."""
        limit = time.monotonic() + BOUND_S
        while (living := self._living()) and time.monotonic() < limit:
            for one in living:
                self.strike(one.pid)
            time.sleep(0.01)
            with contextlib.suppress(Broken):
                self.collect()

    def _living(self) -> list[psutil.Process]:
        """Those that were started with our runtime folder, whosever children they are."""
        found = []
        mine = {"XDG_RUNTIME_DIR": str(self.home)}.items()
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if one.pid != os.getpid() and mine <= one.environ().items():
                    found.append(one)
        return found

    def _collect(self, pid: int) -> bool:
        """Whether it may still have to be collected."""
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            # Another's child becomes ours when that one has ended; unless he has collected it.
            return psutil.pid_exists(pid)
        if done:
            self.statuses[pid] = os.waitstatus_to_exitcode(status)
        return not done


async def _ended(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _collect_orphans(ours: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, int(ours), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
