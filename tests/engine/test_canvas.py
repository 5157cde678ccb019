"""Masked text in tokens: what lies on a canvas, and which prefix goes before it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_engine.canvas import Slots, build_canvas, prefix_ids, stack
from dgemma_engine.model import read_config
from dgemma_engine.tokenizer import Tokenizer
from dgemma_engine.wire import Hole

from .test_tokenizer import TEXTS, loaded

BEGIN, END, FILLER = 2, 1, 7


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Tokenizer:
    assert read_config(tiny_checkpoint).traits.filler_id == FILLER
    return loaded(tiny_checkpoint)


def rows(tokenizer: Tokenizer, *parts: Hole | str, slots: list[int], width: int, **options: int | None) -> str:
    """The canvas on one line: pinned tokens as they are, `_` a free row, `[…]` a kept one."""
    canvas = build_canvas(tokenizer, parts, slots, width, **{"filler": None, "end": None, **options})
    assert len(canvas.ids) == len(canvas.free) == len(canvas.kept) <= width
    out = ""
    for id_, free, kept in zip(canvas.ids, canvas.free, canvas.kept, strict=True):
        out += (f"[{tokenizer.spell(id_)}]" if kept else "_") if free else tokenizer.spell(id_)
    return out


@pytest.mark.parametrize(
    ("parts", "slots", "options", "expected"),
    [
        pytest.param([Hole(3), "xyz"], [3], {"width": 9}, "___xyz", id="hole-then-text"),
        pytest.param([Hole(3), "xyz"], [3], {"width": 9, "end": END}, "___xyz<eos>", id="all-of-it"),
        pytest.param([Hole(3), "xyz"], [3], {"width": 6, "end": END}, "___xyz", id="no-room-for-the-end"),
        pytest.param([Hole(3), "xyz"], [3], {"width": 5, "end": END}, "___xy", id="text-cut"),
        pytest.param([Hole(3), ""], [3], {"width": 5, "end": END}, "___<eos>", id="nothing-after"),
        pytest.param([Hole(3), "xyz"], [3], {"width": 9, "end": END, "suffix": 2}, "___xy", id="suffix"),
        pytest.param([Hole(3), "xyz"], [3], {"width": 9, "end": END, "suffix": 5}, "___xyz<eos>", id="short-suffix"),
        pytest.param([Hole(3), "xyz"], [3], {"width": 5, "suffix": 5}, "___xy", id="suffix-cut"),
        pytest.param(
            [Hole(1), "xyz", Hole(1), "xyz"], [1, 1], {"width": 9, "suffix": 1}, "_xyz_x", id="suffix-of-the-last"
        ),
        pytest.param([Hole(1), "x", Hole(1), "", Hole(2), "y"], [1, 1, 2], {"width": 9}, "_x___y", id="adjacent"),
        pytest.param([Hole(2), "<eos>"], [2], {"width": 9, "end": END}, "__<eos><eos>", id="literal"),
        pytest.param([Hole(4, "xy", 0.5), "z"], [4], {"width": 9}, "[x][y]__z", id="draft"),
        pytest.param(
            [Hole(4, "xy", 0.5), "z"],
            [4],
            {"width": 9, "filler": FILLER},
            "[x][y][<|filler|>][<|filler|>]z",
            id="elastic-draft",
        ),
        pytest.param([Hole(4, "xyzxyz", 0.5), "z"], [4], {"width": 9}, "[x][y][z][x]z", id="draft-cut"),
        pytest.param([Hole(3, "xy", 1.0), "z"], [3], {"width": 9, "filler": FILLER}, "___z", id="draft-forgotten"),
        pytest.param([Hole(3, "", 0.5), "z"], [3], {"width": 9, "filler": FILLER}, "___z", id="empty-draft"),
    ],
)
def test_rows(tokenizer: Tokenizer, parts: list, slots: list[int], options: dict, expected: str) -> None:
    assert rows(tokenizer, *parts, slots=slots, **options) == expected


def test_text_between_holes_is_never_cut(tokenizer: Tokenizer) -> None:
    between = "x" * 30
    assert rows(tokenizer, Hole(2), between, Hole(1), "", slots=[2, 1], width=40) == f"__{between}_"


def test_slots_of_the_holes(tokenizer: Tokenizer) -> None:
    canvas = build_canvas(tokenizer, [Hole(2), "xy", Hole(3), ""], [2, 3], 16, filler=None, end=END)
    assert canvas.holes == [Slots(0, 2), Slots(4, 7)]


def test_a_batch_is_padded_to_its_widest(tokenizer: Tokenizer) -> None:
    short, long = (build_canvas(tokenizer, [Hole(n), "x"], [n], 8, filler=None, end=None) for n in (1, 3))
    batch = stack([short, long], pad=0, device=torch.device("cpu"))
    assert batch.ids.shape == (2, 4)
    assert batch.free.tolist() == [[True, False, False, False], [True, True, True, False]]
    assert batch.real is not None
    assert batch.real.tolist() == [[True, True, False, False], [True] * 4]
    assert stack([long, long], pad=0, device=torch.device("cpu")).real is None


@given(text=st.lists(TEXTS, max_size=12).map("\n".join), limit=st.integers(8, 96))
@settings(max_examples=100)
def test_a_prefix_is_the_end_of_the_text(tiny_checkpoint: Path, text: str, limit: int) -> None:
    tokenizer = loaded(tiny_checkpoint)
    ids = prefix_ids(tokenizer, text, BEGIN, limit)
    assert ids[0] == BEGIN
    assert len(ids) <= limit
    assert text.endswith(tokenizer.decode(ids[1:]))
    whole = tokenizer.encode(text)
    if len(whole) < limit - limit // 16:
        assert ids == [BEGIN, *whole]
    else:
        # Half of the room is used, were the first line as long as that.
        assert len(ids) > limit // 3


TYPED = "    total = sum(values)  # of them\n    if total > limit:\n        return None\n\n\n"


@pytest.mark.parametrize(
    ("document", "typed", "limit"),
    [
        pytest.param(TYPED * 40, TYPED * 4, 256, id="code"),
        pytest.param(TYPED.replace("\n", "\r\n") * 40, TYPED.replace("\n", "\r\n") * 4, 256, id="crlf"),
        pytest.param("x = [" + "1, 22, 333, " * 400, "4444, 5, " * 30, 256, id="one-long-line"),
        pytest.param(("word " * 100 + "\n") * 8, "another " * 60, 256, id="long-lines"),
        pytest.param("ab\n" * 300 + "x" * 2000, "xyz" * 80, 128, id="short-lines-then-a-long-one"),
        pytest.param("数据" * 600, "名字" * 60, 256, id="three-tokens-a-character"),
        pytest.param(" " * 9000, " " * 300, 256, id="blank"),
    ],
)
def test_typing_seldom_moves_the_start(tokenizer: Tokenizer, document: str, typed: str, limit: int) -> None:
    states = [prefix_ids(tokenizer, document + typed[:n], BEGIN, limit) for n in range(len(typed) + 1)]
    assert max(map(len, states)) <= limit
    stays = [after[: len(before) - 6] == before[:-6] for before, after in pairwise(states)]
    tokens = len(tokenizer.encode(typed))
    assert stays.count(False) <= 2 + tokens // 16
