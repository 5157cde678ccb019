"""The checkpoints that come with the package. Looks at files only: torch stays out."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import attrs

BUNDLED = ("nano",)
"""Names of the checkpoint folders in the engine package."""

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json")


@attrs.frozen
class Checkpoint:
    """A bundled checkpoint; `problem` says why it cannot be used, if so."""

    name: str
    folder: Path
    size: int
    """Bytes of its weights, 0 when there are none."""
    problem: str | None


def package_folder() -> Path:
    """Where the engine package lies; finding it imports nothing of it that is heavy."""
    spec = importlib.util.find_spec("dgemma_engine")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def bundled() -> list[Checkpoint]:
    """What the installed engine package carries, complete or not."""
    package = package_folder()
    return [_inspected(name, package / name) for name in BUNDLED]


def megabytes(size: float) -> str:
    """A size in bytes for people."""
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def sha256(checkpoint: Checkpoint) -> str:
    """Of the weights, as `sha256sum` prints it."""
    with (checkpoint.folder / "model.safetensors").open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _inspected(name: str, folder: Path) -> Checkpoint:
    weights = folder / "model.safetensors"
    missing = [file for file in FILES if not (folder / file).is_file()]
    size = 0 if "model.safetensors" in missing else weights.stat().st_size
    problem = f"{', '.join(missing)} missing" if missing else _cut(weights, size)
    return Checkpoint(name, folder, size, problem)


def _cut(weights: Path, size: int) -> str | None:
    """What is wrong with the length of a safetensors file: 8 bytes of header length, header, tensors."""
    with weights.open("rb") as stream:
        header_size = int.from_bytes(stream.read(8), "little")
        if not 0 < header_size <= size - 8:
            return "model.safetensors is no safetensors file (a large-file pointer of a partial checkout?)"
        try:
            header = json.loads(stream.read(header_size))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + header_size + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError):
            return "the header of model.safetensors is broken"
    return None if expected == size else f"model.safetensors has {size} bytes, its header wants {expected}"
