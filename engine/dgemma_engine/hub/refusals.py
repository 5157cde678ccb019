"""What goes wrong with the hub, in one line that says what to do."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..errors import EngineError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "ssl", "socket")
"""Packages whose errors mean that the hub was not reached; which ones are used depends on the version."""


def explained(error: Exception, hub_id: str) -> Exception:
    """`error` as an `EngineError` of code `hub` or `disk`; a bug stays as it is."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{hub_id}"
    if isinstance(error, EngineError):
        return error
    if isinstance(error, errors.GatedRepoError):
        return EngineError(
            "hub",
            f"{hub_id} is gated: accept its licence on {page}, and set HF_TOKEN to a token of the account that did",
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _answered(error, hub_id, constants.ENDPOINT)
    if isinstance(error, errors.HFValidationError):
        return EngineError("hub", f"{hub_id} is no hub id, such as google/diffusiongemma-26B-A4B-it")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return EngineError("hub", f"HF_HUB_OFFLINE is set: unset it to download {hub_id}")
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return explained(error.__cause__, hub_id)
    if type(error).__module__.split(".")[0] in NETWORK or isinstance(error, ConnectionError | TimeoutError):
        return EngineError(
            "hub",
            f"{constants.ENDPOINT} cannot be reached: check the network and its proxy (HTTPS_PROXY), then call again; "
            "what is here is kept",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return EngineError("disk", "the disk is full: make room, then call again; what is here is kept")
    if isinstance(error, OSError) and error.errno is not None:
        return EngineError("disk", f"{error.filename or constants.HF_HUB_CACHE}: {error.strerror}")
    return error


def _answered(error: HfHubHTTPError, hub_id: str, endpoint: str) -> EngineError:
    from huggingface_hub import errors

    status = error.response.status_code
    if isinstance(error, errors.DisabledRepoError):
        return EngineError("hub", f"{hub_id} was disabled on the hub")
    if isinstance(error, errors.RepositoryNotFoundError):
        return EngineError(
            "hub",
            f"there is no {hub_id} on the hub, or it is private: check the spelling, or set HF_TOKEN to a token that "
            "may read it",
        )
    if status == 401:
        return EngineError(
            "hub",
            f"the hub does not know this token (any more): make a new one on {endpoint}/settings/tokens, set "
            "HF_TOKEN to it, or unset it",
        )
    if status == 403:
        return EngineError("hub", f"this token may not read {hub_id}: set HF_TOKEN to one that may")
    if status == 404:
        return EngineError("hub", f"{hub_id} changed on the hub meanwhile: call again")
    return EngineError("hub", f"the hub answers {status}: call again later; what is here is kept")
