"""What reaches a terminal is what is meant to: source text cannot steer it."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dgemma_engine.wire import Candidate, Cell, Draft, Filled, Hole, MaskedText, Progress
from dgemma_lsp.terminal import CanvasView, canvas, glyphs, print_diff, print_summary, trace_line


def draft(*cells: tuple[str, str], texts: tuple[str, ...] = ("x",)) -> Draft:
    return Draft(1, 2, 10, 41.6, tuple(Cell(text, state) for text, state in cells), texts)


def console() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, color_system="standard", width=200), stream


@given(st.text())
def test_glyphs_hold_nothing_a_terminal_obeys(text):
    shown = glyphs(text)
    assert all(char.isprintable() or char in "\u200c\u200d" for char in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("\n", "⏎"),
        ("\t", "    "),
        ("\x1b[31m\x07\0", "␛[31m␇␀"),
        ("\x7f\x9b\u202e\ufeff\ud800\u2028", "······"),
        ("é🎉日本", "é🎉日本"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("\ufffd", "\ufffd"),
    ],
)
def test_control_characters_become_pictures(text, shown):
    assert glyphs(text) == shown


@pytest.mark.parametrize(
    ("before", "cells", "after", "plain"),
    [
        ("a\nb ", [("x", "accepted"), (" c", "pinned")], " c\n", "a\nb x c\n"),
        ("a", [("a", "pinned"), ("x\n", "accepted"), ("\ny", "noise")], "", "ax⏎\n⏎y"),
        ("1\n2\n3\n4\n5\n6", [("x", "noise")], "6\n7\n8\n9", "3\n4\n5\n6x6\n7\n8"),
        ("", [("a", "noise"), ("-\n-", "pinned"), ("b", "noise")], "", "a-\n-b"),
        ("(", [("x", "accepted"), ("<|filler|>", "noise"), ("", "accepted")], ")", "(x··)"),
        ("a", [("all of it pinned", "pinned")], "b", "ab"),
        ("\x1b", [("\x1b", "noise")], "\t\x07", "␛␛    ␇"),
    ],
)
def test_the_canvas_shows_the_hole_in_its_place(before, cells, after, plain):
    assert canvas(draft(*cells), before, after).plain == plain


def test_every_state_has_its_style():
    text = canvas(draft(("b", "accepted"), ("a", "pinned"), ("c", "noise")), "before", "after")
    assert [str(span.style) for span in text.spans] == ["dim", "green", "dim", "red", "dim"]


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        ([("a", "pinned"), ("x\n", "accepted"), ("y", "noise")], "pass  2/10     42 ms  x⏎░  x⏎y"),
        ([("x", "accepted"), ("-", "pinned"), ("<|filler|>", "accepted")], "pass  2/10     42 ms  x-·  x⏎y"),
        ([("", "noise"), ("", "accepted")], "pass  2/10     42 ms  ░·  x⏎y"),
    ],
)
def test_a_pass_fits_on_a_line(cells, line):
    assert trace_line(draft(*cells, texts=("x\ny",))) == line


def test_the_view_follows_a_fill_and_leaves_nothing(monkeypatch):
    monkeypatch.setattr("dgemma_lsp.terminal.FRAME", 0.0)
    shown, stream = console()
    with CanvasView(shown, MaskedText(("before", Hole(1), "after"))) as view:
        view.progress(Progress(1, "loading", 0.25))
        view.draft(draft(("hello", "noise")))
    assert "loading 25%" in stream.getvalue()
    assert "pass 2/10" in stream.getvalue()
    assert "hello" in stream.getvalue()
    # Transient: the last thing done is to erase the region.
    assert stream.getvalue().endswith("\x1b[2K")


def test_a_diff_is_coloured_and_safe():
    shown, stream = console()
    print_diff(shown, ["--- a/f\n", "@@ -1 +1 @@\n", " [bold]a\r\n", "-\x1b[2Jb\r\n", "+c\n"])
    assert stream.getvalue().splitlines() == [
        "\x1b[1m--- a/f\x1b[0m",
        "\x1b[36m@@ -1 +1 @@\x1b[0m",
        " [bold]a",
        "\x1b[31m-␛[2Jb\x1b[0m",
        "\x1b[32m+c\x1b[0m",
    ]


@pytest.mark.parametrize(
    ("finish", "words"),
    [("converged", "settled"), ("passes", "pass budget spent"), ("deadline", "deadline reached")],
)
def test_the_summary_says_how_it_ended(finish, words):
    shown, stream = console()
    candidates = (Candidate(("a",), 1.0, 7, finish), Candidate(("b\n",), -2.5, 8, "passes"))
    print_summary(shown, Filled(1, candidates, {"load": 800.0, "passes": 99.6}, {}), "seed 3")
    first, second = stream.getvalue().splitlines()
    assert f"7 passes, {words}; ms: load 800, passes 100; seed 3" in first
    assert "candidate 2 (-2.50): b⏎" in second


def test_long_lines_do_not_push_the_hole_off_the_screen():
    shown = canvas(draft(("x", "noise")), "a" * 9000, "b" * 9000).plain
    assert len(shown) < 1000
    assert "axb" in shown
