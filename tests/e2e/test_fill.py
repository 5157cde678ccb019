"""`dgemma-lsp` on the real engine: random weights where only the behaviour counts, nano where it is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dgemma_engine.checkpoints import INSTRUCTED
from dgemma_engine.wire import Hole, MaskedText
from dgemma_lsp import models
from dgemma_lsp.engine_client.blocking import BlockingEngine
from dgemma_lsp.engine_client.errors import EngineError
from dgemma_lsp.text.lines import offset_at, parse_position
from tests.e2e.conftest import COMMAND, Cli

EXAMPLES = Path(__file__).parents[2] / "examples"
DEMO = re.findall(r"^fill (\S+) (\d+:\d+)", (EXAMPLES / "demo.sh").read_text(), re.MULTILINE)

nano = models.bundled()[0]

SOURCE = "def mean(values):\n    return sum(values) / len(values\n\n\nprint(mean([1, 2, 3]))\n"


def test_a_fill_keeps_every_pinned_byte_and_repeats_with_its_seed(cli: Cli, tiny_checkpoint: Path):
    content = b"\xef\xbb\xbf" + SOURCE.replace("\n", "\r\n").encode()
    path = cli.file("f.py", content)
    options = ["--at", "2:36", "--model", tiny_checkpoint, "--max-tokens", 6, "--passes", 3, "--seed", 11]
    first = json.loads(cli("fill", path, *options, "--json").out)
    again = json.loads(cli("fill", path, *options, "--json", "--write").out)
    assert again["candidates"] == first["candidates"]
    assert (first["seed"], first["candidates"][0]["passes"]) == (11, first["candidates"][0]["passes"])
    assert 1 <= first["candidates"][0]["passes"] <= 3
    assert first["ms"].keys() >= {"load", "prefill", "passes", "total"}
    at = content.index(b"len(values") + len(b"len(values")
    assert path.read_bytes() == content[:at] + first["text"].encode() + content[at:]


@pytest.mark.parametrize("length", ["auto", "elastic", "probe", "exact"])
def test_every_length_policy_fills_or_says_why_not(cli: Cli, tiny_checkpoint: Path, length: str):
    cli.file("f.py", SOURCE)
    ran = cli(
        "fill",
        "f.py",
        "--at",
        "2:36",
        "--model",
        tiny_checkpoint,
        "--length",
        length,
        "--passes",
        2,
        "--json",
    )
    assert ran.code in (0, 2)
    assert (ran.out == "") == (ran.code == 2)
    if ran.code == 2:
        assert re.fullmatch(r"error: .*\n", ran.err)


def test_candidates_come_best_first(cli: Cli, tiny_checkpoint: Path):
    cli.file("f.py", SOURCE)
    ran = cli("fill", "f.py", "--at", "2:36", "--model", tiny_checkpoint, "--passes", 2, "--candidates", 3, "--json")
    answer = json.loads(ran.out)
    scores = [candidate["score"] for candidate in answer["candidates"] if candidate["score"] is not None]
    assert scores == sorted(scores, reverse=True)
    assert 1 <= len(answer["candidates"]) <= 3
    assert answer["text"] == answer["candidates"][0]["text"]


def test_a_deadline_ends_a_fill_with_what_there_is(cli: Cli, tiny_checkpoint: Path):
    cli.file("f.py", SOURCE)
    options = ["--model", tiny_checkpoint, "--deadline", 1, "--passes", 1000, "--json"]
    answer = json.loads(cli("fill", "f.py", "--at", "2:36", *options).out)
    assert answer["candidates"][0]["finish"] in ("deadline", "converged")


def test_a_large_file_is_filled_through_its_window(cli: Cli, tiny_checkpoint: Path):
    cli.file("large.py", "value = 1  # line\n" * 200_000)
    ran = cli("fill", "large.py", "--at", "199000:8", "--model", tiny_checkpoint, "--passes", 1, "--json")
    assert (ran.code, ran.err) == (0, "")


def broken(folder: Path, how: str) -> None:
    """Damages a good checkpoint."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    if how == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif how == "garbage weights":
        weights.write_bytes(b"\xff" * 4096)
    elif how == "empty weights":
        weights.write_bytes(b"")
    elif how == "pickled weights":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "no weights":
        weights.unlink()
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif how == "no config":
        config.unlink()
    elif how == "garbage config":
        config.write_text("{")
    elif how == "another model":
        config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "llama"}))
    elif how == "nothing":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "missing":
        shutil.rmtree(folder)
    else:
        raise AssertionError(how)


@pytest.mark.parametrize("how", ["truncated weights", "another model", "nothing", "missing"])
def test_a_checkpoint_that_is_none_is_one_line_and_nothing_is_written(cli: Cli, tiny_checkpoint: Path, how: str):
    folder = cli.folder / "model"
    shutil.copytree(tiny_checkpoint, folder)
    broken(folder, how)
    path = cli.file("f.py", SOURCE)
    ran = cli("fill", "f.py", "--at", "2:36", "--model", "./model", "--write")
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"error: .*\n", ran.err), ran.err
    assert path.read_text() == SOURCE


def test_every_damage_to_a_checkpoint_is_named_and_the_engine_lives(in_home, tmp_path: Path, tiny_checkpoint: Path):
    text = MaskedText(("a", Hole(1)))
    with BlockingEngine() as engine:
        for how in (
            "garbage weights",
            "empty weights",
            "pickled weights",
            "no weights",
            "no tokenizer",
            "no config",
            "garbage config",
        ):
            folder = tmp_path / how.replace(" ", "-")
            shutil.copytree(tiny_checkpoint, folder)
            broken(folder, how)
            with pytest.raises(EngineError) as caught:
                engine.fill(text, model=str(folder))
            assert (how, caught.value.code) == (how, "checkpoint")
            assert str(folder) in str(caught.value)
        assert engine.fill(text, model=str(tiny_checkpoint), passes=1).candidates


def test_a_model_nobody_knows_is_one_line(cli: Cli):
    cli.file("f.py", SOURCE)
    ran = cli("fill", "f.py", "--at", "2:36", "--model", "no-such-model")
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"error: .*no-such-model.*\n", ran.err)


@pytest.mark.parametrize(("name", "at"), DEMO)
def test_the_demo_points_into_its_files(name: str, at: str):
    text = (EXAMPLES / name).read_bytes().decode()
    assert 0 < offset_at(text, parse_position(at)) < len(text)


def test_the_crlf_example_has_crlf_line_ends():
    content = (EXAMPLES / "crlf_config.py").read_bytes()
    assert content.count(b"\r\n") == content.count(b"\n") > 5


def test_nano_is_listed(cli: Cli):
    (listed,) = json.loads(cli("model", "list", "--json").out)
    assert listed == {
        "name": "nano",
        "source": "bundled",
        "folder": str(nano.folder),
        "bytes": nano.size,
        "problem": None,
        "chosen": True,
    }
    plain = cli("model", "list")
    assert (plain.code, plain.out.split()[0]) == (0, "nano")


def test_doctor_finds_a_sound_installation(cli: Cli):
    ran = cli("doctor", "--json")
    findings = json.loads(ran.out)
    assert [finding["name"] for finding in findings if not finding["ok"]] == []
    assert ran.code == 0
    named = {finding["name"]: finding for finding in findings}
    assert set(named) >= {"python", "engine packages", "nano", "fill", "devices", "rates"}
    assert [device["used"] for device in named["devices"]["data"]].count(True) == 1
    for name, model in (("released model", INSTRUCTED), ("chosen model", "nano")):
        data = named[name]["data"]
        assert data["name"] == model
        assert set(data) >= {"precision", "window", "reason", "advice", "context"}
        assert [row["precision"] for row in data["precisions"]] == ["bf16", "fp8", "int4"]
        for row in data["precisions"]:
            assert set(row) == {"precision", "weights", "peak", "fits", "window", "ms"}
    assert named["chosen model"]["data"]["precision"] == "bf16"


def test_doctor_shows_a_table_and_names_a_choice_that_is_gone(fresh_cli: Cli):
    shown = fresh_cli("doctor")
    assert shown.code == 0
    assert re.search(r"precision +weights +peak +window +canvas 64 +canvas 128 +canvas 256", shown.out)
    assert re.search(r"int4 +15\.3 GB +17\.5 GB", shown.out)
    config = fresh_cli.home.folder / "config" / "dgemma-lsp"
    config.mkdir(parents=True)
    (config / "model.json").write_text(json.dumps({"model": "someone/gone"}))
    ran = fresh_cli("doctor", "--json")
    (wrong,) = [finding for finding in json.loads(ran.out) if not finding["ok"]]
    assert (ran.code, wrong["name"]) == (1, "chosen model")
    assert "run dgemma-lsp model use someone/gone" in wrong["detail"]


def test_the_demo_fills_every_example_and_changes_none(cli: Cli):
    before = {path.name: path.read_bytes() for path in EXAMPLES.iterdir()}
    env = cli.home.environment
    ran = subprocess.run(
        ["bash", EXAMPLES / "demo.sh"],
        env={**env, "PATH": f"{COMMAND.parent}:{env['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert ran.stdout.count("$ dgemma-lsp fill") == len(DEMO)
    assert ran.stdout.count("pass 1/") >= len(DEMO)
    assert {path.name: path.read_bytes() for path in EXAMPLES.iterdir()} == before
