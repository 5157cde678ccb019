"""`dgemma-lsp` from the outside, on an engine that fills by rote: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys

import pytest

from tests.e2e.conftest import Cli, private_home
from tests.fake_engine import FILLED, interpreter

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def home():
    """The daemon of this module is the fake one; it stays between the tests, as the real one does."""
    yield from private_home()


@pytest.fixture
def engine(tmp_path_factory) -> str:
    """A well-behaved engine that fills with `FILLED`, two lines."""
    return interpreter(tmp_path_factory.mktemp("engine"), "good")


def fill(cli: Cli, engine: str, path: object, *arguments: object, **options):
    return cli("fill", path, *arguments, "--engine-python", engine, **options)


def test_without_a_terminal_a_fill_prints_just_the_diff(cli, engine):
    path = cli.file("f.py", "a = (1\nb = 2\n")
    ran = fill(cli, engine, "f.py", "--at", "1:7")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "--- a/f.py\n+++ b/f.py\n@@ -1,2 +1,3 @@\n-a = (1\n+a = (1filled\n+in\n b = 2\n"
    assert path.read_text() == "a = (1\nb = 2\n"
    subprocess.run(["patch", "-p1", "-s"], input=ran.out.encode(), cwd=cli.folder, check=True, timeout=30)
    assert path.read_text() == "a = (1filled\nin\nb = 2\n"


@pytest.mark.parametrize(
    ("content", "arguments", "written"),
    [
        (b"ab\n", ["--at", "1:2"], b"afilled\ninb\n"),
        (b"ab", ["--at", "1:3"], b"abfilled\nin"),
        (b"a\r\nb\r\n", ["--at", "2:1"], b"a\r\nfilled\r\ninb\r\n"),
        (b"\xef\xbb\xbfa\r\nb", ["--at", "1:2"], b"\xef\xbb\xbfafilled\r\nin\r\nb"),
        ("é🎉\u2028x\n".encode(), ["--at", "1:3"], "é🎉filled\nin\u2028x\n".encode()),
        (b"one\ntwo\nthree\n", ["--at", "1:2", "--until", "3:3"], b"ofilled\ninree\n"),
        (b"mixed\r\nends\nhere\r", ["--at", "3:5"], b"mixed\r\nends\nherefilled\r\nin\r"),
        (b"\tx\n", ["--at", "1:2", "--until", "1:2"], b"\tfilled\ninx\n"),
    ],
)
def test_write_changes_the_hole_and_nothing_else(cli, engine, content, arguments, written):
    path = cli.file("f.py", content)
    path.chmod(0o640)
    ran = fill(cli, engine, "f.py", *arguments, "--write")
    assert (ran.code, ran.err) == (0, "f.py written\n")
    assert path.read_bytes() == written
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in cli.folder.iterdir()] == ["f.py"]


def test_json_is_one_object_for_programs(cli, engine):
    cli.file("f.py", "a\r\nb\r\n")
    options = ["--candidates", 2, "--seed", 7, "--passes", 3, "--max-tokens", 9, "--json"]
    ran = fill(cli, engine, "f.py", "--at", "1:2", "--until", "2:1", *options)
    assert (ran.code, ran.err) == (0, "")
    best, second = FILLED.replace("\n", "\r\n"), f"{FILLED}1".replace("\n", "\r\n")
    assert json.loads(ran.out) == {
        "path": "f.py",
        "at": "1:2",
        "until": "2:1",
        "candidates": [
            {"text": best, "score": -0.0, "passes": 2, "finish": "passes"},
            {"text": second, "score": -1.0, "passes": 2, "finish": "passes"},
        ],
        "text": best,
        "ms": {"load": 5.0, "prefill": 1.0, "passes": 2.0, "total": 8.0},
        "tokens": {"hole": 9, "seed": 7, "passes": 3},
        "model": "nano",
        "seed": 7,
    }


def test_without_a_seed_one_is_drawn_and_told(cli, engine):
    cli.file("f.py", "a\n")
    told = [json.loads(fill(cli, engine, "f.py", "--at", "1:1", "--json").out) for _ in range(2)]
    assert told[0]["seed"] != told[1]["seed"]
    assert all(answer["tokens"]["seed"] == answer["seed"] for answer in told)


@pytest.mark.parametrize(
    ("arguments", "tokens"),
    [
        (["--at", "1:1"], 16),
        (["--at", "1:1", "--until", "1:41"], 16),
        (["--at", "1:1", "--max-tokens", 3], 3),
    ],
)
def test_the_hole_is_as_large_as_what_it_replaces(cli, engine, arguments, tokens):
    cli.file("f.py", "x" * 80)
    assert json.loads(fill(cli, engine, "f.py", *arguments, "--json").out)["tokens"]["hole"] == tokens


@pytest.mark.parametrize("option", ["--verbose", "-v"])
def test_verbose_tells_every_pass_on_stderr(cli, engine, option):
    cli.file("f.py", "a\n")
    ran = fill(cli, engine, "f.py", "--at", "1:1", option, "--json")
    assert ran.err == "pass 1/2     10 ms  ░  draft 1\npass 2/2     20 ms  x␛[2J⏎  draft 2\n"
    assert json.loads(ran.out)["text"] == FILLED


def test_a_trace_is_a_page(cli, engine):
    cli.file("f.py", "before\n")
    ran = fill(cli, engine, "f.py", "--at", "1:7", "--trace", "out.html")
    assert (ran.code, ran.err) == (0, "out.html written; open it in a browser\n")
    assert "+beforefilled" in ran.out
    page = (cli.folder / "out.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "f.py 1:7" in page


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("f.py", "--trace f.py is the file that is filled; name another one"),
        ("./link.py", "--trace link.py is the file that is filled; name another one"),
        (".", "--trace . is a directory; name a file in it"),
        ("no/out.html", "--trace no/out.html: there is no folder"),
        ("f.py/out.html", "out.html: "),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_trace_that_cannot_be_written_is_refused_before_anything_is_done(fresh_cli, page, complaint):
    path = fresh_cli.file("f.py", "a\n")
    (fresh_cli.folder / "link.py").symlink_to("f.py")
    # An interpreter that does not exist: nobody asks for it.
    ran = fill(fresh_cli, "no-such-python", "f.py", "--at", "1:1", "--trace", page, "--write")
    assert (ran.code, ran.out, path.read_text()) == (2, "", "a\n")
    assert re.fullmatch(r"error: .*\n", ran.err)
    assert complaint in ran.err


def test_ctrl_c_ends_a_fill_without_a_word(fresh_cli, tmp_path_factory):
    fresh_cli.file("f.py", "a\n")
    engine = interpreter(tmp_path_factory.mktemp("engine"), "waits")
    with fresh_cli.on_a_terminal("fill", "f.py", "--at", "1:1", "--engine-python", engine) as terminal:
        terminal.read_until(" waiting\r")
        before = len(terminal.shown)
        terminal.press_ctrl_c()
        assert terminal.end() == 130
        after = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", terminal.shown[before:])
    assert after.replace("^C", "").strip("\r\n ⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏") in ("", "waiting")


def test_a_fill_that_changes_nothing_says_so(cli, engine):
    path = cli.file("f.py", f"a {FILLED} b")
    before = path.stat().st_mtime_ns
    ran = fill(cli, engine, "f.py", "--at", "1:3", "--until", "2:3", "--write")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("nothing to change")
    assert path.stat().st_mtime_ns == before


def test_a_five_megabyte_file_is_refused_and_left_alone(cli, engine):
    path = cli.file("big.py", "value = 1  # line\n" * 300_000)
    before = path.read_bytes()
    ran = fill(cli, engine, "big.py", "--at", "299000:8", "--write")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: big.py has 5.1 MB; files above 4 MB are not read")
    assert path.read_bytes() == before


def test_a_large_file_is_filled_far_down(cli, engine):
    path = cli.file("large.py", "value = 1  # line\n" * 200_000)
    ran = fill(cli, engine, "large.py", "--at", "199000:8", "--write")
    assert ran.code == 0
    assert "@@ -198997,7 +198997,8 @@" in ran.out
    assert path.read_text().count(FILLED) == 1


@pytest.mark.parametrize(
    ("content", "arguments", "complaint"),
    [
        ("a\n", ["--at", "9:1"], "--at 9:1 is outside of f.py: line 9 is past the end; lines are 1 to 2"),
        ("a\n", ["--at", "1:3"], "column 3 is past the end of line 1; columns are 1 to 2"),
        ("a\n", ["--at", "0:1"], "'0:1' is no position; write LINE:COL"),
        ("a\n", ["--at", "end"], "'end' is no position; write LINE:COL"),
        ("a\n", ["--at", "1:1", "--until", "5:1"], "--until 5:1 is outside of f.py"),
        ("a\n", ["--at", "1:2", "--until", "1:1"], "--until 1:1 lies before --at 1:2; swap them"),
        ("ab", ["--at", "1:1", "--until", "1:3"], "is the whole file; leave some text to fill from"),
        ("x" * 99_999, ["--at", "1:2", "--until", "1:99999"], "are 99997 characters, too many for one fill"),
        ("", ["--at", "1:1"], "f.py is empty, so there is nothing to fill from; write a first line"),
        ("", ["--at", "2:1"], "line 2 is past the end; the only line is 1"),
        (b"\xef\xbb\xbf", ["--at", "1:1"], "f.py is empty"),
        (b"\x7fELF\0", ["--at", "1:1"], "f.py is a binary file"),
        (b"caf\xe9", ["--at", "1:1"], "f.py is not UTF-8 (byte 0xe9 at offset 3); convert it"),
        ("a".encode("utf-16"), ["--at", "1:1"], "f.py is UTF-16, not UTF-8; convert it"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(cli, engine, content, arguments, complaint):
    path = cli.file("f.py", content)
    before = path.read_bytes()
    ran = fill(cli, engine, "f.py", *arguments, "--write")
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"error: .*\n", ran.err)
    assert complaint in ran.err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("missing.py", "missing.py does not exist; check the path"),
        (".", ". is a directory; name a file in it"),
    ],
)
def test_a_path_that_is_no_file_is_one_line(cli, engine, path, complaint):
    ran = fill(cli, engine, path, "--at", "1:1")
    assert (ran.code, ran.out, ran.err) == (2, "", f"error: {complaint}\n")


@pytest.mark.skipif(
    ROOT and not shutil.which("setpriv"), reason="root reads everything; run as another user, or install setpriv"
)
def test_a_file_without_permission_is_one_line(cli, engine):
    path = cli.file("f.py", "a\n")
    path.chmod(0)
    mortal = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if ROOT else []
    ran = fill(cli, engine, "f.py", "--at", "1:1", prefix=mortal)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: no permission to read f.py; change its mode or run as its owner\n"


@pytest.mark.skipif(
    ROOT and not shutil.which("setpriv"), reason="root writes everything; run as another user, or install setpriv"
)
@pytest.mark.parametrize("read_only", ["file", "folder"])
def test_what_cannot_be_written_is_one_line(cli, engine, read_only):
    path = cli.file("f.py", "a\n")
    locked = path if read_only == "file" else cli.folder
    locked.chmod(0o555)
    mortal = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if ROOT else []
    try:
        ran = fill(cli, engine, "f.py", "--at", "1:1", "--write", prefix=mortal)
    finally:
        locked.chmod(0o755)
    assert (ran.code, ran.out, path.read_text()) == (2, "", "a\n")
    assert re.fullmatch(r"error: .*(no permission to write|cannot write) f.py.*\n", ran.err)


@pytest.mark.parametrize(
    ("behaviour", "code", "complaint"),
    [
        ("refuses", 2, "error: there is no model of that name\n"),
        ("dies", 2, "see: dgemma-lsp doctor\n"),
        ("busy", 2, "error: 8 requests wait already; try again\n"),
        ("newer protocol", 2, "speaks protocol 99, this is "),
        ("broken", 2, "No module named 'msgpack'"),
        ("missing", 2, "install it with: pip install 'dgemma-lsp[engine]'\n"),
        ("buggy", 1, "error: KeyError: 3\nTraceback: here\n"),
    ],
)
def test_an_engine_in_trouble_is_explained(fresh_cli, tmp_path_factory, behaviour, code, complaint):
    path = fresh_cli.file("f.py", "a\n")
    engine = interpreter(tmp_path_factory.mktemp("engine"), behaviour)
    ran = fill(fresh_cli, engine, "f.py", "--at", "1:1", "--write")
    assert (ran.code, ran.out, path.read_text()) == (code, "", "a\n")
    assert ran.err.startswith("error: ")
    assert complaint in ran.err
    assert ran.err.count("\n") == (1 if code == 2 else 2)


@pytest.mark.parametrize(
    "arguments",
    [["--passes", "0"], ["--candidates", "0"], ["--length", "long"], ["--deadline", "0"], ["--seed", "-1"]],
)
def test_an_option_out_of_range_is_refused(cli, engine, arguments):
    cli.file("f.py", "a\n")
    ran = fill(cli, engine, "f.py", "--at", "1:1", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert arguments[0] in ran.err


def test_on_a_terminal_the_canvas_is_animated_and_the_diff_coloured(cli, engine):
    cli.file("f.py", "before\x1b[2J\n")
    with cli.on_a_terminal("fill", "f.py", "--at", "1:7", "--engine-python", engine, "--seed", 5) as terminal:
        assert terminal.end() == 0
        shown = terminal.shown
    for expected in ("loading", "pass 1/2", "pass 2/2", "known", "\x1b[31mx␛[2J⏎", "\x1b[32mx␛[2J⏎"):
        assert expected in shown
    assert "\x1b[32m+beforefilled" in shown
    assert "2 passes, pass budget spent" in shown
    assert "seed 5" in shown
    # Neither the file's escape sequence nor the engine's reaches the terminal.
    assert "\x1b[2J" not in shown


def test_a_dumb_terminal_gets_no_animation(cli, engine):
    cli.file("f.py", "before\n")
    with cli.on_a_terminal("fill", "f.py", "--at", "1:7", "--engine-python", engine, term="dumb") as terminal:
        assert terminal.end() == 0
        shown = terminal.shown
    assert "\x1b" not in shown
    assert "pass 1/2" not in shown
    assert "+beforefilled" in shown


def test_help_is_quick_to_read_and_names_the_commands(cli):
    ran = cli("--help")
    assert ran.code == 0
    for command in ("fill", "engine", "model", "doctor"):
        assert command in ran.out


def test_help_waits_for_nothing_that_only_a_request_needs():
    code = "import sys, dgemma_lsp.cli; print(*({'asyncio', 'msgpack', 'rich.live', 'dgemma_engine'} & {*sys.modules}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == []


def test_the_version_is_the_packages(cli):
    assert cli("--version").out == "dgemma-lsp 0.1.0\n"


def test_the_module_runs_too(cli):
    ran = subprocess.run(
        [sys.executable, "-m", "dgemma_lsp.cli", "--version"], capture_output=True, timeout=60, check=True
    )
    assert ran.stdout == b"dgemma-lsp 0.1.0\n"


def test_doctor_names_what_is_wrong(fresh_cli, tmp_path_factory):
    engine = interpreter(tmp_path_factory.mktemp("engine"), "broken")
    ran = fresh_cli("doctor", "--json", "--engine-python", engine)
    assert ran.code == 1
    findings = {finding["name"]: finding for finding in json.loads(ran.out)}
    assert findings["python"]["ok"]
    assert not findings["engine python"]["ok"]
    assert "is no Python that runs" in findings["engine python"]["detail"]
    assert findings["fill"] == {"name": "fill", "ok": False, "detail": "not tried: mend the above first"}
