"""How a request to the engine fails."""

from __future__ import annotations

from dgemma_lsp.errors import UserError


class EngineError(UserError):
    """The engine answered that it cannot do this.

    `code` is stable and the message is for people; `details` holds the traceback when the code is "internal".
    """

    def __init__(self, code: str, message: str) -> None:
        line, _, self.details = message.partition("\n")
        super().__init__(line)
        self.code = code


class EngineUnavailable(UserError):
    """No engine could be started, or it went away; the message says what to install or where to look."""


class EngineNotRunning(EngineUnavailable):
    """Nobody is at the daemon's place."""


class EngineLeft(EngineUnavailable):
    """The daemon is leaving, or left without having taken the request up: another one can serve it."""
