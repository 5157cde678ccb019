"""`python -m editors.nvim.pictures`: takes the pictures of the README, of a real Neovim on a real terminal (tmux).

Ghost text is nano's; the rewrite is by an engine that plays a script, since nano takes no instructions. What moves are
screens one after the other, as they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from editors.nvim.drawing import SGR, Frame, svg
from tests.e2e.conftest import COMMAND, private_home
from tests.editors.installed import find_neovim
from tests.fake_engine import interpreter

HERE = Path(__file__).parent
COLUMNS, ROWS = 78, 15

INIT = """\
vim.o.swapfile = false
vim.o.termguicolors = true
vim.o.laststatus = 2
vim.o.ruler = false
vim.opt.runtimepath:prepend('{plugin}')
vim.g.dgemma = {{ settings = {settings} }}
vim.o.statusline = ' %t%=%{{v:lua.require("dgemma").status()}} '
vim.keymap.set('i', '<C-l>', '<Plug>(dgemma-trigger)')
vim.keymap.set('i', '<Tab>', '<Plug>(dgemma-accept)')
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


class Terminal:
    """A Neovim in a tmux of its own; what is seen is read with its colours."""

    def __init__(self, file: Path, environment: Mapping[str, str], init: Path) -> None:
        self._place = tempfile.mkdtemp(prefix="dg-")
        setting = [f"{name}={value}" for name, value in environment.items()]
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
            find_neovim(),
            "-u",
            init,
            file,
        ]
        self._tmux("-f", config, "new-session", "-d", f"-x{COLUMNS}", f"-y{ROWS}", *words)

    def press(self, *keys: str) -> None:
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.3)

    def until(self, wanted: str, *keys: str) -> str:
        """The screen once it shows that; `keys` are pressed for it, and again as long as it does not come."""
        end, pressed = time.monotonic() + 60, float("-inf")
        while wanted not in SGR.sub("", shown := self._tmux("capture-pane", "-e", "-p")):
            assert time.monotonic() < end, shown
            if keys and time.monotonic() - pressed > 3:
                self.press(*keys)
                pressed = time.monotonic()
            time.sleep(0.1)
        return shown

    def close(self) -> None:
        self._tmux("kill-server")

    def _tmux(self, *arguments: object) -> str:
        command = ["tmux", "-u", "-S", f"{self._place}/tmux", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=True).stdout.decode()


def noisy(text: str, share: float) -> str:
    """A canvas of which this share has settled."""
    draws = random.Random(7)
    return "".join(one if one.isspace() or draws.random() < share else "░" for one in text)


DRAFTS = [noisy(TYPED, share / 6) for share in range(6)]


def ghost_text(terminal: Terminal) -> list[Frame]:
    terminal.press("5G", "A")
    frames = [(terminal.until("INSERT"), 1200)]
    terminal.press("Space")
    frames.append((terminal.until("INSERT"), 400))
    # nano has several ideas, and this is the one that a reader expects.
    frames.append((terminal.until("ValueError", "C-l"), 2200))
    terminal.press("Tab")
    time.sleep(1)
    return [*frames, (terminal.until("ValueError"), 1800)]


def rewrite(terminal: Terminal) -> list[Frame]:
    terminal.press("gg", "VG")
    frames = [(terminal.until("VISUAL"), 1000)]
    terminal.press(":DgemmaRewrite add types", "Enter")
    frames += [(terminal.until(draft.split("\n")[0]), 500) for draft in DRAFTS]
    frames.append((terminal.until("all ·"), 3500))
    terminal.press("A")
    time.sleep(1)
    return [*frames, (terminal.until("◆"), 1800)]


def main() -> None:
    with tempfile.TemporaryDirectory() as place, contextlib.contextmanager(private_home)() as home:
        folder = Path(place)
        script = {"candidates": [[TYPED]], "drafts": DRAFTS, "delay": 0.6}
        (folder / "script.json").write_text(json.dumps(script), encoding="utf-8")
        fake = f"{{ enginePython = '{interpreter(folder, 'scripted')}', model = 'instructed' }}"
        path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
        more = {"HOME": place, "PATH": path, "DGEMMA_SCRIPT": f"{place}/script.json"}
        environment = {name: value for name, value in {**home.environment, **more}.items() if "\n" not in value}
        for name, text, settings, act in (
            ("ghost", GHOST, "{ deadline = 10000 }", ghost_text),
            ("rewrite", CODE, fake, rewrite),
        ):
            subprocess.run([COMMAND, "engine", "stop"], env=environment, capture_output=True)
            init, file = folder / "init.lua", folder / "shop.py"
            init.write_text(INIT.format(plugin=HERE, settings=settings), encoding="utf-8")
            file.write_text(text, encoding="utf-8")
            terminal = Terminal(file, environment, init)
            try:
                terminal.until("◆")
                frames = act(terminal)
            finally:
                terminal.close()
            picture = HERE / f"{name}.svg"
            picture.write_text(svg(frames, COLUMNS, ROWS), encoding="utf-8")
            print(f"{picture.name}: {len(frames)} frames, {picture.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
