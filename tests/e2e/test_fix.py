"""`dgemma-lsp fix` on files: what is shown, what is written, and what the exit code says of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli

ROOT = Path(__file__).parents[2]

CLEAN = '{\n  "name": "demo",\n  "files": [\n    "a",\n    "b"\n  ],\n  "private": true\n}\n'
BROKEN = CLEAN.replace('"demo",', '"demo"')
HOPELESS = '{"a": 1 2 3 ] } "x" : {{{ , ]\n'
README = "# Demo\n\nRun it:\n\n```sh\nmake demo\n```\n\nThen look at the result. It is a page.\n\n## More\n\nText.\n"
OPEN_FENCE = README.replace("make demo\n```\n", "make demo\n")


def test_by_default_it_shows_what_it_would_do(cli: Cli):
    path = cli.file("a.json", BROKEN)
    ran = cli("fix", "a.json")
    assert ran.code == 1
    assert re.match(r"a\.json:\d+:\d+: .+\n--- a/a\.json\n\+\+\+ b/a\.json\n@@ ", ran.out)
    assert '-  "name": "demo"\n+  "name": "demo",\n' in ran.out
    assert ran.err == "1 file: 1 would be repaired, 0 in order\n"
    assert path.read_text() == BROKEN


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
def test_what_it_shows_can_be_applied(cli: Cli):
    cli.file("a.json", BROKEN)
    cli.file("b.md", OPEN_FENCE)
    subprocess.run(["patch", "-p1", "--quiet"], input=cli("fix", ".").out, text=True, cwd=cli.folder, check=True)
    assert (cli.folder / "a.json").read_text() == CLEAN
    assert (cli.folder / "b.md").read_text() == README


def test_check_names_and_write_repairs(cli: Cli):
    path = cli.file("a.json", BROKEN)
    ran = cli("fix", "--check", "a.json")
    assert (ran.code, ran.out.splitlines()[-1]) == (1, "a.json: would be repaired")
    assert "@@" not in ran.out
    ran = cli("fix", "--write", "a.json")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "a.json: repaired")
    assert path.read_text() == CLEAN
    ran = cli("fix", "--write", "a.json")
    assert (ran.code, ran.out, ran.err) == (0, "", "1 file: 1 in order\n")
    path.write_text(BROKEN)
    ran = cli("fix", "--write", "--diff", "a.json")
    assert (ran.code, "@@" in ran.out) == (0, True)


def test_what_is_not_clear_stays_as_it_is(cli: Cli):
    path = cli.file("a.json", HOPELESS)
    for options in ([], ["--check"], ["--write"]):
        ran = cli("fix", *options, "a.json")
        assert ran.code == 1
        assert "a.json: left alone: " in ran.out
    assert path.read_text() == HOPELESS


ENDS = {"lf": ("\n", b""), "crlf": ("\r\n", b""), "bom": ("\n", b"\xef\xbb\xbf"), "both": ("\r\n", b"\xef\xbb\xbf")}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize(("name", "broken", "whole"), [("a.json", BROKEN, CLEAN), ("a.md", OPEN_FENCE, README)])
def test_bytes_are_kept(cli: Cli, how: str, name: str, broken: str, whole: str):
    end, mark = ENDS[how]
    path = cli.file(name, mark + broken.replace("\n", end).encode())
    path.chmod(0o640)
    assert cli("fix", "--write", name).code == 0
    assert path.read_bytes() == mark + whole.replace("\n", end).encode()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_bad_file_is_an_error_and_the_others_are_repaired(cli: Cli):
    cli.file("a.json", BROKEN)
    bad = {"latin.json": b'{"a": "\xe9"', "binary.md": b"# \0", "wide.json": "{".encode("utf-16")}
    for name, content in bad.items():
        cli.file(name, content)
    cli.file("z.md", OPEN_FENCE)
    ran = cli("fix", "--write", ".", "nowhere.json")
    assert ran.code == 2
    assert (cli.folder / "a.json").read_text() == CLEAN
    assert (cli.folder / "z.md").read_text() == README
    for name, content in bad.items():
        assert (cli.folder / name).read_bytes() == content
        assert re.search(rf"^error: {name} .+$", ran.err, re.MULTILINE)
    assert "error: nowhere.json does not exist; check the path\n" in ran.err


def test_what_is_left_is_said_and_no_error(cli: Cli):
    cli.file("a.json", CLEAN)
    cli.file("secrets.json", BROKEN)
    cli.file("big.json", b"[" + b"1," * (5 << 19))
    (cli.folder / "link.json").symlink_to("secrets.json")
    ran = cli("fix", ".")
    assert (ran.code, ran.out) == (0, "")
    assert [line.split()[:3] for line in ran.err.splitlines()[:-1]] == [
        ["left", "alone:", name] for name in ("big.json", "link.json", "secrets.json")
    ]
    assert ran.err.endswith("1 file: 1 in order\n")


def test_comments_are_legal_where_the_name_says_so(cli: Cli):
    text = '{\n  // a comment\n  "a": 1\n}\n'
    for name in ("tsconfig.json", "a.jsonc"):
        cli.file(name, text)
    ran = cli("fix", ".")
    assert (ran.code, ran.out) == (0, "")
    cli.file("a.json", text)
    ran = cli("fix", ".")
    assert ran.code == 1
    assert ran.out.startswith("a.json:2:")


def test_for_programs(cli: Cli):
    cli.file("a.json", BROKEN)
    cli.file("b.json", HOPELESS)
    cli.file("c.json", b"\xff")
    cli.file("d.json", CLEAN)
    cli.file("secrets.json", CLEAN)
    ran = cli("fix", "--json", ".")
    answer = json.loads(ran.out)
    assert (ran.code, ran.err, answer["files"]) == (2, "", 4)
    mended, hopeless = answer["faulty"]
    assert (mended["path"], mended["language"], mended["written"]) == ("a.json", "json", False)
    assert [fault.keys() for fault in mended["faults"]] == [{"line", "column", "message"}]
    assert [edit["text"].strip() for edit in mended["edits"]] == [","]
    assert (hopeless["edits"], bool(hopeless["reason"])) == ([], True)
    assert [one["path"] for one in answer["errors"]] == ["c.json"]
    assert [one["path"] for one in answer["left"]] == ["secrets.json"]


def test_many_files_on_all_cores_in_their_order(cli: Cli):
    for number in range(40):
        cli.file(f"{number:02}.json", BROKEN if number % 5 == 0 else CLEAN)
    ran = cli("fix", ".", "--write", "--json")
    assert ran.code == 0
    assert [one["path"] for one in json.loads(ran.out)["faulty"]] == [f"{number:02}.json" for number in range(0, 40, 5)]
    assert {path.read_text() for path in cli.folder.glob("*.json")} == {CLEAN}


def test_colours_and_a_bar_are_for_a_terminal(cli: Cli):
    for number in range(3):
        cli.file(f"{number}.json", BROKEN)
    with cli.on_a_terminal("fix", ".") as terminal:
        assert terminal.end() == 1
        assert '\x1b[32m+  "name": "demo",' in terminal.shown
        assert "looking at files" in terminal.shown
        assert "3 would be repaired" in terminal.shown


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes every file")
def test_a_file_that_cannot_be_written_is_an_error(cli: Cli):
    cli.file("a.json", BROKEN).chmod(0o444)
    ran = cli("fix", "--write", "a.json")
    assert ran.code == 2
    assert "no permission to write a.json" in ran.err


def test_the_engine_is_asked_only_when_it_is_wished(fresh_cli: Cli):
    text = "[1,2,3,[4,5,6],7,8]]\n"
    path = fresh_cli.file("a.json", text)
    assert fresh_cli("fix", "--write", "a.json").code == 1
    assert (path.read_text(), fresh_cli.home.left()) == (text, [])
    ran = fresh_cli("fix", "--write", "--engine", "a.json")
    assert fresh_cli.home.left() != []
    # What nano thinks of it is its own affair: it is repaired, or left as it was.
    assert (ran.code, path.read_text() == text) in ((0, False), (1, True))
    assert ran.code or json.loads(path.read_text())


def test_wishes_that_exclude_each_other(cli: Cli):
    ran = cli("fix", "--check", "--write", ".")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: --check and --write exclude each other")
    assert cli("fix").code == 2
    ran = cli("fix", ".")
    assert (ran.code, ran.err) == (0, "no files to look at\n")


def test_pre_commit_finds_what_it_runs(cli: Cli):
    """Without a yaml reader: the file is as plain as this reading of it."""
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    entries = re.findall(r"^  entry: dgemma-lsp (.+)$", text, re.MULTILINE)
    patterns = re.findall(r"^  files: (.+)$", text, re.MULTILINE)
    assert len(entries) == len(patterns) == 2
    cli.file("a.json", CLEAN)
    for entry, pattern in zip(entries, patterns, strict=True):
        assert cli(*entry.split(), "a.json").code == 0
        for name in ("a.json", "d/B.JSON", "README.md", ".vscode/x.code-snippets", "p/.eslintrc", "tsconfig.json"):
            assert re.search(pattern, name)
        for name in ("a.jsonl", "a.py", "json", "md/a", "eslintrc"):
            assert not re.search(pattern, name)
