"""What a client and the engine share: messages, frames, and where the daemon is found. Imports no torch."""

from __future__ import annotations

from .endpoint import Endpoint, EndpointError, find_endpoint, log_file
from .frames import MAX_FRAME, FrameError, WireError, decode, encode, read_message
from .messages import (
    CELL_STATES,
    FINISHES,
    LENGTHS,
    MAX_CANDIDATES,
    MAX_HOLE_TOKENS,
    MAX_INSTRUCTION,
    MAX_NAME,
    MAX_OUTLINE,
    MAX_PASSES,
    MAX_PROBLEM,
    MAX_PROBLEMS,
    MESSAGES,
    PRIORITIES,
    PROTOCOL,
    Answer,
    CacheReport,
    Cancel,
    Candidate,
    Cell,
    Choice,
    Done,
    Draft,
    Failed,
    Fill,
    Filled,
    Hello,
    Hole,
    Lease,
    Leased,
    MaskedText,
    Message,
    ModelReport,
    Place,
    Progress,
    Prompt,
    QueueReport,
    Refine,
    Report,
    Request,
    Score,
    Scored,
    Shutdown,
    Span,
    Status,
    TextDelta,
    Unload,
    Warm,
    Warmed,
    Welcome,
)
from .model_name import AUTO, PRECISIONS, ModelName


def package_version() -> str:
    """Version of the installed distribution, or "unknown" when it runs uninstalled from a checkout."""
    from importlib import metadata  # 20 ms that only a handshake needs

    try:
        return metadata.version("dgemma-lsp")
    except metadata.PackageNotFoundError:
        return "unknown"
