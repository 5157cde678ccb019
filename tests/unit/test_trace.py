"""The trace page as a file: what it carries, that nothing in it can act, that nothing is left out unsaid."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_engine.wire import Candidate, Cell, Choice, Draft, Filled
from dgemma_lsp import trace

FILLER = "<|filler|>"
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "&lt;",
    "\u2028\u2029",
    "\0\x1b",
    "\ud800",
    "$trace",
]


def free(text: str, entropy: float | None = 0.5, *, state: str = "accepted", choices: int = 2) -> Cell:
    return Cell(text, state, entropy, tuple(Choice(f"{text}{n or ''}", 0.5 / (n + 1)) for n in range(choices)))


def draft(index: int, *cells: Cell, canvas: int = 0, ms: float | None = None, texts: tuple[str, ...] = ("x",)) -> Draft:
    ms = 10.0 * index if ms is None else ms
    return Draft(1, index, 8, ms, cells or (free("x"), Cell(" after", "pinned")), texts, canvas)


def offered(index: int, canvas: int = 0) -> Draft:
    return draft(index, Cell("x", "accepted"), canvas=canvas)


def filled(*texts: str, ms: dict[str, float] | None = None) -> Filled:
    candidates = tuple(Candidate((text,), -1.5, 2, "converged") for text in texts or ("x",))
    return Filled(1, candidates, ms or {"passes": 25.0, "total": 40.0}, {"prefix": 9, "reused": 4})


def page(
    *drafts: Draft,
    title: str = "f.py:1:1",
    before: str = "a ",
    after: str = " after\n",
    texts: tuple[str, ...] = ("x",),
    ms: dict[str, float] | None = None,
) -> str:
    return trace.trace_page(title, before, after, drafts or [draft(1), offered(1)], filled(*texts, ms=ms), texts)


def split(html: str) -> tuple[str, dict[str, Any]]:
    """The page without its data, and the data."""
    begin, data, end = re.fullmatch(
        r'(.*<script type="application/json" id="trace">)(.*?)(</script>.*)', html, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    return begin + end, json.loads(data)


def data(*drafts: Draft, **options: Any) -> dict[str, Any]:
    return split(page(*drafts, **options))[1]


SHELL = split(page())[0]


@given(st.text(), st.text(), st.text())
def test_text_changes_nothing_but_the_data(title, around, cell):
    drafts = [draft(1, free(cell), texts=(cell,)), offered(1)]
    html = page(*drafts, title=title, before=around, after=around, texts=(cell,))
    assert split(html)[0] == SHELL


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back_as_it_was_and_holds_nothing_that_html_reads(text):
    html = page(draft(1, free(text), texts=(text,)), offered(1), title=text, before=text, after=text, texts=(text,))
    shell, found = split(html)
    carried = re.search(r'id="trace">(.*?)</script>', html, re.DOTALL).group(1)  # type: ignore[union-attr]
    assert shell == SHELL
    assert carried.isascii()
    assert not set("<>&") & set(carried)
    assert {found["title"], found["before"]["text"], found["after"]["text"], found["candidates"][0]["text"]} == {text}
    assert text in found["strings"]


def test_the_page_needs_nothing_from_elsewhere():
    assert re.findall(r"(?:https?:)?//[a-z]", SHELL) == []
    assert re.findall(r"@import|url\(", SHELL) == []
    assert set(re.findall(r'(?:src|href)="([^"]*)"', SHELL)) == {"data:,"} | {
        f"#icon-{name}" for name in ("first", "back", "play", "forward", "last")
    }


def test_the_policy_allows_this_script_and_this_style_alone():
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', SHELL).group(1)  # type: ignore[union-attr]
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    for directive, pattern in (
        ("script-src", r'<script type="module">(.*?)</script>'),
        ("style-src", r"<style>(.*?)</style>"),
    ):
        (text,) = re.findall(pattern, SHELL, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert parts[directive] == f"'sha256-{digest}'"
    assert parts["default-src"] == "'none'"
    assert SHELL.count("<script") == 2
    assert SHELL.count("<style") == 1
    assert not re.search(r"\son[a-z]+=|\sstyle=", SHELL)


def test_a_frame_is_what_the_draft_says():
    cells = (
        Cell("head", "pinned"),
        free("a", 0.123456),
        Cell("between", "pinned"),
        free(FILLER, 2.0, state="noise", choices=5),
        Cell("tail", "pinned"),
    )
    found = data(draft(1, *cells, ms=41.23456, texts=("a", "b")), offered(1), before="my head", after="tailor")
    strings, (canvas,) = found["strings"], found["canvases"]
    first, last = canvas["frames"]
    assert [strings[cell] for cell in first["cells"]] == ["a", "between", FILLER]
    assert (first["states"], first["entropy"]) == ("apn", [0.1235, None, 2.0])
    assert (first["pass"], first["of"], first["ms"]) == (1, 8, 41.2346)
    assert [strings[text] for text in first["reads"]] == ["a", "b"]
    assert [len(choices) // 2 for choices in first["choices"]] == [2, 0, 5]
    assert [strings[part] if index % 2 == 0 else part for index, part in enumerate(first["choices"][0])] == [
        "a",
        0.5,
        "a1",
        0.25,
    ]
    assert (last["pass"], last["entropy"], "choices" in last) == (0, [None], False)
    assert (canvas["rows"], canvas["head"], canvas["tail"]) == (2, 4, 4)


def test_every_canvas_has_its_frames_and_the_last_draft_says_which_was_chosen():
    drafts = [draft(1, canvas=7), draft(1, canvas=3), draft(2, canvas=7), draft(3, canvas=7), offered(1, canvas=3)]
    found = data(*drafts)
    assert [[frame["pass"] for frame in canvas["frames"]] for canvas in found["canvases"]] == [[1, 2, 3], [1, 0]]
    assert found["chosen"] == 1
    assert [canvas["turn"] for canvas in found["canvases"]] == [0, 0]


@pytest.mark.parametrize(
    ("passes", "written"),
    [
        ([(["c", "d"], "abcd"), (["x"], "abx")], "ab"),
        ([(["d", FILLER, "e"], "abcd"), (["x", "y"], "abcxy")], "abc"),
        ([([FILLER], "abcd")], "abcd"),
        # Where a hole may not shrink the row takes the token after the filler.
        ([([FILLER, "d"], "ab<|filler|>1d"), (["c", "d"], "abcd")], "ab"),
        ([(["y"], "abcd"), (["d"], "abcd")], "abc"),
        ([(["y"], "abcd")], None),
        ([(["d"], "abcd"), (["d"], "xyzd")], None),
        ([([], "abcd")], None),
    ],
)
def test_a_canvas_that_goes_on_says_what_was_written_before_it(passes, written):
    drafts = [
        draft(index, *(free(row) for row in rows), canvas=1, ms=30.0, texts=(text,))
        for index, (rows, text) in enumerate(passes, 1)
    ]
    first, second = data(draft(1), draft(2), *drafts, offered(len(passes), canvas=1))["canvases"]
    assert (first["turn"], first["written"]) == (0, "")
    assert (second["turn"], second["written"]) == (1, written)


@pytest.mark.parametrize(
    ("drafts", "ms", "times"),
    [
        ([(1, 0, 40.0), (2, 0, 50.0), (3, 0, 57.5)], 25.0, [(1, 7.5), (1, 10.0), (1, 7.5)]),
        ([(1, 0, 40.0), (1, 1, 41.0), (2, 0, 50.0)], 25.0, [(2, 16.0), (1, 9.0)]),
        ([(1, 0, 40.0), (2, 0, 50.0)], 0.0, [(1, None), (1, 10.0)]),
        ([(1, 0, 40.0), (2, 0, 50.0), (1, 1, 70.0), (2, 1, 75.0)], 40.0, [(1, None), (1, 10.0), (1, None), (1, 5.0)]),
    ],
)
def test_passes_are_timed_from_one_draft_to_the_next(drafts, ms, times):
    sent = [draft(index, canvas=canvas, ms=at) for index, canvas, at in drafts]
    found = data(*sent, offered(1), ms={"passes": ms, "total": 90.0})
    assert [(one["canvases"], one["took"]) for one in found["passes"]] == times


@pytest.mark.parametrize(
    ("before", "line", "shown", "lines"),
    [
        ("", 1, 0, 0),
        ("one\ntwo\n", 1, 2, 0),
        ("one\r\ntwo\rthree\n", 1, 3, 0),
        ("x\n" * 500 + "y", 481, 20, 480),
        ("z" * 9000, 1, 0, 0),
    ],
)
def test_what_stands_far_from_the_hole_is_left_out_and_counted(before, line, shown, lines):
    found = data(before=before, after=before)
    assert (found["before"]["line"], found["before"]["text"].count("\n"), found["before"]["lines"]) == (
        line,
        shown,
        lines,
    )
    whole = before.replace("\r\n", "\n").replace("\r", "\n")
    assert whole.endswith(found["before"]["text"])
    assert whole.startswith(found["after"]["text"])
    for side in ("before", "after"):
        assert found[side]["chars"] == len(whole) - len(found[side]["text"])
        assert len(found[side]["text"]) <= trace.CHARS_AROUND


def test_choices_beyond_a_size_are_those_of_every_nth_pass_and_the_page_knows(monkeypatch):
    monkeypatch.setattr(trace, "CHOICE_CELLS", 4)
    found = data(*(draft(index) for index in range(1, 11)), offered(10))
    assert found["every"] == 3
    kept = [frame["pass"] for frame in found["canvases"][0]["frames"] if "choices" in frame]
    assert kept == [1, 4, 7, 10]


def test_a_long_trace_stays_small():
    rows = tuple(free(f"token {row}", row / 7, choices=5) for row in range(64))
    html = page(*(draft(index, *rows) for index in range(1, 1001)), offered(1000))
    assert len(html) < 8_000_000
    assert split(html)[1]["every"] == 1


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_no_word_for_are_none(number):
    found = data(draft(1, free("x", number), ms=number), offered(1), ms={"total": number})
    frame = found["canvases"][0]["frames"][0]
    assert (frame["entropy"], frame["ms"], found["ms"]["total"]) == ([None], None, None)


def test_a_fill_without_drafts_still_has_a_page():
    _, found = split(trace.trace_page("t", "a", "b", [], filled("x", "y"), ["x", "y"]))
    assert found["canvases"] == []
    assert [one["text"] for one in found["candidates"]] == ["x", "y"]
