"""What a caller of the engine can do wrong, or wants to know by name."""


class EngineError(Exception):
    """A failure the user can act on; `code` is stable and machine-readable, the message says what to do next.

    Codes: `checkpoint` (missing, broken or not a DiffusionGemma), `request` (the text or an option cannot be
    filled), `cancelled`, `engine-missing`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
