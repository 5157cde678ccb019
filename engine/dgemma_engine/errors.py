"""What a caller of the engine can do wrong, or wants to know by name."""


class EngineError(Exception):
    """A failure the user can act on; `code` is stable and machine-readable, the message says what to do next.

    The codes are those of `wire.Failed`: `request` (the text or an option cannot be filled), `checkpoint` (missing,
    broken or not a DiffusionGemma), `memory`, `cancelled`, `superseded`, `busy`, `engine-missing` and others.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
