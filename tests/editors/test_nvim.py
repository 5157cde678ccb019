"""Neovim by itself, without a plugin: ghost text, and a fill that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Home
from tests.editors.installed import find_neovim, need_tmux, version
from tests.editors.tmux import CLOSED, LACKING, LINE, Desk, Screen

NEOVIM = find_neovim()
need_tmux()
if version(NEOVIM) < (0, 12):
    pytest.skip("Neovim before 0.12 has no ghost text of its own", allow_module_level=True)


def test_ghost_text_is_shown_taken_undone_and_saved(tmp_path: Path, home: Home) -> None:
    desk = Desk(tmp_path, home, "Neovim")
    with Screen([NEOVIM, f"+{LINE}", desk.file], desk) as neovim:
        neovim.until(f"{LACKING}\n")
        # Ghost text comes with what is typed, once the model is loaded.
        neovim.until(CLOSED, "Escape A Space BSpace")
        neovim.press("Escape")
        neovim.until(f"{LACKING}\n")
        neovim.press("A")
        neovim.until(CLOSED)
        neovim.press("Tab Escape")
        neovim.until(CLOSED)
        neovim.press("u")
        neovim.until(f"{LACKING}\n")
        neovim.press("C-r")
        neovim.until(CLOSED)
        neovim.type(":write")
        neovim.press("Enter")
        neovim.until("written")
        assert CLOSED in desk.saved
        neovim.type(":DgemmaWhy")
        neovim.press("Enter")
        neovim.until("a suggestion was offered")


def test_a_fill_that_is_asked_for(tmp_path: Path, home: Home) -> None:
    desk = Desk(tmp_path, home, "Neovim")
    with Screen([NEOVIM, f"+{LINE}", desk.file], desk) as neovim:
        neovim.until(f"{LACKING}\n")
        neovim.press("$")
        neovim.until(CLOSED, "A M-f Escape")
