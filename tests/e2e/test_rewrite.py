"""`dgemma-lsp rewrite` on files, against an engine that plays a script by the real protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, Ran
from tests.fake_engine import interpreter

TEXT = "def f(a):\n    return a\n\n\nx = f(1)\n"

Rewrite = Callable[..., Ran]


@pytest.fixture
def rewrite(fresh_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rewrite:
    """Runs the command on a.py with the candidates that its engine shall write, one request after the other."""

    def run(candidates: Sequence[str], *arguments: object, text: str | bytes = TEXT) -> Ran:
        script = tmp_path / "script"
        script.write_text(json.dumps({"candidates": [[one] for one in candidates]}), encoding="utf-8")
        monkeypatch.setenv("DGEMMA_SCRIPT", str(script))
        fresh_cli.file("a.py", text)
        python = interpreter(tmp_path, "scripted")
        return fresh_cli("rewrite", "a.py", "--model", "instructed", "--engine-python", python, *arguments)

    return run


def test_it_shows_a_diff_and_writes_nothing(rewrite: Rewrite, fresh_cli: Cli):
    ran = rewrite(["def f(a: int) -> int:\n    return a\n"], "--range", "1:1-3:1", "--instruction", "add types")
    assert (ran.code, ran.err) == (0, "")
    assert "-def f(a):\n+def f(a: int) -> int:\n     return a\n" in ran.out
    assert (fresh_cli.folder / "a.py").read_text() == TEXT


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_what_it_writes_is_the_selection_and_nothing_else(rewrite: Rewrite, fresh_cli: Cli, newline: str):
    text = "\ufeff" + TEXT.replace("\n", newline).replace("    ", "\t")
    options = ("--range", "2:1-3:1", "--instruction", "go on", "--write")
    ran = rewrite(["if a:\n    return a\nreturn 1\n"], *options, text=text.encode())
    assert ran.code == 0
    expected = text.replace(f"\treturn a{newline}", f"\tif a:{newline}\t\treturn a{newline}\treturn 1{newline}")
    assert (fresh_cli.folder / "a.py").read_bytes() == expected.encode()
    assert ran.err == "a.py written\n"


def test_for_programs(rewrite: Rewrite):
    ran = rewrite(["x = g(1)\n"], "--range", "5:1-6:1", "--instruction", "go on", "--json")
    told = json.loads(ran.out)
    assert (told["outcome"], told["written"], told["passes"]) == ("previewed", False, 2)
    start = TEXT.index("x = f(1)")
    assert told["hunks"] == [{"start": start, "end": len(TEXT), "text": "x = g(1)\n"}]


@pytest.mark.parametrize(
    ("candidates", "instruction", "message"),
    [
        (["x = (1\n", "x = ((1\n"], "go on", "broken the syntax"),
        ([" \n"], "go on", "nothing to add"),
        (["x = 2\n"], " ", "nothing was said"),
    ],
)
def test_without_a_result_it_says_why(rewrite: Rewrite, candidates: list[str], instruction: str, message: str):
    ran = rewrite(candidates, "--range", "5:1-6:1", "--instruction", instruction)
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err


def test_what_is_as_it_should_be_is_no_failure(rewrite: Rewrite):
    ran = rewrite(["x = f(1)\n"], "--range", "5:1-6:1", "--instruction", "go on")
    assert (ran.code, ran.out) == (0, "")
    assert "leaves the selection as it is" in ran.err


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("1:1", "is no range"),
        ("3:1-1:1", "ends before it begins"),
        ("1:1-1:1", "is empty"),
        ("1:1-99:1", "is outside of a.py"),
        ("0:1-2:1", "0:1"),
        ("a-b", "a"),
    ],
)
def test_ranges_that_make_no_sense(rewrite: Rewrite, fresh_cli: Cli, place: str, message: str):
    ran = rewrite(["x\n"], "--range", place, "--instruction", "go on")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert message in ran.err
    # Nothing was started for it.
    assert fresh_cli.home.left() == []


def test_nano_follows_no_instructions(cli: Cli):
    cli.file("a.py", TEXT)
    ran = cli("rewrite", "a.py", "--range", "1:1-3:1", "--instruction", "simplify")
    assert (ran.code, ran.out) == (1, "")
    assert "nano follows no instructions" in ran.err
    assert "google/diffusiongemma-26B-A4B-it" in ran.err
