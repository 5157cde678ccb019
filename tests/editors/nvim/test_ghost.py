"""Ghost text, by Neovim itself and by the plugin: what is seen, asked for and taken."""

from __future__ import annotations

import pytest

from tests.editors.nvim.neovim import Neovim
from tests.editors.nvim.stub import Desk, item

NAMES = ("accept", "accept-word", "accept-line", "next", "prev", "trigger", "dismiss")
KEYS = {name: f"<S-F{number}>" for number, name in enumerate(NAMES, 1)}
"""That insert themselves where they are not mapped."""

each_layer = pytest.mark.parametrize("layer", ["auto", "own"])


def ask(neovim: Neovim, what: str) -> None:
    """Press a key that is mapped to one of the <Plug> maps."""
    neovim.press(KEYS[what])
    neovim.settled()


def keys(neovim: Neovim) -> None:
    for name, key in KEYS.items():
        neovim.command(f"imap {key} <Plug>(dgemma-{name})")


@each_layer
def test_shown_typed_along_and_taken(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[item("print(items)", 0, 0, 2)])
    neovim = desk.editing("\n", ghost=layer)
    keys(neovim)
    neovim.press("ipr")
    neovim.until_shown("print(items)")
    asked = len(desk.stub.heard("textDocument/inlineCompletion"))
    neovim.press("int")
    neovim.lua("vim.wait(400)")
    neovim.until_shown("print(items)")
    assert neovim.lines == ["print"]
    assert len(desk.stub.heard("textDocument/inlineCompletion")) == asked
    ask(neovim, "accept")
    assert neovim.lines == ["print(items)"]
    assert neovim.call("nvim_win_get_cursor", 0) == [1, 12]
    neovim.press("<Esc>u")
    neovim.settled()
    assert neovim.lines == ["print"]


@each_layer
def test_something_else_typed(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[item("print(items)", 0, 0, 2)])
    neovim = desk.editing("\n", ghost=layer)
    keys(neovim)
    neovim.press("ipr")
    neovim.until_shown("print(items)")
    desk.stub.play(inline=[])
    neovim.press("o")
    neovim.until_hidden("items")
    ask(neovim, "accept")
    assert neovim.lines == ["pro<S-F1>"]


@each_layer
def test_by_words_and_lines(desk: Desk, layer: str) -> None:
    text = "for é in it:\n    print(é)\nend"
    desk.stub.play(inline=[item(text, 1, 3, 4)])
    neovim = desk.editing("\n🙂 tail\n", ghost=layer)
    keys(neovim)
    neovim.press("j0wif")
    neovim.until_shown("🙂 for é in it:tail")
    taken = ["for", "for é", "for é in"]
    for expected in taken:
        ask(neovim, "accept-word")
        assert neovim.lines[1] == f"🙂 {expected}tail"
        neovim.until_shown("print(é)")
    ask(neovim, "accept-line")
    assert neovim.lines[1] == "🙂 for é in it:tail"
    ask(neovim, "accept-line")
    assert neovim.lines[1:] == ["🙂 for é in it:", "    print(é)tail"]
    neovim.until_shown("end")
    ask(neovim, "accept")
    assert neovim.lines[1:] == ["🙂 for é in it:", "    print(é)", "endtail"]


@each_layer
def test_closers_that_it_brings_itself(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[item("f(a, g(b))", 0, 0, 3)])
    neovim = desk.editing("()\n", ghost=layer)
    keys(neovim)
    neovim.press("if")
    neovim.until_shown("f(a, g(b))\n")
    neovim.press("<Right>")
    neovim.until_shown("f(a, g(b))\n")
    ask(neovim, "accept-word")
    assert neovim.lines == ["f(a)"]
    ask(neovim, "accept")
    assert neovim.lines == ["f(a, g(b))"]


@each_layer
def test_text_behind_the_cursor_stays_in_sight(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[item("range(9)", 0, 9, 11)])
    neovim = desk.editing("for x in : pass\n", ghost=layer)
    neovim.press("9lira")
    neovim.until_shown("for x in range(9): pass")


@each_layer
def test_cycling_and_asking_by_hand(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[], invoked=[item(text, 0, 0, 1) for text in ("one", "once", "only")])
    neovim = desk.editing("\n", ghost=layer)
    keys(neovim)
    neovim.press("io")
    neovim.lua("vim.wait(400)")
    assert "ne" not in neovim.screen.splitlines()[0]
    ask(neovim, "trigger")
    neovim.until_shown("one (1/3)")
    ask(neovim, "next")
    neovim.until_shown("once (2/3)")
    ask(neovim, "prev")
    ask(neovim, "prev")
    neovim.until_shown("only (3/3)")
    # Automatic requests have nothing, and do not take it away while it is typed along.
    neovim.press("n")
    neovim.lua("vim.wait(400)")
    neovim.until_shown("only")
    ask(neovim, "dismiss")
    neovim.until_hidden("only")
    ask(neovim, "dismiss")
    assert neovim.lines == ["on<S-F7>"]


@each_layer
def test_a_single_one_asks_for_more(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[item("one", 0, 0, 1)], invoked=[item(text, 0, 0, 1) for text in ("once", "only")])
    neovim = desk.editing("\n", ghost=layer)
    keys(neovim)
    neovim.press("io")
    neovim.until_shown("one")
    ask(neovim, "next")
    neovim.until_shown("once (1/2)")


@each_layer
def test_nothing_comes_and_it_says_why(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[], invoked=[])
    neovim = desk.editing("\n", ghost=layer)
    keys(neovim)
    neovim.press("io")
    ask(neovim, "trigger")
    neovim.until("vim.iter(said):any(function(text) return text:find('nothing to add') end) or"
                 " vim.fn.execute('messages'):find('nothing to add') ~= nil")  # fmt: skip


@each_layer
def test_the_menu_goes_first(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[item("value = 1", 1, 0, 1)])
    neovim = desk.editing("value vast\n\n", ghost=layer)
    keys(neovim)
    neovim.command("set completeopt=menuone,noselect")
    neovim.press("jiv")
    neovim.until_shown("value = 1")
    neovim.press("<C-n>")
    neovim.until("vim.fn.pumvisible() == 1")
    neovim.until_hidden("value = 1")
    neovim.lua("vim.wait(400)")
    neovim.until_hidden("value = 1")
    assert neovim.lua("return require('dgemma').accept()") is False


@each_layer
def test_functions_in_a_mapping(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[item("one two", 0, 1, 2)])
    neovim = desk.editing("\n", ghost=layer)
    neovim.lua(
        "vim.keymap.set('i', '<Tab>', function()"
        " return require('dgemma').accept_word() and '' or '<Tab>' end, { expr = true })"
    )
    neovim.command("set noexpandtab")
    neovim.press("i<Tab>o")
    neovim.until_shown("one two")
    desk.stub.play(inline=[])
    neovim.press("<Tab>")
    neovim.until("vim.api.nvim_get_current_line() == '\tone'")
    neovim.press("<Tab>")
    neovim.until("vim.api.nvim_get_current_line() == '\tone two'")
    neovim.press("<Tab>")
    neovim.until("vim.api.nvim_get_current_line() == '\tone two\t'")


@each_layer
def test_no_answer_keeps_and_leaving_hides(desk: Desk, layer: str) -> None:
    desk.stub.play(inline=[item("one", 0, 0, 1)])
    neovim = desk.editing("\n", ghost=layer)
    neovim.press("io")
    neovim.until_shown("one")
    desk.stub.play(inline=None)
    neovim.press("<Esc>")
    neovim.until_hidden("one")


def test_it_can_be_switched_off(desk: Desk) -> None:
    neovim = desk.editing("\n", ghost="off")
    neovim.press("io")
    neovim.lua("vim.wait(400)")
    assert desk.stub.heard("textDocument/inlineCompletion") == []
