"""Emacs with eglot, which has no ghost text: a fill at point, and one by completion at point."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Home
from tests.editors.installed import find_optional
from tests.editors.tmux import CLOSED, LACKING, LINE, Desk, Screen

EMACS = find_optional("DGEMMA_EMACS", "emacs", least=(30, 1))


def test_fills_are_taken_undone_and_saved(tmp_path: Path, home: Home) -> None:
    desk = Desk(tmp_path, home, "Emacs")
    with Screen([EMACS, "-nw", f"+{LINE}", desk.file], desk) as emacs:
        emacs.until("[eglot:work]")
        emacs.press("C-e")
        for fill in ("C-c f", "C-M-i"):
            emacs.press(fill)
            emacs.until(CLOSED)
            emacs.press("C-_")
            emacs.until(f"{LACKING}\n")
        emacs.press("C-c f")
        emacs.until(CLOSED)
        emacs.press("C-x C-s")
        emacs.until("Wrote ")
        emacs.press("M-x")
        emacs.type("dgemma-why")
        emacs.press("Enter")
        emacs.until("a suggestion was offered")
    assert CLOSED in desk.saved
