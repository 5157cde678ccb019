"""Checkpoints that were quantised once and are kept on disk, each with the hashes of what it was made from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from .errors import EngineError
from .shards import check_weights, weight_files

if TYPE_CHECKING:
    from .model.recode import LayerError, Smaller

log = logging.getLogger(__name__)

STAMP = "quantized_from.json"
FORMAT = 1
"""Of what is kept; another one is made anew."""


def cache_folder(source: Path, precision: str) -> Path:
    """Where the checkpoint in `source` is kept in `precision`; there may be nothing yet."""
    whole = source.resolve()
    # A hub's snapshot folder has a hash for a name, that of the model stands above.
    named = next((part for part in reversed(whole.parts) if part.startswith("models--")), whole.name)
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", named.removeprefix("models--"))[-60:]
    key = hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]
    return user_cache_path("dgemma-lsp", appauthor=False) / "quantized" / f"{slug}-{key}-{precision}"


def find_quantized(source: Path, precision: str) -> Path | None:
    """What is kept of `source` in `precision`; None when there is nothing, or it was made from other weights.

    Files of the same size and time are taken for the same; those of another time are hashed.
    """
    folder = cache_folder(source, precision)
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        if stamp.get("format") != FORMAT or stamp.get("precision") != precision:
            return None
        check_weights(folder)
        if not _is_of(stamp["shards"], source):
            log.warning("%s was made from other weights than those in %s, and is left alone", folder, source)
            return None
        return folder
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EngineError) as error:
        log.warning("%s cannot be used: %s", folder, error)
        return None


def make_quantized(
    source: Path,
    precision: Smaller,
    folder: Path | None = None,
    device: str = "cpu",
    on_layer: Callable[[LayerError], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Path:
    """Quantise `source` into its place in the cache, or into `folder`, which must be empty or not there.

    It is there as a whole or not at all. Raises `EngineError`: `checkpoint`, `request` for a folder that holds
    something, `memory` for a disk that is too full.
    """
    from .model.recode import recode

    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EngineError("request", f"{folder} is there already and not empty: name another folder")
    target = folder or cache_folder(source, precision)
    half = target.with_name(f"{target.name}.part")
    try:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        recode(source, half, precision, device, on_layer, on_progress)
        shards = [{**shard, "sha256": _sha256(source / shard["name"])} for shard in _shards(source)]
        stamp = {"format": FORMAT, "precision": precision, "source": str(source), "shards": shards}
        (half / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        half.rename(target)
    except OSError as error:
        raise EngineError("memory", f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return target


def _shards(source: Path) -> list[dict[str, Any]]:
    found = []
    for path in weight_files(source):
        about = path.stat()
        found.append({"name": path.name, "size": about.st_size, "mtime_ns": about.st_mtime_ns})
    return found


def _is_of(stamped: list[dict[str, Any]], source: Path) -> bool:
    now = _shards(source)
    if [(one["name"], one["size"]) for one in stamped] != [(one["name"], one["size"]) for one in now]:
        return False
    return all(
        old["mtime_ns"] == new["mtime_ns"] or old["sha256"] == _sha256(source / new["name"])
        for old, new in zip(stamped, now, strict=True)
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
