"""The plugin with the real server: ghost text of nano, and rewrites by an engine that plays a script."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import COMMAND, Home, private_home
from tests.editors.installed import find_neovim
from tests.editors.nvim.neovim import PATIENCE_S, Neovim
from tests.editors.tmux import EXAMPLE, LACKING, LINE
from tests.fake_engine import interpreter

NEOVIM = find_neovim()
READY = "require('dgemma.status').get().state == 'ready'"
VISIBLE = "require('dgemma').visible()"


def neovim(folder: Path, home: Home, options: Any = None, **more: str) -> Neovim:
    """It finds the server on PATH."""
    path = f"{COMMAND.parent}{os.pathsep}{home.environment['PATH']}"
    environment = {name: value for name, value in home.environment.items() if name != "VIRTUAL_ENV"}
    one = Neovim(NEOVIM, folder, {**environment, "PATH": path, **more}, options)
    for name in ("accept", "accept_word", "accept_line"):
        one.command(f"imap <F{len(name)}> <Plug>(dgemma-{name.replace('_', '-')})")
    return one


def take(one: Neovim, what: str) -> str:
    """Press the key of one of the maps; the cursor's line then."""
    before = one.lines
    one.press(f"<F{len(what)}>")
    one.until("not vim.deep_equal(vim.api.nvim_buf_get_lines(0, 0, -1, false), ...)", before)
    return one.call("nvim_get_current_line")


def on_screen(one: Neovim) -> str:
    """The cursor's line as it is seen."""
    return one.screen.splitlines()[one.lua("return vim.fn.screenrow() - 1")]


def until_ghost(one: Neovim) -> None:
    """Until something is offered where the cursor is; another key asks again, since nano does not always offer."""
    end = time.monotonic() + PATIENCE_S
    while not one.lua(f"return vim.wait(1500, function() return {VISIBLE} end, 20)"):
        assert time.monotonic() < end, f"no ghost text:\n{one.screen}"
        one.press(" <BS>")


def engine(one: Neovim) -> dict[str, Any]:
    """What the daemon says of itself."""
    one.lua(
        "vim.lsp.get_clients({ name = 'dgemma' })[1]:exec_cmd({ title = '', command = 'dgemma.status' }, {},"
        " function(_, answer) told = answer.engine end)"
    )
    return one.until("told")


@pytest.mark.parametrize("layer", ["auto", "own"])
def test_ghost_text_is_shown_typed_along_and_taken(tmp_path: Path, home: Home, layer: str) -> None:
    with neovim(tmp_path, home, {"ghost": layer}) as one:
        one.edit(tmp_path / EXAMPLE.name, EXAMPLE.read_text(encoding="utf-8"))
        one.until(READY)
        one.press("/names = \\[\\]<CR>jCfor ")
        until_ghost(one)
        seen, typed = on_screen(one), one.call("nvim_get_current_line")
        assert seen.startswith(typed)
        one.press(seen[len(typed)])
        one.settled()
        assert on_screen(one) == seen
        typed = one.call("nvim_get_current_line")
        while typed != seen:
            word = take(one, "accept_word")
            assert word.startswith(typed)
            assert on_screen(one) == seen
            typed = word
        one.press(f"<Esc>:e!<CR>{LINE}GA")
        for what in ("accept_line", "accept"):
            until_ghost(one)
            assert take(one, what).endswith(f"{LACKING})")
            one.press("<Esc>u")
            one.settled()
            assert one.call("nvim_get_current_line").endswith(LACKING)
            one.press("A")
        assert one.said == []


@pytest.mark.parametrize(
    ("name", "broken", "repaired"),
    [
        ("a.json", '{\n  "name": "demo"\n  "private": true\n}\n', '{\n  "name": "demo",\n  "private": true\n}\n'),
        ("a.md", "Text.\n\n```python\nx = 1\n", "Text.\n\n```python\nx = 1\n```\n"),
    ],
)
def test_saved_and_repaired(tmp_path: Path, home: Home, name: str, broken: str, repaired: str) -> None:
    file = tmp_path / name
    with neovim(tmp_path, home) as one:
        one.edit(file, broken)
        one.attached()
        one.command("write")
        assert file.read_text(encoding="utf-8") == repaired
        one.press("u")
        one.settled()
        assert one.lines == broken.splitlines()
        one.command("DgemmaFix")
        one.until("vim.deep_equal(vim.api.nvim_buf_get_lines(0, 0, -1, false), ...)", repaired.splitlines())
        one.command("write")
        assert file.read_text(encoding="utf-8") == repaired


def test_a_save_that_is_not_repaired(tmp_path: Path, home: Home) -> None:
    file = tmp_path / "a.json"
    with neovim(tmp_path, home, {"settings": {"fixOnSave": False}}) as one:
        one.edit(file, "[1, 2\n")
        one.attached()
        one.command("write")
        assert file.read_text(encoding="utf-8") == "[1, 2\n"


def test_an_engine_that_is_killed_comes_back(tmp_path: Path, fresh_home: Home) -> None:
    with neovim(tmp_path, fresh_home) as one:
        one.edit(tmp_path / EXAMPLE.name, EXAMPLE.read_text(encoding="utf-8"))
        one.until(READY)
        one.press(f"{LINE}GA")
        until_ghost(one)
        one.press("<Esc>")
        one.settled()
        os.kill(engine(one)["pid"], signal.SIGKILL)
        one.command("edit!")
        one.press(f"{LINE}GA")
        until_ghost(one)
        assert take(one, "accept").endswith(f"{LACKING})")
        one.until(READY)
        one.command("DgemmaRestart!")
        one.until(f"vim.lsp.get_clients()[1] and vim.lsp.get_clients()[1].id == 2 and {READY}")
        assert [text for text in one.said if "nano: ready" not in text] == []


def test_two_windows_have_one_engine(tmp_path: Path, home: Home) -> None:
    with contextlib.ExitStack() as windows:
        pids = set()
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            one = windows.enter_context(neovim(tmp_path / name, home))
            one.edit(tmp_path / name / EXAMPLE.name, EXAMPLE.read_text(encoding="utf-8"))
            one.until(READY)
            one.press(f"{LINE}GA")
            until_ghost(one)
            report = engine(one)
            pids.add(report["pid"])
        assert report["clients"] >= 2
        assert len(pids) == 1


TEXT = "def f(a):\n    return a\n\n\nx = f(1)\ny = f(2)\n"
REWRITTEN = "def f(a: int) -> int:\n    return a\n\n\nx = f(1)\ny = f(3)\n"


@contextlib.contextmanager
def scripted(
    folder: Path, candidates: Sequence[str], drafts: Sequence[str] = ("",), delay: float = 0
) -> Iterator[Neovim]:
    """A Neovim whose engine answers with the candidates, one after the other."""
    script = folder / "script.json"
    told = {"candidates": [[one] for one in candidates], "drafts": drafts, "delay": delay}
    script.write_text(json.dumps(told), encoding="utf-8")
    settings = {"enginePython": interpreter(folder, "scripted"), "model": "instructed"}
    with (
        contextlib.contextmanager(private_home)() as home,
        neovim(folder, home, {"settings": settings}, DGEMMA_SCRIPT=str(script)) as one,
    ):
        one.edit(folder / "a.py", TEXT)
        one.until(READY)
        yield one


def test_a_rewrite_with_one_hunk_rejected(tmp_path: Path) -> None:
    draft = TEXT.replace("a):", "░):")
    with scripted(tmp_path, [REWRITTEN], [draft, draft], 0.5) as one:
        one.press("ggVG:DgemmaRewrite add types<CR>")
        one.until_shown("def f(░):")
        assert one.lines == TEXT.splitlines()
        one.until_shown("def f(a: int) -> int:")
        one.until_shown("y = f(3)")
        assert one.lines == TEXT.splitlines()
        one.press("ar")
        expected = TEXT.replace("f(a):", "f(a: int) -> int:").splitlines()
        one.until("vim.deep_equal(vim.api.nvim_buf_get_lines(0, 0, -1, false), ...)", expected)
        one.until_hidden("y = f(3)")
        one.press("u")
        one.until("vim.deep_equal(vim.api.nvim_buf_get_lines(0, 0, -1, false), ...)", TEXT.splitlines())
        assert one.lua("return vim.bo.modified") is False
        assert one.said == []


def test_a_rewrite_that_is_not_wanted(tmp_path: Path) -> None:
    with scripted(tmp_path, [REWRITTEN]) as one:
        one.press("ggVG:DgemmaRewrite add types<CR>")
        one.until_shown("y = f(3)")
        one.press("<Esc>")
        one.until_hidden("y = f(3)")
        assert one.lines == TEXT.splitlines()
        assert one.lua("return vim.bo.modified") is False


def test_a_rewrite_of_a_file_that_changes_on_disk(tmp_path: Path) -> None:
    with scripted(tmp_path, [REWRITTEN]) as one:
        one.press("ggVG:DgemmaRewrite add types<CR>")
        one.until_shown("y = f(3)")
        (tmp_path / "a.py").write_text("other = 1\n", encoding="utf-8")
        one.command("edit!")
        one.until("#said > 0 or vim.fn.maparg('A', 'n') == ''")
        one.until_hidden("y = f(3)")
        assert one.lines == ["other = 1"]


def test_a_preset_of_the_code_actions_is_previewed(tmp_path: Path) -> None:
    with scripted(tmp_path, [REWRITTEN]) as one:
        one.press("ggVG")
        one.settled()
        one.lua("vim.lsp.buf.code_action({ context = { only = { 'refactor.rewrite.dgemma.types' } }, apply = true })")
        one.until_shown("y = f(3)")
        one.press("<Esc>A")
        one.settled()
        one.until("vim.deep_equal(vim.api.nvim_buf_get_lines(0, 0, -1, false), ...)", REWRITTEN.splitlines())


def test_nano_says_that_it_takes_no_instruction(tmp_path: Path, home: Home) -> None:
    with neovim(tmp_path, home) as one:
        one.edit(tmp_path / "a.py", TEXT)
        one.until(READY)
        one.command("DgemmaRewrite add types")
        assert "nano follows no instructions" in one.said[-1]


def test_the_health_of_it_all(tmp_path: Path, home: Home) -> None:
    with neovim(tmp_path, home) as one:
        one.edit(tmp_path / "a.py", TEXT)
        one.until(READY)
        one.command("checkhealth dgemma")
        report = "\n".join(one.lines)
        assert "ERROR" not in report
        assert "WARNING" not in report
        assert f"{COMMAND} (PATH)" in report
        assert "nano ready" in report
