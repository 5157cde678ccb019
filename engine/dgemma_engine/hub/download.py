"""A repository's files into the hub's own cache: resumed at the byte, checked, and visible only once all are there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ..checkpoints import ADAPTER_CONFIG
from ..errors import EngineError
from ..footprint import gigabytes
from ..model.config import read_config
from ..shards import check_weights, read_header
from .repository import File, Repository

SPARE = 1 << 28
"""Bytes that stay free on the disk."""
CHUNK = 1 << 16
"""Bytes that are written at once."""
LOCK_S = 1.0
"""How long another download of the same model is waited for."""

OnBytes = Callable[[int, str], None]
"""Hears how many more bytes came (fewer than none when some were thrown away), and the file they are of."""


def download(repository: Repository, on_bytes: OnBytes = lambda *_: None) -> Path:
    """Get what is missing of `repository` and return its folder.

    The small files come first, and a model that cannot be run is refused before its weights come. What was
    interrupted goes on where it stopped. Raises `EngineError` and what `refusals.explained` explains.
    """
    _check_disk(repository)
    with _alone(repository):
        small = [file for file in repository.files if not file.name.endswith(".safetensors")]
        for file in small:
            _get(repository, file, on_bytes)
        is_adapter = (repository.snapshot / ADAPTER_CONFIG).is_file()
        if not is_adapter:
            read_config(repository.snapshot)
        for file in repository.files:
            if file not in small:
                _get(repository, file, on_bytes)
        if is_adapter:
            read_header(repository.snapshot / "adapter_model.safetensors")
        else:
            check_weights(repository.snapshot)
        # Last of all: until now whatever was complete before is what the name stands for.
        main = repository.folder / "refs" / "main"
        main.parent.mkdir(exist_ok=True)
        main.write_text(repository.commit, encoding="ascii")
    return repository.snapshot


def _check_disk(repository: Repository) -> None:
    there = next(path for path in (repository.folder, *repository.folder.parents) if path.exists())
    free, missing = shutil.disk_usage(there).free, repository.missing
    if missing and free < missing + SPARE:
        raise EngineError(
            "disk",
            f"{repository.hub_id} takes {gigabytes(missing)} more, {there} has {gigabytes(free)} free: make room, or "
            "set HF_HOME to a folder on another disk",
        )


@contextmanager
def _alone(repository: Repository) -> Any:
    """Two downloads would write into the same file."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    locks = repository.folder.parent / ".locks" / repository.folder.name
    locks.mkdir(parents=True, exist_ok=True)
    lock = WeakFileLock(locks / "dgemma.lock", timeout=LOCK_S)
    try:
        lock.__enter__()
    except Timeout:
        raise EngineError("busy", f"{repository.hub_id} is being downloaded already: wait for that") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _get(repository: Repository, file: File, on_bytes: OnBytes) -> None:
    from huggingface_hub import hf_hub_download

    place = repository.snapshot / file.name
    if place.exists() and place.stat().st_size == file.size:
        on_bytes(file.size, file.name)
        return
    if place.exists():
        # Somebody wrote to it, or the disk lost a part.
        place.resolve().unlink()
        place.unlink(missing_ok=True)
    if file.sha256 is not None:
        _get_large(repository, file, on_bytes)
    # Puts the link in its place; a file that git holds itself is small and comes with it.
    hf_hub_download(repository.hub_id, file.name, revision=repository.commit)
    if file.sha256 is None:
        on_bytes(file.size, file.name)


def _get_large(repository: Repository, file: File, on_bytes: OnBytes) -> None:
    """Fill the cache's blob; its own download would begin a file anew after every interruption."""
    blob = repository.folder / "blobs" / f"{file.sha256}"
    if blob.exists() and blob.stat().st_size == file.size:
        on_bytes(file.size, file.name)
        return
    blob.unlink(missing_ok=True)
    partial = repository.partial(file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if partial.exists() and partial.stat().st_size > file.size:
        partial.unlink()
    with partial.open("ab") as stream:
        counted = _Counted(stream, lambda count: on_bytes(count, file.name))
        on_bytes(stream.tell(), file.name)
        while (had := stream.tell()) < file.size:
            try:
                _stream(repository, file, counted)
            except Exception:
                # The place that the hub points to expires; a new one is as good.
                if stream.tell() <= had:
                    raise
    if _sha256(partial) != file.sha256:
        partial.unlink()
        raise EngineError("checkpoint", f"{file.name} of {repository.hub_id} came with a wrong sha256: call again")
    partial.rename(blob)


def _stream(repository: Repository, file: File, stream: _Counted) -> None:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    # What came of a chunk is lost with the connection.
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    url = hf_hub_url(repository.hub_id, file.name, revision=repository.commit)
    location = get_hf_file_metadata(url, timeout=20).location
    headers = build_hf_headers()
    if urlsplit(location).netloc != urlsplit(url).netloc:
        # A signed place of somebody else's, whom the token is none of the business.
        headers.pop("authorization", None)
    http_get(location, stream, resume_size=stream.tell(), headers=headers, expected_size=file.size)  # pyright: ignore[reportArgumentType]


class _Counted:
    """A file that tells how much is written to it."""

    def __init__(self, stream: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._stream = stream
        self._on_bytes = on_bytes

    def write(self, data: bytes) -> int:
        self._on_bytes(len(data))
        return self._stream.write(data)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, place: int) -> int:
        return self._stream.seek(place)

    def truncate(self) -> int:
        size = self._stream.seek(0, 2)
        place = self._stream.truncate(0)
        self._on_bytes(-size)
        return place


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
