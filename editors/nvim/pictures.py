"""`python -m editors.nvim.pictures`: takes the pictures of the README, of a real Neovim on a real terminal (tmux).

Ghost text is nano's; the rewrite is by an engine that plays a script, since nano takes no instructions.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.conftest import COMMAND, private_home
from tests.fake_engine import interpreter

HERE = Path(__file__).parent
COLUMNS, ROWS = 78, 15
CELL, LINE = 8.4, 18
"""Pixels of a character, for fonts of 14 pixels."""
FOREGROUND, BACKGROUND = "#e0e2ea", "#14161b"

INIT = """\
vim.o.swapfile = false
vim.o.termguicolors = true
vim.o.laststatus = 2
vim.o.ruler = false
vim.opt.runtimepath:prepend('{plugin}')
vim.g.dgemma = {{ settings = {settings} }}
vim.o.statusline = ' %t%=%{{v:lua.require("dgemma").status()}} '
vim.keymap.set('i', '<C-l>', '<Plug>(dgemma-trigger)')
vim.lsp.handlers['$/progress'] = function() end
"""

GHOST = '''\
def number(text, least=0):
    """What a text says, or the least."""
    try:
        value = int(text)
    except
        value = least
    return max(value, least)


def numbers(texts):
    return [number(text) for text in texts]
'''
CODE = """\
def load(path):
    with open(path) as file:
        return json.load(file)


def names(path):
    return [entry["name"] for entry in load(path)]
"""
TYPED = CODE.replace("def load(path):", "def load(path: Path) -> list[Entry]:").replace(
    "def names(path):", "def names(path: Path) -> list[str]:"
)
SGR = re.compile(r"\x1b\[([\d;:]*)m|\x1b[()][0B]|([\x0e\x0f])")


class Terminal:
    """A Neovim in a tmux of its own; what is seen is read with its colours."""

    def __init__(self, file: Path, environment: Mapping[str, str], init: Path) -> None:
        self._place = tempfile.mkdtemp(prefix="dg-")
        setting = [f"{name}={value}" for name, value in environment.items()]
        editor = Path(os.environ.get("DGEMMA_NVIM", "")) / "nvim"
        config = Path(self._place) / "tmux.conf"
        config.write_text(
            'set -g default-terminal "tmux-256color"\nset -as terminal-features ",*:RGB"\nset -g status off\n'
        )
        words = [
            "env",
            "-i",
            *setting,
            "TERM=tmux-256color",
            "COLORTERM=truecolor",
            "LANG=C.UTF-8",
            editor,
            "-u",
            init,
            file,
        ]
        self._tmux("-f", config, "new-session", "-d", f"-x{COLUMNS}", f"-y{ROWS}", *words)

    def press(self, *keys: str) -> None:
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.3)

    def until(self, wanted: str) -> str:
        end = time.monotonic() + 60
        while wanted not in SGR.sub("", shown := self._tmux("capture-pane", "-e", "-p")):
            assert time.monotonic() < end, shown
            time.sleep(0.1)
        return shown

    def close(self) -> None:
        self._tmux("kill-server")

    def _tmux(self, *arguments: object) -> str:
        command = ["tmux", "-u", "-S", f"{self._place}/tmux", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=True).stdout.decode()


def svg(shown: str) -> str:
    """A screen with its colours as a drawing."""
    rows, boxes, texts = shown.rstrip("\n").split("\n"), [], []
    style: dict[str, object] = {}
    for row, line in enumerate(rows):
        column = 0
        for piece, codes in _runs(line):
            style = _styled(style, codes)
            ink, paper = style.get("fg", FOREGROUND), style.get("bg", BACKGROUND)
            if style.get("reverse"):
                ink, paper = paper, ink
            x, y, width = column * CELL, row * LINE, len(piece) * CELL
            if paper != BACKGROUND:
                boxes.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{LINE}" fill="{paper}"/>')
            if piece.strip():
                weight = ' font-weight="bold"' if style.get("bold") else ""
                place = f'x="{x:.1f}" y="{y + 13}" textLength="{width:.1f}"'
                # Blanks that are not would be left out at the ends, and then the rest is stretched.
                said = html.escape(piece).replace(" ", "\u00a0")
                texts.append(f'<text {place} fill="{ink}"{weight}>{said}</text>')
            column += len(piece)
    width, height = COLUMNS * CELL + 16, len(rows) * LINE + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-size="14"'
        ' font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" xml:space="preserve">\n'
        f'<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>\n<g transform="translate(8 8)">\n'
        + "\n".join([*boxes, *texts])
        + "\n</g>\n</svg>\n"
    )


def _runs(line: str) -> list[tuple[str, list[int]]]:
    """Pieces of text, each with the codes before it."""
    runs, codes, at = [], [], 0
    for found in SGR.finditer(line):
        if found.start() > at:
            runs.append((line[at : found.start()], codes))
            codes = []
        if found[1] is not None:
            codes = [*codes, *(int(code or 0) for code in re.split("[;:]", found[1]))]
        at = found.end()
    return [*runs, (line[at:], codes)]


def _styled(style: dict[str, object], codes: list[int]) -> dict[str, object]:
    style, codes = dict(style), list(codes)
    while codes:
        code = codes.pop(0)
        if code == 0:
            style = {}
        elif code in (1, 7):
            style["bold" if code == 1 else "reverse"] = True
        elif code in (38, 48) and codes[:1] == [2]:
            red, green, blue = codes[-3:] if len(codes) == 5 else codes[1:4]
            del codes[:4]
            style["fg" if code == 38 else "bg"] = f"#{red:02x}{green:02x}{blue:02x}"
        elif code in (39, 49):
            style.pop("fg" if code == 39 else "bg", None)
        elif code == 27:
            style.pop("reverse", None)
    return style


def main() -> None:
    with tempfile.TemporaryDirectory() as place, contextlib.contextmanager(private_home)() as home:
        folder = Path(place)
        (folder / "script.json").write_text(json.dumps({"candidates": [[TYPED]], "drafts": [""], "delay": 0}))
        fake = f"{{ enginePython = '{interpreter(folder, 'scripted')}', model = 'instructed' }}"
        path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
        more = {"HOME": place, "PATH": path, "DGEMMA_SCRIPT": f"{place}/script.json"}
        environment = {name: value for name, value in {**home.environment, **more}.items() if "\n" not in value}
        for name, text, settings, keys, wanted in (
            ("ghost", GHOST, "{}", ["5G", "A", "Space", "C-l"], "Error"),
            ("rewrite", CODE, fake, ["gg", "VG", ":DgemmaRewrite add types", "Enter"], "list[str]"),
        ):
            subprocess.run([COMMAND, "engine", "stop"], env=environment, capture_output=True)
            init, file = folder / "init.lua", folder / "shop.py"
            init.write_text(INIT.format(plugin=HERE, settings=settings), encoding="utf-8")
            file.write_text(text, encoding="utf-8")
            terminal = Terminal(file, environment, init)
            try:
                terminal.until("◆")
                terminal.press(*keys)
                shown = terminal.until(wanted)
            finally:
                terminal.close()
            (HERE / f"{name}.svg").write_text(svg(shown), encoding="utf-8")


if __name__ == "__main__":
    main()
