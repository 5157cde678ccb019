"""Options, keys and help of the plugin."""

from __future__ import annotations

from typing import Any

import pytest

from tests.editors.nvim.neovim import PLUGIN, Neovim
from tests.editors.nvim.stub import NEOVIM, Desk, environment

OPTIONS = [
    ({"comand": 1}, ["there is no option comand"]),
    ({"cmd": 3, "ghost": "none"}, ["the option cmd cannot be a number", "the option ghost is one of auto, own, off"]),
    ({"keys": False, "icons": {"ready": "+"}, "filetypes": ["lua"]}, []),
]


@pytest.mark.parametrize(("options", "problems"), OPTIONS)
def test_options(desk: Desk, options: dict[str, Any], problems: list[str]) -> None:
    neovim = Neovim(NEOVIM, desk.folder, environment(), {})
    with neovim:
        neovim.lua("require('dgemma').setup(...)", options)
        config = neovim.lua("return require('dgemma.config').get()")
        assert neovim.said == [f"dgemma: {problem} (:help dgemma-config)" for problem in problems]
        assert config["icons"]["down"] == "✗"
        if not problems:
            assert config["filetypes"] == ["lua"]


def test_an_old_neovim_is_told(desk: Desk) -> None:
    with Neovim(NEOVIM, desk.folder, environment(), {}) as neovim:
        neovim.lua(
            "vim.fn.has = function() return 0 end; vim.g.loaded_dgemma = nil; vim.cmd('runtime plugin/dgemma.lua')"
        )
        assert neovim.said == ["dgemma needs Neovim 0.11 or newer"]


def mapped(neovim: Neovim, mode: str) -> list[list[str]]:
    """The keys that are mapped, each with what is said of it."""
    return neovim.lua(
        "return vim.iter(vim.api.nvim_get_keymap(...)):map(function(one)"
        " return { one.lhs, one.desc or '' } end):totable()",
        mode,
    )


def test_it_maps_no_key(desk: Desk) -> None:
    neovim = desk.editing("")
    for mode in "nivxsoct":
        maps = [map_ for map_ in mapped(neovim, mode) if "dgemma" in map_[1]]
        assert [lhs for lhs, _ in maps if not lhs.startswith("<Plug>(dgemma-")] == []


def test_the_help_has_its_tags(desk: Desk) -> None:
    with Neovim(NEOVIM, desk.folder, environment(), {}) as neovim:
        doc = desk.folder / "doc"
        doc.mkdir()
        (doc / "dgemma.txt").write_bytes((PLUGIN / "doc" / "dgemma.txt").read_bytes())
        neovim.command(f"helptags {doc}")
        tags = {line.split("\t")[0] for line in (doc / "tags").read_text(encoding="utf-8").splitlines()}
        commands = neovim.lua("return vim.tbl_keys(vim.api.nvim_get_commands({}))")
        plugs = [lhs for mode in "in" for lhs, _ in mapped(neovim, mode)]
        functions = neovim.lua("return vim.tbl_keys(require('dgemma'))")
        options = neovim.lua("return vim.tbl_keys(require('dgemma.config').defaults)")
        wanted = {f":{name}" for name in commands if name.startswith("Dgemma")}
        wanted |= {lhs for lhs in plugs if "dgemma" in lhs}
        wanted |= {f"dgemma.{name}()" for name in functions} | {f"dgemma-{name}" for name in [*options, "cmd"]}
        assert wanted <= tags
