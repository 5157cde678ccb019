"""`python -m dgemma_engine`: an engine that serves wire frames on stdin and stdout.

The main thread works, one request at a time and in order; a reader thread takes messages in, so that a cancel
is seen while a fill runs. The end of stdin means that the client has gone: what runs is cancelled and the
process ends. torch is imported with the first request that needs it: without it the greeting still works, and
so does a clear answer.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs

from . import wire
from .errors import EngineError

if TYPE_CHECKING:
    from .engine import Engine


@attrs.frozen
class Job:
    """A request as it was received: `received` in seconds of the monotonic clock."""

    request: wire.Fill | wire.Score
    received: float
    cancelled: threading.Event


class Server:
    """Serves one client until it says `Shutdown` or goes away."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._send_lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._open: dict[int, Job] = {}
        self._engines: dict[str, Engine] = {}

    def run(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        while (job := self._jobs.get()) is not None:
            answer = self._served(job)
            self._open.pop(job.request.id, None)
            self._send(answer)

    def _read(self) -> None:
        try:
            while True:
                try:
                    message = wire.read_frame(self._incoming)
                except wire.FrameError:
                    raise
                except wire.WireError as error:
                    self._send(wire.Failed(None, "request", str(error)))
                    continue
                if message is None or isinstance(message, wire.Shutdown):
                    break
                self._take(message)
        except (wire.FrameError, OSError) as error:
            self._send(wire.Failed(None, "request", str(error)))
        finally:
            for job in list(self._open.values()):
                job.cancelled.set()
            self._jobs.put(None)

    def _take(self, message: wire.Message) -> None:
        if isinstance(message, wire.Hello):
            self._send(_greeting(message))
        elif isinstance(message, wire.Fill | wire.Score):
            if message.id in self._open:
                self._send(wire.Failed(message.id, "request", f"request {message.id} is already running"))
                return
            job = Job(message, time.monotonic(), threading.Event())
            self._open[message.id] = job
            self._jobs.put(job)
        elif isinstance(message, wire.Cancel):
            job = self._open.get(message.id)
            if job is not None:
                job.cancelled.set()
        else:
            kind = type(message).__name__.lower()
            self._send(wire.Failed(None, "request", f"{kind} is a message of the engine, not for it"))

    def _send(self, message: wire.Message) -> None:
        try:
            with self._send_lock:
                wire.write_frame(self._outgoing, message)
        except OSError:
            # The client has gone; the end of stdin says so too and ends the process.
            pass

    def _served(self, job: Job) -> wire.Message:
        """The one answer of a request. A bug becomes an answer too: one line, and below it the traceback."""
        try:
            _check(job)
            engine, load_ms = self._engine(job)
            _check(job)
            if isinstance(job.request, wire.Fill):
                return self._filled(engine, job.request, job, load_ms)
            request = job.request
            log_probs = engine.score(request.prefix, request.candidates, request.suffix)
            return wire.Scored(request.id, tuple(log_probs))
        except EngineError as error:
            return wire.Failed(job.request.id, error.code, str(error))
        except MemoryError:
            return wire.Failed(job.request.id, "memory", "not enough memory for this model or this text")
        except Exception as error:
            summary = " ".join(f"{type(error).__name__}: {error}".split())
            trace = "".join(traceback.format_exception(error))
            return wire.Failed(job.request.id, "internal", f"{summary}\n{trace}")

    def _engine(self, job: Job) -> tuple[Engine, float]:
        """The engine of a model, and how many ms loading it took: 0 when it was there."""
        model = job.request.model
        if model in self._engines:
            return self._engines[model], 0.0
        self._send(wire.Progress(job.request.id, "loading"))
        start = time.monotonic()
        self._engines[model] = _engine_class().load(model)
        return self._engines[model], _ms_since(start)

    def _filled(self, engine: Engine, request: wire.Fill, job: Job, load_ms: float) -> wire.Filled:
        deadline_ms = request.deadline_ms
        if deadline_ms is not None:
            # An overdue request still gets its first pass: an engine that is asked answers with something.
            deadline_ms = max(deadline_ms - (_ms_since(job.received) - load_ms), 1.0)

        def send_draft(draft: wire.Draft) -> None:
            self._send(attrs.evolve(draft, id=request.id))

        filled = engine.fill(
            request.text,
            passes=request.passes,
            deadline_ms=deadline_ms,
            candidates=request.candidates,
            seed=request.seed,
            length=request.length,
            on_draft=send_draft if request.drafts else None,
            cancelled=job.cancelled.is_set,
        )
        ms = {**filled.ms, "load": load_ms, "total": _ms_since(job.received)}
        return attrs.evolve(filled, id=request.id, ms=ms)


def _greeting(hello: wire.Hello) -> wire.Message:
    package = wire.package_version()
    if hello.protocol == wire.PROTOCOL:
        return wire.Welcome(wire.PROTOCOL, package)
    return wire.Failed(
        None,
        "protocol",
        f"the engine (dgemma-lsp {package}) speaks protocol {wire.PROTOCOL}, the client (dgemma-lsp "
        f"{hello.package}) speaks {hello.protocol}; install the same version of both",
    )


def _engine_class() -> type[Engine]:
    try:
        from .engine import Engine
    except ImportError as error:
        if (error.name or "").startswith("dgemma_engine"):
            raise
        raise EngineError("engine-missing", str(error)) from error
    return Engine


def _check(job: Job) -> None:
    if job.cancelled.is_set():
        raise EngineError("cancelled", "the request was cancelled")


def _ms_since(start: float) -> float:
    return (time.monotonic() - start) * 1000


def _claim_stdio() -> tuple[IO[bytes], IO[bytes]]:
    """Binary streams on the real stdin and stdout; whatever prints from now on prints to stderr."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return incoming, outgoing


def main() -> None:
    Server(*_claim_stdio()).run()
    # Every answer is flushed, and taking torch down would keep the client waiting for nothing.
    os._exit(0)


if __name__ == "__main__":
    main()
