"""Helix, which has no ghost text: fills from the code actions and from the completion menu."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Home
from tests.editors.installed import find_optional
from tests.editors.tmux import CLOSED, LACKING, LINE, Desk, Screen

HELIX = find_optional("DGEMMA_HX", "hx", least=(25, 7))

# In normal mode the cursor is a selection of the line's end; in insert mode it stands before it.
MENUS = [
    ("g l l", "Space a", "DGemma: Fill here", "Enter"),
    ("A", "M-f", "DGemma: Fill here", "Enter"),
    ("A", "C-x", ") text", "Tab Enter"),
]


def test_fills_are_taken_undone_and_saved(tmp_path: Path, home: Home) -> None:
    desk = Desk(tmp_path, home, "Helix")
    with Screen([HELIX, f"{desk.file}:{LINE}"], desk) as helix:
        helix.until(f"{LACKING}\n")
        for there, menu, item, take in MENUS:
            helix.press(there)
            helix.until(item, menu)
            helix.press(take)
            helix.until(CLOSED)
            helix.press("Escape u")
            helix.until(f"{LACKING}\n")
        helix.press("U")
        helix.until(CLOSED)
        helix.type(":w")
        helix.press("Enter")
        helix.until("written")
    assert CLOSED in desk.saved
