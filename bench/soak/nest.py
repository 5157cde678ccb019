"""A place of its own for a daemon, and a look at all that lives and lies there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient

from .peer import Peer
from .processes import Processes
from .waiting import Broken, within

_FOREIGN = ("DGEMMA_ENGINE_PYTHON", "DGEMMA_ENGINE_TCP", "PYTHONPATH")
_BUG = re.compile(r" (error|critical) |Traceback|Fatal Python error")


@attrs.define(eq=False)
class Nest:
    """The environment of this process points into `folder`: every client of it finds, and starts, the daemon there."""

    folder: Path
    processes: Processes
    regular: EngineClient = attrs.field(factory=lambda: EngineClient(name="regular"))
    """Stays from round to round, whatever happens to the daemon."""
    _guests: list[EngineClient | Peer] = attrs.field(factory=list)
    _logged: int = 0

    @classmethod
    @contextlib.contextmanager
    def built(cls, tcp: bool = False) -> Iterator[Nest]:
        if sys.platform != "linux":
            raise OSError("the soak looks at processes the way Linux shows them; run it there")
        # Not pytest's folder: a socket's path has to be short.
        folder = Path(tempfile.mkdtemp(prefix="dg-", dir="/tmp"))
        before = dict(os.environ)
        for name in _FOREIGN:
            os.environ.pop(name, None)
        names = {"XDG_RUNTIME_DIR": folder / "run", "XDG_STATE_HOME": folder / "state", "TMPDIR": folder / "tmp"}
        for name, path in names.items():
            path.mkdir(mode=0o700)
            os.environ[name] = str(path)
        if tcp:
            os.environ["DGEMMA_ENGINE_TCP"] = "1"
        try:
            with Processes.collected(folder / "run") as processes:
                yield cls(folder, processes)
        finally:
            os.environ.clear()
            os.environ |= before
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def runtime(self) -> Path:
        return self.folder / "run"

    @property
    def place(self) -> wire.Endpoint:
        return wire.find_endpoint()

    def client(self, name: str = "soak") -> EngineClient:
        """One of ours, until the end of the round."""
        client = EngineClient(name=name)
        self._guests.append(client)
        return client

    async def peer(self, greet: bool = True) -> Peer:
        """A stranger who has been welcomed, until the end of the round; without `greet` he has said nothing yet."""
        # He does not start daemons.
        await within(self.regular.status(), "a status")
        peer = await within(Peer.connected(self.place), "a connection")
        self._guests.append(peer)
        if greet and not isinstance(said := await within(peer.greet(self.place), "a greeting"), wire.Welcome):
            raise Broken(f"a greeting was answered by {said}")
        return peer

    async def send_guests_off(self) -> None:
        guests, self._guests = self._guests, []
        for guest in guests:
            if isinstance(guest, Peer):
                guest.close()
            else:
                await within(guest.close(), "closing a client")

    async def change_regular(self) -> None:
        """The regular leaves, and another takes its place."""
        regular, self.regular = self.regular, EngineClient(name="regular")
        await within(regular.close(), "closing a client")

    def files(self) -> list[str]:
        """What lies in the runtime folder, and every temporary file."""
        folders = [folder for folder in (self.runtime, self.folder / "tmp") if folder.is_dir()]
        return sorted(path.name for folder in folders for path in folder.iterdir())

    def left(self) -> list[str]:
        """Processes and files of ours; there are none after the last daemon has left."""
        return [*self.processes.left(), *self.files()]

    def bugs(self) -> list[str]:
        """Lines of the log since the last look that speak of a bug."""
        log = self.log()
        found, self._logged = log[self._logged :] if self._logged <= len(log) else log, len(log)
        return [line for line in found.splitlines() if _BUG.search(line)]

    def log(self) -> str:
        path = wire.log_file()
        return path.read_text(errors="replace") if path.is_file() else ""

    def clear(self) -> None:
        """Ends everything by force and removes what it left."""
        self.processes.clear()
        shutil.rmtree(self.runtime, ignore_errors=True)
        self.runtime.mkdir(mode=0o700)
