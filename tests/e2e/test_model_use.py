"""`dgemma-lsp model use`, against a hub on this machine and the hub's real client."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dgemma_engine.hub.download import CHUNK
from tests.engine.checkpoints import shard
from tests.fake_hub import COMMIT, FakeHub, Repo

from .conftest import COMMAND, Cli, Ran
from .editor import editor, played

ID = "someone/tiny-diffusion-gemma"
FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    hub = FakeHub()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    hub.close()


@pytest.fixture(scope="session")
def sharded(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shard(tiny_checkpoint, tmp_path_factory.mktemp("sharded") / "tiny")
    (folder / "README.md").write_text("# A model\n")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    return folder


@pytest.fixture
def repo(hub: FakeHub, sharded: Path) -> Repo:
    hub.repos[ID] = Repo.of(sharded)
    return hub.repos[ID]


def refused(ran: Ran) -> str:
    """The one line that a refusal is."""
    assert ran.code == 2, ran
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    return ran.err


def listed(cli: Cli) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(cli("model", "list", "--json").out)}


def chosen(cli: Cli) -> str:
    (name,) = [name for name, one in listed(cli).items() if one["chosen"]]
    return name


def test_a_model_is_downloaded_chosen_filled_with_and_left(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    ran = fresh_cli("model", "use", ID, "--yes")
    assert ran.code == 0, ran
    needed = {name: content for name, content in repo.files.items() if name not in ("README.md", "pytorch_model.bin")}
    size = f"{sum(map(len, needed.values())) / 1e6:.1f} MB"
    assert ran.out.startswith(f"{ID}: licence apache-2.0\n{size} into {fresh_cli.home.folder}/hub/hub\n")
    assert "it runs in bf16" in ran.out
    assert f"{ID} is used from now on" in ran.out
    assert {one.name for one in hub.served} == set(needed)
    snapshot = fresh_cli.home.folder / "hub" / "hub" / "models--someone--tiny-diffusion-gemma" / "snapshots" / COMMIT
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == needed

    asked = len(hub.requests)
    fresh_cli.file("f.py", "x = 1\n")
    filled = json.loads(fresh_cli("fill", "f.py", "--at", "1:6", "--json", "--seed", "1").out)
    assert filled["model"] == ID
    status = json.loads(fresh_cli("engine", "status", "--json").out)
    assert [model["name"] for model in status["models"]] == [ID]
    assert chosen(fresh_cli) == ID
    entry = listed(fresh_cli)[ID]
    assert (entry["source"], entry["problem"], entry["folder"]) == ("hub", None, str(snapshot))
    assert fresh_cli("model", "use", "nano").code == 0
    assert chosen(fresh_cli) == "nano"
    again = fresh_cli("model", "use", f"{ID}@int4", "--json")
    assert json.loads(again.out)["precision"] == "int4"
    assert len(hub.requests) == asked, "what is here is used without a network"


def test_nothing_is_downloaded_unasked(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    said = refused(fresh_cli("model", "use", ID))
    assert "licence apache-2.0" in said
    assert "--yes" in said
    assert {one.name for one in hub.served} <= {"config.json"}
    assert f"run dgemma-lsp model use {ID}" in refused(
        fresh_cli("fill", fresh_cli.file("f.py", "x"), "--at", "1:1", "--model", ID)
    )


def test_a_cut_connection_is_taken_up_at_the_byte(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    hub.cut[SECOND] = 100_000
    assert fresh_cli("model", "use", ID, "--yes").code == 0
    served = hub.of(SECOND)
    assert [one.start for one in served] == [0, CHUNK]
    assert served[1].start + served[1].sent == len(repo.files[SECOND])


def test_an_interrupted_download_goes_on_where_it_stopped(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    hub.stall[SECOND] = 150_000
    process = subprocess.Popen(
        [COMMAND, "model", "use", ID, "--yes"],
        env=fresh_cli.home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert hub.stalled.wait(60)
    blobs = fresh_cli.home.folder / "hub" / "hub" / "models--someone--tiny-diffusion-gemma" / "blobs"
    while [path.stat().st_size for path in blobs.glob("*.incomplete")] != [2 * CHUNK]:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"the same command goes on with it" in err
    assert chosen(fresh_cli) == "nano"
    assert listed(fresh_cli)[ID]["problem"] is not None
    hub.stall.clear()
    hub.served.clear()
    assert fresh_cli("model", "use", ID, "--yes").code == 0
    assert hub.of(FIRST) == [], "what was there is not got again"
    (rest,) = hub.of(SECOND)
    assert rest.start == 2 * CHUNK
    assert rest.start + rest.sent == len(repo.files[SECOND])
    assert chosen(fresh_cli) == ID


def test_a_gated_model_takes_a_token_that_only_the_hub_sees(
    fresh_cli: Cli, hub: FakeHub, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.gated, repo.token = True, "good"
    for token in (None, "other"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        said = refused(_with_token(fresh_cli, token))
        assert f"accept its licence on {hub.url}/{ID}, and set HF_TOKEN" in said
    assert _with_token(fresh_cli, "good").code == 0
    large = [one for one in hub.served if one.name.endswith(".safetensors")]
    assert {one.token for one in large} == {None}
    assert {one.token for one in hub.served if one not in large} == {"good"}


def _with_token(cli: Cli, token: str | None) -> Ran:
    environment = {**cli.home.environment, **({"HF_TOKEN": token} if token else {})}
    ran = subprocess.run(
        [COMMAND, "model", "use", ID, "--yes"], env=environment, capture_output=True, text=True, timeout=120
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_a_token_that_is_not_valid_any_more(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    said = refused(_with_token(fresh_cli, "revoked"))
    assert f"make a new one on {hub.url}/settings/tokens" in said
    assert "revoked" not in said


def only(*names: str) -> Any:
    return lambda repo: [repo.files.pop(name) for name in list(repo.files) if name not in names]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (only("config.json", "pytorch_model.bin"), "has only pytorch_model.bin, a pickle that can run code"),
        (lambda repo: only("config.json")(repo) and repo.files.update({"m.gguf": b""}), "has only GGUF files"),
        (only("README.md"), "has no weights"),
        (lambda repo: repo.files.update({"config.json": b'{"model_type": "llama"}'}), "model_type is 'llama'"),
        (lambda repo: repo.files.update({"config.json": b"{"}), "cannot be read"),
        (lambda repo: repo.files.pop(SECOND), f"lacks {SECOND} of 2 shards"),
        (lambda repo: repo.files.pop("tokenizer.json"), "has no tokenizer.json"),
        (lambda repo: repo.files.update({SECOND: repo.files[SECOND][:-9]}), "its header promises"),
        (lambda repo: setattr(repo, "token", "good"), "or it is private: check the spelling, or set HF_TOKEN"),
    ],
    ids=["pickle", "gguf", "nothing", "another model", "no config", "no shard", "no tokenizer", "cut", "private"],
)
def test_what_cannot_be_used_is_refused(fresh_cli: Cli, hub: FakeHub, repo: Repo, change: Any, said: str) -> None:
    change(repo)
    assert said in refused(fresh_cli("model", "use", ID, "--yes"))
    assert chosen(fresh_cli) == "nano"


def test_a_shard_with_a_wrong_hash_is_thrown_away(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    hub.corrupt.add(SECOND)
    assert f"{SECOND} of {ID} came with a wrong sha256" in refused(fresh_cli("model", "use", ID, "--yes"))
    hub.corrupt.clear()
    hub.served.clear()
    assert fresh_cli("model", "use", ID, "--yes").code == 0
    assert [one.start for one in hub.of(SECOND)] == [0]


def test_a_shard_that_was_damaged_here_comes_again(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    assert fresh_cli("model", "use", ID, "--yes").code == 0
    path = Path(listed(fresh_cli)[ID]["folder"]) / FIRST
    path.resolve().write_bytes(path.read_bytes()[:-1])
    assert "its header promises" in listed(fresh_cli)[ID]["problem"]
    hub.served.clear()
    assert fresh_cli("model", "use", ID, "--yes").code == 0
    assert [(one.name, one.start) for one in hub.served] == [(FIRST, 0)]


def test_the_hub_is_not_there(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    assert "there is no no/body on the hub" in refused(fresh_cli("model", "use", "no/body", "--yes"))
    hub.status = 503
    assert "the hub answers 503: call again later" in refused(fresh_cli("model", "use", ID, "--yes"))
    hub.close()
    assert f"{hub.url} cannot be reached: check the network" in refused(fresh_cli("model", "use", ID, "--yes"))


def test_a_newer_revision_comes_when_it_is_asked_for(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    assert fresh_cli("model", "use", ID, "--yes").code == 0
    repo.commit = "cd" * 20
    repo.files["generation_config.json"] += b"\n"
    hub.served.clear()
    hub.cut[SECOND] = 0
    assert fresh_cli("model", "use", ID, "--yes", "--update").code == 0
    assert not [one for one in hub.served if one.name.endswith(".safetensors")], "the same shards are not got again"
    assert listed(fresh_cli)[ID]["folder"].endswith(repo.commit)


# Folders.


def test_a_folder_is_checked_and_chosen_wherever_it_is_asked_from(fresh_cli: Cli, sharded: Path) -> None:
    shutil.copytree(sharded, fresh_cli.folder / "mine")
    ran = fresh_cli("model", "use", "mine")
    assert ran.code == 0, ran
    folder = str(fresh_cli.folder / "mine")
    assert chosen(fresh_cli) == folder
    fresh_cli.file("f.py", "x = 1\n")
    named = {"model": json.loads(fresh_cli("fill", "f.py", "--at", "1:6", "--json").out)["model"]}
    assert named == {"model": folder}
    config = fresh_cli.home.folder / "config" / "dgemma-lsp"
    (config / "settings.json").write_text('{"model": "nano"}')
    assert json.loads(fresh_cli("fill", "f.py", "--at", "1:6", "--json").out)["model"] == "nano"
    (config / "settings.json").unlink()
    (config / "model.json").write_text("{")
    assert "choose again with dgemma-lsp model use" in refused(fresh_cli("fill", "f.py", "--at", "1:6"))
    assert fresh_cli("model", "use", "nano").code == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / FIRST).unlink(), f"lacks {FIRST} of 2 shards"),
        (lambda folder: (folder / FIRST).write_bytes((folder / FIRST).read_bytes()[:-1]), "its header promises"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (shutil.rmtree, "no checkpoint at"),
    ],
)
def test_a_folder_that_is_not_whole_is_not_chosen(fresh_cli: Cli, sharded: Path, damage: Any, said: str) -> None:
    damage(Path(shutil.copytree(sharded, fresh_cli.folder / "mine")))
    assert said in refused(fresh_cli("model", "use", "./mine"))
    assert chosen(fresh_cli) == "nano"


def test_an_adapter_without_its_base_says_how_to_get_it(fresh_cli: Cli, hub: FakeHub, repo: Repo) -> None:
    from safetensors.numpy import save

    config = json.dumps({"peft_type": "LORA", "base_model_name_or_path": ID}).encode()
    hub.repos["someone/adapter"] = Repo({"adapter_config.json": config, "adapter_model.safetensors": save({})})
    said = refused(fresh_cli("model", "use", "someone/adapter", "--yes"))
    assert f"someone/adapter is an adapter of {ID}: {ID} is not on this machine: run dgemma-lsp model use {ID}" in said
    assert fresh_cli("model", "use", ID, "--yes").code == 0
    checked = json.loads(fresh_cli("model", "use", "someone/adapter", "--json").out)
    assert checked["adapter"].endswith(COMMIT)
    assert "tiny-diffusion-gemma" in checked["folder"]
    assert chosen(fresh_cli) == "someone/adapter"


# In editors.


@played
async def test_an_editor_uses_what_was_chosen(fresh_cli: Cli, tiny_checkpoint: Path) -> None:
    config = fresh_cli.home.folder / "config" / "dgemma-lsp"
    config.mkdir(parents=True)
    (config / "model.json").write_text(json.dumps({"model": str(tiny_checkpoint)}))
    async with editor(fresh_cli.home.environment) as one:
        assert (await one.ready())["model"] == str(tiny_checkpoint)
    async with editor(fresh_cli.home.environment, model="nano") as one:
        assert (await one.ready())["model"] == "nano"
    (config / "model.json").write_text("{")
    async with editor(fresh_cli.home.environment) as one:
        said = await one.notification("window/showMessage")
        assert "choose again with dgemma-lsp model use" in said["message"]
        assert (await one.ready())["model"] == "nano"
