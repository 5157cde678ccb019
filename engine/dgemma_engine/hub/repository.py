"""A model repository on the hub: licence, size, and the files of it that are needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import frozen

from ..checkpoints import ADAPTER_CONFIG, hub_folder
from ..errors import EngineError
from ..shards import INDEX, PICKLES, SINGLE

CONFIGS = (
    "config.json",
    ADAPTER_CONFIG,
    "generation_config.json",
    "hf_quant_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    INDEX,
)
"""Read first: what cannot be run is known before the weights come."""
_WEIGHTS = re.compile(r"(model(-\d+-of-\d+)?|adapter_model)\.safetensors")


@frozen
class File:
    """`sha256` is known of large files, None of those that git holds itself."""

    name: str
    size: int
    sha256: str | None


@frozen
class Repository:
    """One revision, `commit`, of `hub_id`; `gated` tells whether its licence has to be accepted on its page."""

    hub_id: str
    commit: str
    licence: str
    gated: bool
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> Path:
        """Its place in the hub's cache."""
        return hub_folder() / f"models--{self.hub_id.replace('/', '--')}"

    @property
    def snapshot(self) -> Path:
        return self.folder / "snapshots" / self.commit

    def partial(self, file: File) -> Path:
        """What of a large file is here so far."""
        return self.folder / "blobs" / f"{file.sha256}.incomplete"

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        left = 0
        for file in self.files:
            if not (self.snapshot / file.name).exists() and not (self.folder / "blobs" / f"{file.sha256}").exists():
                partial = self.partial(file)
                left += file.size - (min(file.size, partial.stat().st_size) if partial.exists() else 0)
        return left


def look(hub_id: str, commit: str | None = None) -> Repository:
    """What the hub says of a model, by default of its newest revision. Raises what `refusals.explained` explains."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(hub_id, revision=commit, files_metadata=True, timeout=20)
    siblings = {one.rfilename: one for one in info.siblings or ()}
    names = [name for name in CONFIGS if name in siblings]
    weights = sorted(name for name in siblings if _WEIGHTS.fullmatch(name))
    if INDEX in siblings:
        weights = [name for name in weights if name != SINGLE]
    if not weights:
        raise EngineError("checkpoint", f"{hub_id} {_instead(siblings)}: name a repository with *.safetensors")
    files = [_file(siblings[name]) for name in (*names, *weights)]
    assert info.sha is not None
    return Repository(hub_id, info.sha, _licence(info), bool(info.gated), tuple(files))


def _file(sibling: Any) -> File:
    sha256 = None if sibling.lfs is None else sibling.lfs.sha256
    return File(sibling.rfilename, sibling.size or 0, sha256)


def _licence(info: Any) -> str:
    card = info.card_data
    named = None if card is None else card.get("license_name") or card.get("license")
    tagged = next((tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:")), None)
    link = None if card is None else card.get("license_link")
    name = str(named or tagged or "none is named")
    return f"{name} ({link})" if link else name


def _instead(siblings: dict[str, Any]) -> str:
    pickles = [name for name in siblings if any(Path(name).match(pattern) for pattern in PICKLES)]
    if pickles:
        return f"has only {pickles[0]}, a pickle that can run code, which is never loaded"
    if any(name.endswith(".gguf") for name in siblings):
        return "has only GGUF files, which this engine does not run"
    return "has no weights"
