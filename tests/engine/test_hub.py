"""A download from a hub on this machine: what is said before it begins, and who may not begin."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import WeakFileLock

from dgemma_engine import residents
from dgemma_engine.errors import EngineError
from dgemma_engine.footprint import Footprint
from dgemma_engine.hub import __main__ as tool
from dgemma_engine.hub.download import SPARE, download
from dgemma_engine.hub.refusals import explained
from dgemma_engine.hub.repository import File, Repository
from dgemma_engine.model.config import parse_config
from dgemma_engine.released import released_config
from dgemma_engine.wire import ModelName

GB = 10**9


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Something that is never asked for: nobody answers."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return Repository("a/b", "0" * 40, "apache-2.0", False, (File("model.safetensors", 50 * GB, "ab" * 32),))


def free_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))


def refusal(repository: Repository) -> EngineError:
    with pytest.raises(EngineError) as caught:
        download(repository)
    return caught.value


def test_a_full_disk_is_said_before_anything_comes(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    free_disk(monkeypatch, 20 * GB)
    error = refusal(repository)
    assert error.code == "disk"
    assert "a/b takes 50.0 GB more" in str(error)
    assert "20.0 GB free: make room, or set HF_HOME" in str(error)


def test_what_is_here_already_needs_no_room(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = repository.partial(repository.files[0])
    partial.parent.mkdir(parents=True)
    with partial.open("wb") as stream:
        os.truncate(stream.fileno(), 49 * GB)
    assert repository.missing == 1 * GB
    free_disk(monkeypatch, 1 * GB + SPARE - 1)
    assert refusal(repository).code == "disk"
    partial.with_suffix("").touch()
    assert repository.missing == 0


def test_two_downloads_of_a_model_do_not_mix(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    free_disk(monkeypatch, 100 * GB)
    locks = Path(constants.HF_HUB_CACHE) / ".locks" / "models--a--b"
    locks.mkdir(parents=True)
    with WeakFileLock(locks / "dgemma.lock"):
        error = refusal(repository)
    assert (error.code, str(error)) == ("busy", "a/b is being downloaded already: wait for that")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "the disk is full: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "/cache"), "disk", "/cache: Permission denied"),
        (ConnectionResetError(), "hub", "cannot be reached"),
        (TimeoutError(), "hub", "cannot be reached"),
        (EngineError("checkpoint", "as it is"), "checkpoint", "as it is"),
    ],
)
def test_what_goes_wrong_is_one_line(error: Exception, code: str, said: str) -> None:
    line = explained(error, "a/b")
    assert isinstance(line, EngineError)
    assert line.code == code
    assert said in str(line)
    assert "\n" not in str(line)


def test_a_bug_stays_a_bug() -> None:
    assert isinstance(explained(KeyError("a"), "a/b"), KeyError)


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: asked.append("info"))
    return asked


def test_what_is_here_is_listed_without_a_network(
    repository: Repository, listing: list[str], tiny_checkpoint: Path
) -> None:
    for hub_id, source in (("x/whole", tiny_checkpoint), ("x/other", None)):
        kept = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
        snapshot = kept / "snapshots" / ("0" * 40)
        if source is None:
            snapshot.mkdir(parents=True)
            (snapshot / "config.json").write_text('{"model_type": "llama"}')
        else:
            shutil.copytree(source, snapshot)
        (kept / "refs").mkdir()
        (kept / "refs" / "main").write_text("0" * 40)
    (found,) = tool.list_downloads()
    assert (found["name"], found["problem"]) == ("x/whole", None)
    assert listing == []


@pytest.mark.parametrize(
    ("name", "free", "fits", "said"),
    [
        ("a/b", 80e9, "bf16", "bf16: 52.7 GB of 80.0 GB free with a window of 8192 tokens"),
        ("a/b", 24e9, "int4", "int4: 17.5 GB of 24.0 GB free"),
        ("a/b@fp8", 80e9, "fp8", "fp8: 28.2 GB"),
        ("a/b@bf16", 24e9, None, "27.1 GB too little; int4 would fit"),
        ("a/b", 8e9, None, "int4 needs"),
    ],
)
def test_the_precision_is_said_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, free: float, fits: str | None, said: str
) -> None:
    monkeypatch.setattr(residents, "free_memory", lambda: free)
    fit = tool._fit(ModelName.parse(name), Footprint(parse_config(released_config())))
    assert (fit["precision"], fit["fits"]) == (fits, fits is not None)
    assert said in fit["reason"]
