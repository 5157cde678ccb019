"""What the server and the commands ask of an engine."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dgemma_engine import wire
from dgemma_lsp.engine_process import INSTALL, EngineProcess, EngineUnavailable
from dgemma_lsp.errors import UserError

START_TIMEOUT = 60.0
"""Seconds for the greeting. It needs no torch; a machine this slow is stuck."""

Answer = TypeVar("Answer", wire.Welcome, wire.Filled, wire.Scored)
OnDraft = Callable[[wire.Draft], None]
OnProgress = Callable[[wire.Progress], None]


class EngineError(UserError):
    """The engine answered that it cannot do this.

    `code` is stable and the message is for people; `details` holds the traceback when the code is "internal".
    """

    def __init__(self, code: str, message: str) -> None:
        line, _, self.details = message.partition("\n")
        super().__init__(line)
        self.code = code


class EngineClient:
    """Starts an engine for the length of a `with` block.

    One request runs at a time. Whatever happens to the child, a request ends: in its answer, in
    `EngineError`, or in `EngineUnavailable` with the last lines of the child's stderr.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python or sys.executable
        self._process: EngineProcess | None = None
        self._ids = itertools.count(1)
        self._current: int | None = None
        self.welcome: wire.Welcome | None = None

    def __enter__(self) -> EngineClient:
        self._process = EngineProcess(self._python)
        try:
            hello = wire.Hello(wire.PROTOCOL, wire.package_version())
            self.welcome = self._request(hello, None, wire.Welcome, timeout=START_TIMEOUT)
            if self.welcome.protocol != wire.PROTOCOL:
                raise EngineUnavailable(
                    f"the engine of {self._python} speaks protocol {self.welcome.protocol}, this is "
                    f"{wire.PROTOCOL}; install the same version of both: {INSTALL}"
                )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fill(
        self,
        text: wire.MaskedText,
        *,
        model: str = "nano",
        passes: int | None = None,
        deadline_ms: float | None = None,
        candidates: int = 1,
        seed: int | None = None,
        length: str = "auto",
        on_draft: OnDraft | None = None,
        on_progress: OnProgress | None = None,
    ) -> wire.Filled:
        """The filled holes; `on_draft` sees the canvas after every pass, in the caller's thread."""
        request = wire.Fill(
            id=next(self._ids),
            text=text,
            model=resolve_model(model),
            passes=passes,
            deadline_ms=deadline_ms,
            candidates=candidates,
            seed=seed,
            length=length,
            drafts=on_draft is not None,
        )
        return self._request(request, request.id, wire.Filled, on_draft, on_progress)

    def score(
        self, prefix: str, candidates: Sequence[str], suffix: str = "", *, model: str = "nano"
    ) -> tuple[float, ...]:
        """The log-likelihood of each candidate between `prefix` and `suffix`, in nats."""
        request = wire.Score(next(self._ids), resolve_model(model), prefix, tuple(candidates), suffix)
        return self._request(request, request.id, wire.Scored).log_probs

    def cancel(self) -> None:
        """Ends the running request with `EngineError` "cancelled"; for another thread or a callback."""
        current = self._current
        if current is not None and self._process is not None:
            self._process.send(wire.Cancel(current))

    def close(self) -> None:
        """Ends the engine; what comes after is `EngineUnavailable`."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _request(
        self,
        message: wire.Message,
        request_id: int | None,
        answer: type[Answer],
        on_draft: OnDraft | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Sends and follows one request to its end. Events of an earlier, abandoned request are dropped."""
        process = self._process
        if process is None:
            raise EngineUnavailable("the engine is not running")
        self._current = request_id
        try:
            process.send(message)
            while True:
                received = process.receive(timeout)
                if isinstance(received, wire.Failed) and received.id in (None, request_id):
                    raise self._failure(received)
                if getattr(received, "id", None) != request_id:
                    continue
                if isinstance(received, answer):
                    return received
                if isinstance(received, wire.Draft) and on_draft is not None:
                    on_draft(received)
                elif isinstance(received, wire.Progress) and on_progress is not None:
                    on_progress(received)
        except wire.WireError as error:
            raise EngineError("request", str(error)) from None
        finally:
            self._current = None

    def _failure(self, failed: wire.Failed) -> UserError:
        if failed.code == "engine-missing":
            return EngineUnavailable(
                f"{self._python} cannot run the engine: {failed.message}; install it with: {INSTALL}"
            )
        return EngineError(failed.code, failed.message)


def resolve_model(model: str) -> str:
    """A folder as an absolute path, since the engine runs in another one; a bare name as it is."""
    path = Path(model).expanduser()
    is_path = path.is_dir() or any(separator in model for separator in ("/", os.sep))
    return str(path.absolute()) if is_path else model
