"""Rewrites: asked for, watched, previewed and applied in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.editors.nvim.neovim import Neovim
from tests.editors.nvim.stub import Desk, place

TEXT = "one = 1\ntwo = 2\n\nthree = 3\nfour = 4\n"


def hunk(start: tuple[int, int], end: tuple[int, int], new: str, **words: tuple[int, int]) -> dict[str, Any]:
    """`words` are those of the first line that come in place of these columns."""
    edits = [{"range": place((start[0], at[0]), (start[0], at[1])), "newText": word} for word, at in words.items()]
    return {"range": place(start, end), "newText": new, "edits": edits}


HUNKS = [
    hunk((0, 0), (1, 0), "uno = 1\n", uno=(0, 3)),
    hunk((2, 0), (2, 0), "# between\n"),
    hunk((3, 0), (4, 0), ""),
    hunk((4, 0), (5, 0), "quattro = 4\ncinque = 5\n", quattro=(0, 4)),
]


def edit_of(path: Path, version: int, *edits: tuple[tuple[int, int], tuple[int, int], str]) -> dict[str, Any]:
    changes = [{"range": place(start, end), "newText": text} for start, end, text in edits]
    return {"documentChanges": [{"textDocument": {"uri": path.as_uri(), "version": version}, "edits": changes}]}


def shown_text(neovim: Neovim) -> str:
    """The screen without the lines below the buffer."""
    return "".join(f"{line}\n" for line in neovim.screen.splitlines()[:-2] if line != "~")


def previewed(desk: Desk, text: str = TEXT, **script: Any) -> Neovim:
    script = {"rewrite": {"hunks": HUNKS}, "edit": {}, **script}
    desk.stub.play(**script)
    neovim = desk.editing(text)
    neovim.command("%DgemmaRewrite count in Italian")
    neovim.until("vim.fn.maparg('A', 'n') ~= ''")
    return neovim


def test_a_preview_is_in_place_and_changes_nothing(desk: Desk) -> None:
    neovim = previewed(desk)
    assert shown_text(neovim) == (
        "one = 1  a accept · r reject · A all · <Esc> none\n"
        "uno = 1\ntwo = 2\n# between\n\nthree = 3\nfour = 4\nquattro = 4\ncinque = 5\n"
    )
    [asked] = [params["arguments"][0] for params in desk.stub.heard("workspace/executeCommand")]
    assert asked["instruction"] == "count in Italian"
    assert asked["apply"] is False
    assert asked["range"] == place((0, 0), (4, 8))
    neovim.press("<Esc>")
    neovim.until("vim.fn.maparg('A', 'n') == ''")
    assert shown_text(neovim) == TEXT
    assert neovim.lua("return vim.bo.modified") is False
    assert len(desk.stub.heard("workspace/executeCommand")) == 1


WORDS = [
    # A character beyond ASCII before a word, a tab, and two words in one line.
    ("ä = one + two\n", hunk((0, 0), (1, 0), "ä = uno + due\n", uno=(4, 7), due=(10, 13)), "    uno   due"),
    ("\tone = 1\n", hunk((0, 0), (1, 0), "\tuno = 1\n", uno=(1, 4)), "        uno"),
    ("one\n", hunk((0, 3), (0, 3), "s", s=(3, 3)), "   s"),
    # What the edits do not lead to.
    ("one = 1\n", hunk((0, 0), (1, 0), "due = 1\n", uno=(0, 3)), ""),
]


@pytest.mark.parametrize(("text", "one", "expected"), WORDS)
def test_new_words_stand_out(desk: Desk, text: str, one: dict[str, Any], expected: str) -> None:
    desk.stub.play(rewrite={"hunks": [one]})
    neovim = desk.editing(text)
    neovim.command("setlocal tabstop=8")
    neovim.command("%DgemmaRewrite do")
    neovim.until("vim.fn.maparg('A', 'n') ~= ''")
    cells = neovim.lua("""
        vim.cmd.redraw()
        return vim.iter(vim.fn.range(1, 20)):map(function(column)
          return { vim.fn.screenstring(2, column), vim.fn.screenattr(2, column) }
        end):totable()
    """)
    width = len("".join(character for character, _ in cells).rstrip())
    plain = cells[0][1]
    stands_out = "".join(character if look != plain else " " for character, look in cells[:width])
    assert stands_out.rstrip() == expected


def test_hunk_by_hunk(desk: Desk) -> None:
    neovim = previewed(desk)
    version = neovim.lua("return vim.lsp.util.buf_versions[0] or vim.lsp.util.buf_versions[vim.fn.bufnr()]")
    edits = [((0, 0), (0, 3), "uno"), ((4, 0), (4, 4), "quattro")]
    desk.stub.play(rewrite={}, edit=edit_of(desk.folder / "a.py", version, *edits))
    neovim.press("a")
    neovim.until_shown("✓")
    neovim.press("r")
    neovim.until_hidden("# between")
    assert neovim.lines == TEXT.splitlines()
    neovim.press("]c")
    neovim.settled()
    assert neovim.call("nvim_win_get_cursor", 0) == [5, 0]
    neovim.press("a")
    neovim.settled()
    assert neovim.call("nvim_win_get_cursor", 0) == [4, 0]
    neovim.press("r")
    neovim.until("vim.api.nvim_get_current_line() and vim.fn.getline(1) == 'uno = 1'")
    assert desk.stub.heard("workspace/executeCommand")[-1]["arguments"] == [{"preview": 1, "hunks": [0, 3]}]
    assert neovim.lines == ["uno = 1", "two = 2", "", "three = 3", "quattro = 4"]
    assert desk.stub.answer()["applied"] is True
    neovim.press("u")
    neovim.settled()
    assert neovim.lines == TEXT.splitlines()


@pytest.mark.parametrize(("pressed", "hunks"), [("A", [0, 1, 2, 3]), ("rA", [1, 2, 3]), ("a<CR>", [0])])
def test_all_and_some(desk: Desk, pressed: str, hunks: list[int]) -> None:
    neovim = previewed(desk)
    neovim.press(pressed)
    neovim.until("vim.fn.maparg('A', 'n') == ''")
    neovim.lua("vim.wait(100)")
    assert desk.stub.heard("workspace/executeCommand")[-1]["arguments"] == [{"preview": 1, "hunks": hunks}]


def test_maps_of_the_buffer_come_back(desk: Desk) -> None:
    desk.stub.play(rewrite={"hunks": HUNKS})
    neovim = desk.editing(TEXT)
    neovim.command("nnoremap <buffer> A :let done = 1<CR>")
    neovim.command("%DgemmaRewrite do")
    neovim.until("vim.fn.maparg(']c', 'n') ~= ''")
    neovim.press("R")
    neovim.until("vim.fn.maparg(']c', 'n') == ''")
    neovim.press("A")
    neovim.until("vim.g.done == 1")


def test_a_selection_with_characters_of_several_units(desk: Desk) -> None:
    desk.stub.play(rewrite={"outcome": "unchanged"})
    neovim = desk.editing("🙂 = '🙂'\nb\n")
    neovim.press("0wwv$h:DgemmaRewrite do<CR>")
    neovim.until("#vim.fn.getreg(':') > 0")
    neovim.lua("vim.wait(200)")
    [params] = desk.stub.heard("workspace/executeCommand")
    assert params["arguments"][0]["range"] == place((0, 5), (0, 9))


def test_the_instruction_is_asked_for(desk: Desk) -> None:
    desk.stub.play(rewrite={"outcome": "unchanged"})
    neovim = desk.editing(TEXT)
    neovim.lua("vim.ui.input = function(options, done) done(answer) end")
    neovim.press("jVj")
    neovim.lua("require('dgemma').rewrite()")
    assert desk.stub.heard("workspace/executeCommand") == []
    neovim.lua("answer = 'do it'")
    neovim.lua("require('dgemma').rewrite()")
    neovim.lua("vim.wait(200)")
    [params] = desk.stub.heard("workspace/executeCommand")
    assert params["arguments"][0]["instruction"] == "do it"


def test_drafts_are_shown_over_the_selection(desk: Desk) -> None:
    desk.stub.play(rewrite={"hunks": HUNKS}, drafts=["░░░ = 1\nt░░ = 2\n\n"], wait=2)
    neovim = desk.editing(TEXT)
    neovim.command("1,3DgemmaRewrite do")
    neovim.until_shown("░░░ = 1 rewriting…\nt░░ = 2\n\nthree = 3\n")
    assert neovim.lines == TEXT.splitlines()
    neovim.lua("require('dgemma').cancel()")
    neovim.until_hidden("░")
    neovim.until_hidden("rewriting")
    neovim.lua("vim.wait(2200)")
    assert len(desk.stub.heard("$/cancelRequest")) == 1
    assert shown_text(neovim) == TEXT


def test_a_buffer_that_changes_or_goes(desk: Desk) -> None:
    desk.stub.play(rewrite={"hunks": HUNKS}, wait=0.5)
    neovim = desk.editing(TEXT)
    neovim.command("%DgemmaRewrite do")
    neovim.lua("vim.api.nvim_buf_set_lines(0, 1, 2, false, { 'changed' })")
    neovim.until("said[1] and said[1]:find('has changed')")
    neovim.command("%DgemmaRewrite do")
    neovim.until("vim.fn.maparg('A', 'n') ~= ''")
    neovim.press("jx")
    neovim.until("said[2] and said[2]:find('has changed')")
    assert neovim.lua("return vim.fn.maparg('A', 'n')") == ""
    neovim.command("%DgemmaRewrite do")
    neovim.command("bwipeout!")
    neovim.lua("vim.wait(800)")
    assert len(neovim.said) == 2
    assert neovim.lua("return vim.v.errmsg") == ""


def test_what_is_above_a_preview_may_change(desk: Desk) -> None:
    desk.stub.play(rewrite={"hunks": [hunk((3, 0), (4, 0), "tre = 3\n")]})
    neovim = desk.editing(TEXT)
    neovim.command("4DgemmaRewrite do")
    neovim.until_shown("tre = 3")
    neovim.command("0put ='new'")
    neovim.until_shown("new\none = 1\ntwo = 2\n\nthree = 3  a accept · r reject · A all · <Esc> none\ntre = 3\n")


def test_an_edit_for_another_version_is_not_made(desk: Desk) -> None:
    neovim = previewed(desk)
    desk.stub.play(rewrite={}, edit=edit_of(desk.folder / "a.py", 1, ((0, 0), (0, 3), "uno")))
    neovim.press("A")
    assert desk.stub.answer() == {"applied": False, "failureReason": "the buffer has changed"}
    assert neovim.lines == TEXT.splitlines()


def test_a_buffer_that_is_locked_during_a_preview(desk: Desk) -> None:
    neovim = previewed(desk)
    neovim.command("setlocal nomodifiable")
    neovim.press("arrr")
    neovim.until("#said > 0")
    neovim.press("j")
    neovim.settled()
    assert neovim.said == ["dgemma: this buffer cannot be changed; :set modifiable, then apply"]
    assert neovim.lines == TEXT.splitlines()
    neovim.until_shown("✓")
    neovim.command("setlocal modifiable")
    neovim.press("<CR>")
    neovim.until("vim.fn.maparg('A', 'n') == ''")
    neovim.lua("vim.wait(100)")
    assert desk.stub.heard("workspace/executeCommand")[-1]["arguments"] == [{"preview": 1, "hunks": [0]}]


def test_it_refuses_what_cannot_be(desk: Desk) -> None:
    desk.stub.play(status={"state": "ready", "model": "nano", "device": "", "message": "", "instructed": False})
    neovim = desk.editing(TEXT)
    neovim.until("require('dgemma').status() == '◆ nano'")
    neovim.command("DgemmaRewrite do")
    assert "nano follows no instructions" in neovim.said[-1]
    neovim.command("setlocal nomodifiable")
    neovim.command("DgemmaRewrite do")
    neovim.command("DgemmaFix")
    assert neovim.said[-2:] == ["dgemma: this buffer cannot be changed"] * 2
    neovim.command("enew")
    neovim.command("DgemmaRewrite do")
    assert "no server for this buffer" in neovim.said[-1]
    assert desk.stub.heard("workspace/executeCommand") == []


def test_code_actions_ask_and_preview(desk: Desk) -> None:
    wish = {"range": place((0, 0), (1, 0)), "problems": []}
    desk.stub.play(rewrite={"hunks": HUNKS})
    neovim = desk.editing(TEXT)
    wish["textDocument"] = {"uri": (desk.folder / "a.py").as_uri(), "version": 3}
    action = {"title": "Ask", "command": {"title": "x", "command": "dgemma.rewriteSelection", "arguments": [wish]}}
    desk.stub.play(rewrite={"hunks": HUNKS}, actions=[action])
    neovim.lua("vim.ui.input = function(options, done) done('do it') end")
    neovim.lua("vim.lsp.buf.code_action({ apply = true })")
    neovim.lua("vim.wait(500)")
    [params] = desk.stub.heard("workspace/executeCommand")
    assert params["command"] == "dgemma.rewrite"
    assert params["arguments"][0]["instruction"] == "do it"
    assert params["arguments"][0]["apply"] is False
