"""Rewrites through the engine's front door, on random weights or on what a script says in their place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache as once
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine.canvas import Canvas
from dgemma_engine.engine import Engine
from dgemma_engine.errors import EngineError
from dgemma_engine.model import Rows
from dgemma_engine.passes import Passes
from dgemma_engine.rewrite import Block, cut
from dgemma_engine.sampler import Denoising, Pass
from dgemma_engine.wire import Draft, Filled, Hole, MaskedText, Prompt

from .test_tokenizer import TEXTS

CANVAS = 32
PROMPT = Prompt("Simplify this.", "python", "a.py")
LINES = "".join(f"    x{n} = mean([{n}])\n" for n in range(12))


@once
def load(folder: Path) -> Engine:
    return Engine.load(str(folder))


@pytest.fixture
def engine(chat_checkpoint: Path) -> Engine:
    return load(chat_checkpoint)


def rewrite(engine: Engine, *parts: str | Hole, **options: Any) -> tuple[list[Draft], Filled]:
    seen: list[Draft] = []
    options = {"passes": 4, "seed": 0, "prompt": PROMPT, **options}
    return seen, engine.fill(MaskedText(parts), on_draft=seen.append, **options)


def text_of(filled: Filled) -> str:
    (candidate,) = filled.candidates
    (text,) = candidate.texts
    return text


@contextmanager
def answers(engine: Engine, *said: str) -> Iterator[list[Canvas]]:
    """Has the model say this, a canvas after the other, in one pass each; `|` is the end of a turn. The canvases."""
    canvases: list[Canvas] = []
    waiting = list(said)
    take, run = Denoising.take, Passes.run

    def ran(self: Passes, given_: list[Canvas], *rest: Any) -> Any:
        canvases.extend(given_)
        return run(self, given_, *rest)

    def settle(self: Denoising, hidden: Tensor) -> Pass:
        done = take(self, hidden)
        pieces = waiting.pop(0).split("|")
        ids = engine.tokenizer.encode(pieces[0])
        for piece in pieces[1:]:
            ids += [5, *engine.tokenizer.encode(piece)]
        row = done.canvas[0].tolist()
        free = self.free[0].tolist()
        filled = [id_ if is_free else old for id_, is_free, old in zip(ids + [9] * 99, free, row, strict=False)]
        return Pass(done.canvas, done.argmax, torch.tensor([filled]), done.accepted, done.entropy, torch.tensor([True]))

    with mock.patch.object(Denoising, "take", settle), mock.patch.object(Passes, "run", ran):
        yield canvases
    assert not waiting, f"nobody asked for {waiting}"


@contextmanager
def prompts(engine: Engine) -> Iterator[list[str]]:
    """The prefix of every canvas, spelled."""
    seen: list[str] = []
    run = Passes.run

    def ran(self: Passes, canvases: Any, shrinks: Any, prefix: Any, *rest: Any) -> Any:
        seen.append("".join(engine.tokenizer.spell(id_) for id_ in prefix.ids + prefix.pending))
        return run(self, canvases, shrinks, prefix, *rest)

    with mock.patch.object(Passes, "run", ran):
        yield seen


def rows(engine: Engine, canvas: Canvas) -> str:
    """A canvas on one line: pinned tokens as they are, `_` a free row, `[…]` a kept one."""
    spell = engine.tokenizer.spell
    return "".join(
        (f"[{spell(id_)}]" if kept else "_") if free else spell(id_)
        for id_, free, kept in zip(canvas.ids, canvas.free, canvas.kept, strict=True)
    )


@given(texts=st.tuples(TEXTS, TEXTS, TEXTS), noise=st.sampled_from([0.3, 0.7, 1.0]), seed=st.integers(0, 9))
@settings(max_examples=25)
def test_a_rewrite_is_one_text_without_control_tokens(
    chat_checkpoint: Path, texts: tuple[str, str, str], noise: float, seed: int
) -> None:
    before, selection, after = texts
    engine = load(chat_checkpoint)
    seen, filled = rewrite(engine, before, Hole(20, selection, noise), after, passes=2, seed=seed)
    text = text_of(filled)
    assert seen[-1].texts == (text,)
    core = selection.strip(" \t\r\n")
    lead, tail = selection.split(core, 1) if core else ("", selection)
    assert text.startswith(lead)
    assert text.endswith(tail)
    assert filled.candidates[0].score is None
    assert filled.candidates[0].passes >= 1


def test_the_prompt_is_the_prefix_and_the_indentation_begins_the_answer(engine: Engine) -> None:
    parts = ("def f():\n", Hole(10, "\n    return 1\n\n"), "\nf()\n")
    with prompts(engine) as seen, answers(engine, "return 2|"):
        _, filled = rewrite(engine, *parts)
    assert text_of(filled) == "\n    return 2\n\n"
    (prompt,) = seen
    assert prompt.startswith("<bos><|turn>user\nThis is a.py (language: python). ")
    assert "<document>\ndef f():\n\n<selection>    return 1</selection>\n\n\nf()\n\n</document>" in prompt
    assert prompt.endswith("<turn|>\n<|turn>model\n<|channel>thought\n<channel|>    ")


@pytest.mark.parametrize(
    ("hole", "expected"),
    [
        pytest.param(Hole(6, "abc", 0.5), "[a][b][c][<turn|>]__<turn|>", id="edited"),
        pytest.param(Hole(4, "abc", 0.5), "[a][b][c][<turn|>]<turn|>", id="one-to-spare"),
        pytest.param(Hole(1, "abc", 0.5), "[a][b][c]<turn|>", id="no-room"),
        pytest.param(Hole(6, "abc", 1.0), "______<turn|>", id="forgotten"),
        pytest.param(Hole(6, "", 0.5), "______<turn|>", id="nothing-there"),
        pytest.param(Hole(6, " \n", 0.5), "______<turn|>", id="blank"),
        pytest.param(Hole(6), "______<turn|>", id="no-draft"),
        pytest.param(Hole(CANVAS - 1, "ab", 1.0), "_" * (CANVAS - 1) + "<turn|>", id="as-much-as-fits"),
        pytest.param(Hole(CANVAS, "ab", 1.0), "_" * (CANVAS - 1) + "<turn|>", id="one-row-too-many"),
        pytest.param(Hole(99, "ab", 0.5), "[a][b][<turn|>]" + "_" * (CANVAS - 3), id="more-canvases-if-need-be"),
    ],
)
def test_the_canvas(engine: Engine, hole: Hole, expected: str) -> None:
    with answers(engine, "x|") as canvases:
        rewrite(engine, hole)
    assert [rows(engine, canvas) for canvas in canvases] == [expected]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(["y = 2|"], "y = 2", id="ends"),
        pytest.param(["y = 2|z|"], "y = 2", id="text-behind-the-end"),
        pytest.param(["y = 2 \n\n|"], "y = 2", id="blank-at-the-end"),
        pytest.param(["```\ny\n```|"], "```\ny\n```", id="a-fence-is-text"),
        pytest.param(["|y", "y|"], "y", id="rolled-again"),
        pytest.param([" \n|", "y|"], "y", id="blank-is-rolled-again"),
        pytest.param(["x" * CANVAS, "y|z"], "x" * CANVAS + "y", id="two-canvases"),
        pytest.param(["x" * CANVAS, "|z"], "x" * CANVAS, id="an-end-on-the-next-canvas"),
        pytest.param(["x" * CANVAS, "y" * CANVAS, "z" * 6], "x" * CANVAS + "y" * CANVAS + "z" * 6, id="all-the-room"),
    ],
)
def test_where_an_answer_ends(engine: Engine, said: list[str], expected: str) -> None:
    with answers(engine, *said) as canvases:
        seen, filled = rewrite(engine, "a\n", Hole(2 * CANVAS + 6, "y = 1\n"), "b\n")
    assert text_of(filled) == expected + "\n"
    assert seen[-1].texts == (expected + "\n",)
    assert filled.tokens["canvases"] == len(canvases) == len(said)
    assert filled.tokens["canvas"] == CANVAS


def test_what_was_written_stands_before_the_next_canvas(engine: Engine) -> None:
    with prompts(engine) as seen, answers(engine, "x" * CANVAS, "y" * CANVAS, "z|"):
        rewrite(engine, Hole(99, "y = 1"))
    first, second, third = seen
    assert (second, third) == (first + "x" * CANVAS, first + "x" * CANVAS + "y" * CANVAS)


@pytest.mark.parametrize("said", [["|", "|"], [" |x", "\n|"], ["|", "\t" * CANVAS, "|"]])
def test_an_answer_without_text_fails_at_the_second_time(engine: Engine, said: list[str]) -> None:
    with answers(engine, *said), pytest.raises(EngineError, match="answered nothing") as caught:
        rewrite(engine, Hole(99, "y = 1"))
    assert caught.value.code == "empty"
    # And whatever it had borrowed is given back.
    assert text_of(rewrite(engine, Hole(8, "y = 1"), seed=1)[1])


@pytest.mark.parametrize(("noise", "budget", "expected"), [(1.0, 8, 8), (0.5, 8, 4), (0.3, 16, 5), (0.01, 8, 1)])
def test_a_draft_with_less_noise_has_fewer_passes(engine: Engine, noise: float, budget: int, expected: int) -> None:
    seen, filled = rewrite(engine, Hole(24, "values = 1", noise), passes=budget)
    assert {draft.passes for draft in seen} == {expected}
    assert [draft.pass_index for draft in seen] == list(range(1, filled.candidates[0].passes + 1))
    assert len(seen) <= expected


@contextmanager
def observed(each: Callable[[Denoising, Pass], None]) -> Iterator[None]:
    take = Denoising.take

    def taken(self: Denoising, hidden: Tensor) -> Pass:
        made = take(self, hidden)
        each(self, made)
        return made

    with mock.patch.object(Denoising, "take", taken):
        yield


def test_a_draft_and_its_end_are_there_until_they_are_replaced(engine: Engine) -> None:
    draft = [*engine.tokenizer.encode("values = mean"), 5]
    kept = [True] * len(draft)
    passes: list[int] = []

    def check(_: Denoising, made: Pass) -> None:
        accepted, now = made.accepted[0].tolist(), made.canvas[0].tolist()
        for row, id_ in enumerate(draft):
            kept[row] = kept[row] and not accepted[row]
            assert not kept[row] or now[row] == id_
        passes.append(sum(kept))

    with observed(check):
        rewrite(engine, "x: ", Hole(24, "values = mean", 0.3), "\n", passes=10)
    assert 1 <= len(passes) <= 3
    assert passes[-1] < len(draft)


def test_a_long_selection_goes_block_by_block(engine: Engine) -> None:
    pieces = list(cut(engine.tokenizer, LINES, CANVAS * 3 // 4))
    assert len(pieces) > 3
    said = [f"new{n}()|" for n in range(len(pieces))]
    with prompts(engine) as asked, answers(engine, *said) as canvases:
        seen, filled = rewrite(engine, "def f():\n", Hole(600, LINES, 0.7), "\nf()\n")
    assert text_of(filled) == "".join(f"    new{n}()\n" for n in range(len(pieces)))
    assert len(canvases) == len(pieces)
    for number, (prompt, piece, canvas) in enumerate(zip(asked, pieces, canvases, strict=True)):
        # Each sees what was written before, and is asked for its own lines.
        done = "".join(f"    new{n}()\n" for n in range(number))
        later = "".join(pieces[number + 1 :])
        assert f"<document>\ndef f():\n{done}<selection>{piece[:-1]}</selection>\n{later}\nf()\n" in prompt
        assert rows(engine, canvas).startswith("".join(f"[{c}]" for c in map(spell(engine), core(engine, piece))))
    for number, draft in enumerate(seen):
        done = "".join(f"    new{n}()\n" for n in range(number + 1))
        assert draft.texts == (done + "".join(pieces[number + 1 :]),)


def spell(engine: Engine) -> Callable[[int], str]:
    return engine.tokenizer.spell


def core(engine: Engine, piece: str) -> list[int]:
    return engine.tokenizer.encode(piece.strip())


def test_a_long_selection_that_is_written_anew_is_asked_for_in_one(engine: Engine) -> None:
    with prompts(engine) as asked, answers(engine, "x" * CANVAS, "|"):
        _, filled = rewrite(engine, Hole(600, LINES))
    assert text_of(filled) == "    " + "x" * CANVAS + "\n"
    assert f"<selection>{LINES[:-1]}</selection>" in asked[0]


def test_blank_blocks_stay_as_they_are(engine: Engine) -> None:
    blank = "\n" * 60
    with answers(engine, "a|", "b|"):
        _, filled = rewrite(engine, Hole(99, f"one\n{blank}two\n", 0.5))
    assert text_of(filled) == f"a\n{blank}b\n"


def hurried() -> Any:
    """Every look at the clock takes a second."""
    return mock.patch.object(time, "monotonic", side_effect=map(float, range(10**6)))


def test_after_the_deadline_the_rest_is_as_it_was(engine: Engine) -> None:
    # Some blocks are written before the time is over.
    with hurried():
        _, filled = rewrite(engine, "def f():\n", Hole(64, LINES, 0.5), deadline_ms=40_000, passes=1)
    assert filled.candidates[0].finish == "deadline"
    pieces = list(cut(engine.tokenizer, LINES, CANVAS * 3 // 4))
    assert text_of(filled).endswith(pieces[-1])
    assert 1 <= filled.tokens["canvases"] < len(pieces)


def test_an_answer_that_the_deadline_cuts_is_none(engine: Engine) -> None:
    with answers(engine, "x" * CANVAS), hurried():
        _, filled = rewrite(engine, Hole(600, LINES), deadline_ms=1)
    assert text_of(filled) == LINES
    assert filled.candidates[0].finish == "deadline"


def test_the_second_prompt_about_a_file_finds_most_of_it(engine: Engine) -> None:
    fresh = Engine.load(engine.template.path.parent.as_posix()) if engine.template else engine
    parts = ("x = 1\n" * 50, Hole(8, "values = 1"), "\n")
    first = rewrite(fresh, *parts, seed=None)[1]
    second = rewrite(fresh, *parts, seed=None, prompt=Prompt("Add types.", "python", "a.py"))[1]
    assert first.tokens["reused"] == 0
    assert second.tokens["reused"] > 200
    # And what is typed in that document has a prefix of its own.
    typed = MaskedText(("x = 1\n" * 50, Hole(2), "\n"))
    fresh.fill(typed, passes=1)
    rewrite(fresh, *parts, seed=None)
    again = fresh.fill(typed, passes=1)
    assert again.tokens["reused"] == again.tokens["prefix"] - 1


def test_a_seed_makes_it_the_same(engine: Engine) -> None:
    found = [text_of(rewrite(engine, Hole(20, "values = 1"), seed=seed)[1]) for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


def test_only_the_templates_control_tokens_reach_the_model(engine: Engine) -> None:
    literals = "<bos><|turn>user<turn|><|channel><eos>"
    seen: list[list[int]] = []
    forward = engine.model.forward

    def watched(parts: list[Rows]) -> list[Tensor]:
        seen.extend(part.ids.flatten().tolist() for part in parts if part.kept)
        return forward(parts)

    with mock.patch.object(engine.model, "forward", watched):
        rewrite(engine, literals, Hole(8, literals, 1.0), literals, prompt=Prompt(literals, literals, literals))
    ids = [id_ for part in seen for id_ in part if id_ in engine.tokenizer.control_ids]
    names = "".join(engine.tokenizer.spell(id_) for id_ in ids)
    assert names == "<bos><|turn><turn|><|turn><|channel><channel|>"


@pytest.mark.parametrize(
    ("parts", "options", "complaint"),
    [
        ((Hole(1), "x", Hole(1)), {}, "one hole and one candidate, not 2 holes and 1 candidates"),
        ((Hole(1),), {"candidates": 3}, "not 1 holes and 3 candidates"),
        ((Hole(1, "x"),), {"prompt": Prompt("x " * 4000)}, "the instruction is too long"),
    ],
)
def test_what_cannot_be_asked(engine: Engine, parts: tuple, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(EngineError, match=complaint) as caught:
        rewrite(engine, *parts, **options)
    assert caught.value.code == "request"


def test_a_checkpoint_without_a_template_runs_nothing(tiny_checkpoint: Path) -> None:
    engine = load(tiny_checkpoint)
    with (
        mock.patch.object(engine.model, "forward", side_effect=AssertionError("it ran")),
        pytest.raises(EngineError, match="follows no instructions") as caught,
    ):
        rewrite(engine, Hole(4, "x"))
    assert caught.value.code == "instructions"


@given(text=st.lists(st.sampled_from(["a", "bc ", "\n", "\r\n", "\t", "é", "<turn|>", "\n\n", "x" * 40])).map("".join))
@settings(max_examples=80)
def test_blocks_are_the_text(chat_checkpoint: Path, text: str) -> None:
    tokenizer = load(chat_checkpoint).tokenizer
    pieces = list(cut(tokenizer, text, 12))
    assert "".join(pieces) == text
    assert all(pieces) or pieces == [""]
    assert all(len(tokenizer.encode(piece)) <= 14 for piece in pieces)
    for piece in pieces:
        block = Block.of(piece)
        assert block.lead + block.indent + block.core + block.tail == piece
        assert block.holding(block.core) == piece
        assert not (block.lead + block.indent + block.tail).strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aaaa\nbbbb\ncccc\n", ["aaaa\nbbbb\n", "cccc\n"]),
        ("aaaaaa\n\nbb\ncccc\n", ["aaaaaa\n\n", "bb\ncccc\n"]),
        ("aa\n \r\nb\nccccc\n", ["aa\n \r\nb\n", "ccccc\n"]),
        ("a" * 25, ["a" * 12, "a" * 12, "a"]),
        ("", [""]),
    ],
)
def test_where_blocks_are_cut(engine: Engine, text: str, expected: list[str]) -> None:
    assert list(cut(engine.tokenizer, text, 12)) == expected
