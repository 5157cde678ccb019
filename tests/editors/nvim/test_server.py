"""The server: found, started, given up, started again, and what it says of itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.editors.nvim.neovim import Neovim
from tests.editors.nvim.stub import NEOVIM, SERVER, Desk, environment, item, place


def test_what_it_says_of_itself(desk: Desk) -> None:
    desk.editing("x\n", settings={"trigger": "manual"})
    [params] = desk.stub.heard("initialize")
    assert params["capabilities"]["workspace"]["workspaceEdit"]["documentChanges"] is True
    assert params["initializationOptions"] == {"trigger": "manual", "drafts": "rewrite", "asks": True}


def neovim_with(desk: Desk, options: Any, **variables: str) -> Neovim:
    one = Neovim(NEOVIM, desk.folder, environment(**variables), options)
    desk._open.append(one)
    return one


def script(path: Path, desk: Desk, python: str = sys.executable) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {python} {SERVER} {desk.stub.folder}\n")
    path.chmod(0o755)
    return path


def test_where_it_is_found(desk: Desk) -> None:
    told, active, path = (
        script(desk.folder / name / "bin" / "dgemma-lsp", desk) for name in ("told", "active", "path")
    )
    search = f"{path.parent}{os.pathsep}/usr/bin{os.pathsep}/bin"
    variables = {"PATH": search, "VIRTUAL_ENV": str(active.parent.parent)}
    find = "return { require('dgemma.server').find() }"
    assert neovim_with(desk, {"cmd": str(told)}, **variables).lua(find) == [[str(told)], "the option cmd"]
    assert neovim_with(desk, {}, **variables).lua(find) == [[str(active)], "the active environment"]
    assert neovim_with(desk, {}, PATH=search).lua(find) == [[str(path)], "PATH"]


def test_none_is_installed(desk: Desk) -> None:
    neovim = neovim_with(desk, {}, PATH="/usr/bin:/bin")
    for name in ("a.py", "b.py"):
        neovim.edit(desk.folder / name, "")
        neovim.lua("vim.wait(200)")
    [said] = neovim.said
    assert "pip install 'dgemma-lsp[engine]'" in said
    assert neovim.lua("return require('dgemma').status()") == "✗ dgemma missing"
    neovim.command("checkhealth dgemma")
    assert any("there is no dgemma-lsp" in line for line in neovim.lines)


def test_its_python_is_gone(desk: Desk) -> None:
    broken = desk.folder / "dgemma-lsp"
    broken.write_text("#!/nowhere/python\n")
    broken.chmod(0o755)
    neovim = neovim_with(desk, {"cmd": str(broken)})
    for name in ("a.py", "b.py"):
        neovim.edit(desk.folder / name, "")
        neovim.lua("vim.wait(200)")
    [said] = neovim.said
    assert "is its Python still there" in said
    neovim.command("checkhealth dgemma")
    assert any("cannot be run" in line for line in neovim.lines)


def test_it_ends_again_and_again(desk: Desk) -> None:
    desk.stub.play(dies="initialize")
    neovim = desk.neovim()
    neovim.lua("local server = require('dgemma.server'); server.pause = 50")
    neovim.edit(desk.folder / "a.py", "")
    neovim.until("#said == 2")
    assert "No module named 'pygls'" in neovim.said[0]
    assert ":DgemmaLog" in neovim.said[0]
    assert "not started again" in neovim.said[1]
    for name in ("b.py", "c.py"):
        neovim.edit(desk.folder / name, "")
    neovim.lua("vim.wait(500)")
    assert len(desk.stub.heard("initialize")) == 3
    assert len(neovim.said) == 2
    neovim.command("DgemmaStatus")
    assert "ended 3 times" in neovim.said[2]
    desk.stub.play()
    neovim.command("DgemmaRestart")
    neovim.attached()


def test_it_is_killed_and_comes_back(desk: Desk) -> None:
    desk.stub.play(inline=[item("one", 0, 0, 1)])
    neovim = desk.editing("\n")
    neovim.lua("require('dgemma.server').pause = 50")
    desk.stub.play(inline=[item("one", 0, 0, 1)], dies="textDocument/inlineCompletion")
    neovim.press("io")
    neovim.until("#said == 1")
    desk.stub.play(inline=[item("one", 0, 0, 1)])
    neovim.attached()
    neovim.press("<BS>o")
    neovim.until_shown("one")


def test_restart_and_quit_are_no_crashes(desk: Desk) -> None:
    neovim = desk.editing("\n")
    neovim.command("DgemmaRestart")
    neovim.until("#vim.lsp.get_clients({ name = 'dgemma' }) == 0 or vim.lsp.get_clients()[1].id > 1")
    neovim.attached()
    assert neovim.said == []
    assert len(desk.stub.heard("initialize")) == 2


def test_one_server_for_all_folders(desk: Desk) -> None:
    neovim = desk.editing("\n")
    for name in ("one", "two"):
        (desk.folder / name / ".git").mkdir(parents=True)
        neovim.edit(desk.folder / name / "b.py", "")
        neovim.attached()
    assert len(desk.stub.heard("initialize")) == 1


def test_it_says_how_it_is(desk: Desk) -> None:
    status = {"state": "loading", "model": "nano", "device": "cpu", "message": "soon", "instructed": False}
    desk.stub.play(status=status)
    neovim = desk.neovim()
    neovim.command("autocmd User DgemmaStatus let g:heard = v:event")
    neovim.lua(
        "vim.api.nvim_create_autocmd('User', { pattern = 'DgemmaStatus',"
        " callback = function(event) heard = event.data end })"
    )
    assert neovim.lua("return require('dgemma').status()") == ""
    neovim.edit(desk.folder / "a.py", "")
    neovim.until("heard")
    assert neovim.lua("return heard") == status
    assert neovim.lua("return require('dgemma').status()") == "… nano loading"
    neovim.command("DgemmaStatus")
    neovim.until("#said == 1")
    assert neovim.said == ["dgemma: nano: loading on cpu\nsoon\nrequests: 2 offered"]
    neovim.command("DgemmaLog")
    assert neovim.lua("return vim.fn.expand('%:t')") == "lsp.log"


def test_fix_takes_the_one_action(desk: Desk) -> None:
    neovim = desk.editing("{\n", "a.json")
    neovim.command("DgemmaFix")
    neovim.until("#said == 1")
    edit = {"changes": {(desk.folder / "a.json").as_uri(): [{"range": place((0, 1), (0, 1)), "newText": "\n}"}]}}
    desk.stub.play(actions=[{"title": "close", "kind": "source.fixAll.dgemma", "edit": edit}])
    neovim.command("DgemmaFix")
    neovim.until("vim.fn.line('$') == 2")
    [*_, params] = desk.stub.heard("textDocument/codeAction")
    assert params["context"]["only"] == ["source.fixAll.dgemma"]
