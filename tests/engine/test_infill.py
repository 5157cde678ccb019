"""Fills of a checkpoint that is spoken to, through the engine's front door: its canvases, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache as once
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine import wire
from dgemma_engine.canvas import Canvas
from dgemma_engine.engine import Engine
from dgemma_engine.errors import EngineError
from dgemma_engine.holes import ROLLS
from dgemma_engine.passes import Passes
from dgemma_engine.prefix_cache import PrefixCache
from dgemma_engine.sampler import Denoising, Pass
from dgemma_engine.steps import drive
from dgemma_engine.wire import Filled, Hole, MaskedText

from ..chat import rewritten, write_chat_checkpoint
from .test_tokenizer import CONTROL, TEXTS

CANVAS = 32
END = 5


@once
def load(folder: Path) -> Engine:
    return Engine.load(str(folder))


@pytest.fixture
def engine(chat_checkpoint: Path) -> Engine:
    return load(chat_checkpoint)


@pytest.fixture(scope="session")
def steady_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never sure of itself."""
    return rewritten(write_chat_checkpoint(tmp_path_factory.mktemp("steady-chat")), confidence_threshold=0.0)


def fill(engine: Engine, *parts: str | Hole, **options: Any) -> Filled:
    return engine.fill(MaskedText(parts), **{"passes": 3, "seed": 0, **options})


def texts(engine: Engine, *parts: str | Hole, **options: Any) -> tuple[str, ...]:
    return fill(engine, *parts, **options).candidates[0].texts


@define
class Seen:
    """The canvases of every batch, and how many of them were in each of its passes."""

    batches: list[list[Canvas]] = field(factory=list)
    passes: list[list[int]] = field(factory=list)
    prefixes: list[list[int]] = field(factory=list)

    def lengths(self) -> list[list[int]]:
        return [[sum(canvas.free) for canvas in batch] for batch in self.batches]


@pytest.fixture
def seen() -> Iterator[Seen]:
    found = Seen()
    run, take = Passes.run, Denoising.take

    def ran(self: Passes, canvases: Any, shrinks: Any, prefix: Any, *rest: Any) -> Any:
        found.batches.append(canvases)
        found.prefixes.append(prefix.ids + prefix.pending)
        found.passes.append([])
        return run(self, canvases, shrinks, prefix, *rest)

    def taken(self: Denoising, hidden: Tensor) -> Pass:
        found.passes[-1].append(len(self.canvas))
        return take(self, hidden)

    with mock.patch.object(Passes, "run", ran), mock.patch.object(Denoising, "take", taken):
        yield found


@contextmanager
def answers(engine: Engine, *said: str, always: str = "") -> Iterator[None]:
    """Has the model say this on all canvases of a batch, a batch after the other, in one pass; `|` ends a turn.

    From then on it says `always`.
    """
    waiting = list(said)
    take = Denoising.take

    def settle(self: Denoising, hidden: Tensor) -> Pass:
        done = take(self, hidden)
        pieces = (waiting.pop(0) if waiting or not always else always).split("|")
        # What is typed comes first.
        ids = [] if self.opening is None else (~self.opening).nonzero()[0].tolist()
        ids += engine.tokenizer.encode(pieces[0])
        for piece in pieces[1:]:
            ids += [END, *engine.tokenizer.encode(piece)]
        read = done.canvas.clone()
        for row, free in zip(read, self.free, strict=True):
            row[free] = torch.tensor((ids + [9] * CANVAS)[: int(free.sum())])
        return Pass(
            done.canvas, done.argmax, read, done.accepted, done.entropy, torch.ones(len(read), dtype=torch.bool)
        )

    with mock.patch.object(Denoising, "take", settle):
        yield
    assert not waiting, f"nobody asked for {waiting}"


def rows(engine: Engine, canvas: Canvas) -> str:
    """A canvas on one line: pinned tokens as they are, `_` a free row."""
    return "".join(
        "_" if free else engine.tokenizer.spell(id_) for id_, free in zip(canvas.ids, canvas.free, strict=True)
    )


# The canvas.


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param(("x = ", Hole(3), "\n"), "x = ___\n<turn|>", id="the-line-and-what-follows"),
        pytest.param(("a\nx = ", Hole(3), ")\nb"), "x = ___)\nb<turn|>", id="not-the-lines-before"),
        pytest.param((Hole(3), "b"), "___b<turn|>", id="at-the-start"),
        pytest.param(("a\n", Hole(3)), "___<turn|>", id="at-the-end"),
        pytest.param((Hole(2),), "__<turn|>", id="an-empty-file"),
        pytest.param(("\r\n\t", Hole(2), "\r\n"), "\t__\r\n<turn|>", id="line-ends"),
        pytest.param(("(", Hole(2), "1" * 60), "(__" + "1" * 29, id="as-much-as-fits"),
        pytest.param(("(", Hole(2), ", ", Hole(1), "<turn|>"), "(__, _<turn|><turn|>", id="two-holes-and-a-literal"),
    ],
)
def test_what_is_on_the_canvas(engine: Engine, seen: Seen, parts: tuple, expected: str) -> None:
    fill(engine, *parts, length="exact")
    assert [rows(engine, canvas) for batch in seen.batches[:1] for canvas in batch] == [expected]
    ids = seen.batches[0][0].ids
    assert ids.count(END) == (expected.endswith("<turn|>") and 1)


@given(texts=st.tuples(TEXTS, TEXTS), seed=st.integers(0, 9), length=st.sampled_from(["auto", "exact", "probe"]))
@settings(max_examples=30)
def test_a_fill_is_text_that_is_not_empty(
    chat_checkpoint: Path, texts: tuple[str, str], seed: int, length: str
) -> None:
    engine = load(chat_checkpoint)
    drafts: list[wire.Draft] = []
    filled = None
    with suppress(EngineError):
        filled = fill(engine, texts[0], Hole(5), texts[1], length=length, seed=seed, on_draft=drafts.append)
    if filled is None:
        # Random weights have nothing to say now and then.
        assert not any(any(draft.texts) for draft in drafts[-1:])
        return
    for candidate in filled.candidates:
        (text,) = candidate.texts
        assert text
        assert not any(literal in text for literal in CONTROL)
    assert drafts[-1].texts == filled.candidates[0].texts


def test_with_a_seed_it_does_not_matter_what_was_asked_before(engine: Engine) -> None:
    fresh = evolve(engine, prefixes=PrefixCache(engine.model))
    parts = ("".join(f"line {n}\n" for n in range(30)), Hole(4), "\nend\n")
    first = fill(fresh, *parts)
    fill(fresh, parts[0] + "typed", Hole(2), "\nanother end\n", seed=None)
    assert fill(fresh, *parts).candidates == first.candidates


# Probing.


def test_lengths_are_tried_for_one_pass(steady_chat: Path, seen: Seen) -> None:
    fill(load(steady_chat), "x = ", Hole(24), "\n", passes=6)
    assert seen.lengths()[0] == [1, 2, 3, 4, 8, 12, 16, 24]
    first, *later = seen.passes[0]
    assert first == 8
    assert later
    assert set(later) <= {1, 2}


@pytest.mark.parametrize(("candidates", "survivors"), [(1, 2), (2, 2), (3, 3), (5, 5)])
def test_as_many_lengths_go_on_as_candidates_are_wanted(
    steady_chat: Path, seen: Seen, candidates: int, survivors: int
) -> None:
    filled = fill(load(steady_chat), "x = ", Hole(24), "\n", passes=6, candidates=candidates)
    assert seen.passes[0][:2] == [8, survivors]
    assert len(filled.candidates) == candidates
    assert len({one.texts for one in filled.candidates}) == candidates


def test_few_lengths_are_all_run_to_the_end(steady_chat: Path, seen: Seen) -> None:
    fill(load(steady_chat), "x = ", Hole(2), "\n", candidates=3)
    assert seen.lengths()[0] == [1, 1, 1, 2, 2, 2]
    assert seen.passes[0][:2] == [6, 6]


@pytest.mark.parametrize(
    ("length", "expected"), [("exact", [6]), ("probe", [1, 2, 3, 4, 6]), ("auto", [1, 2, 3, 4, 6])]
)
def test_other_length_rules(steady_chat: Path, seen: Seen, length: str, expected: list[int]) -> None:
    fill(load(steady_chat), "x = ", Hole(6), "\n", length=length, passes=2)
    assert seen.lengths()[0] == expected
    assert seen.passes[0][1] == (2 if length == "auto" else len(expected))


def test_it_has_no_filler(engine: Engine) -> None:
    with pytest.raises(EngineError, match="no filler"):
        fill(engine, "x = ", Hole(6), "\n", length="elastic")


# An end where a text should begin.


@pytest.mark.parametrize("failures", range(ROLLS + 1))
def test_an_answer_that_begins_with_its_end_is_rolled_again(engine: Engine, seen: Seen, failures: int) -> None:
    with answers(engine, *["|y"] * failures, "y|z"):
        filled = fill(engine, "x = ", Hole(4), "\n", length="exact")
    assert filled.candidates[0].texts == ("y",)
    assert filled.candidates[0].passes == failures + 1
    assert len(seen.batches) == failures + 1
    assert {id(canvas) for batch in seen.batches for canvas in batch} == {id(seen.batches[0][0])}


def test_nothing_is_never_offered(engine: Engine, seen: Seen) -> None:
    with answers(engine, *["|y"] * (ROLLS + 1)), pytest.raises(EngineError, match="wrote nothing") as caught:
        fill(engine, "x = ", Hole(4), "\n", length="exact")
    assert caught.value.code == "empty"


def test_only_those_that_failed_are_rolled_again(engine: Engine, seen: Seen) -> None:
    """A character of three bytes has no room in two rows."""
    with answers(engine, "€", "y"):
        fill(engine, "x = ", Hole(3), "\n", length="probe")
    assert seen.lengths() == [[1, 2, 3], [1, 2]]


def test_the_deadline_ends_the_rolls(engine: Engine, seen: Seen) -> None:
    with answers(engine, "|"), pytest.raises(EngineError) as caught:
        fill(engine, "x = ", Hole(4), "\n", length="exact", deadline_ms=0.001)
    assert caught.value.code == "empty"
    assert len(seen.batches) == 1


def test_a_long_hole_is_rolled_again_as_well(engine: Engine, seen: Seen) -> None:
    with answers(engine, "|", "yes|"):
        assert texts(engine, "x = ", Hole(70), "\n") == ("yes",)
    assert len(seen.batches) == 2
    # The line stands in the prefix when the hole takes all of the canvas.
    assert [rows(engine, batch[0])[:3] for batch in seen.batches] == ["___"] * 2
    assert engine.tokenizer.decode(seen.prefixes[0]).endswith("\nx = ")


# A hole in the middle of a word.


@pytest.mark.parametrize(
    ("before", "typed"), [("x = mea", "mea"), ("_", "_"), ("def f", "f"), ("x.v4", "4"), ("x = ", ""), ("é", "")]
)
def test_the_last_token_of_a_word_is_taken_back(engine: Engine, seen: Seen, before: str, typed: str) -> None:
    fill(engine, before, Hole(3), "()\n", length="exact")
    (canvas,) = seen.batches[0]
    assert before.endswith(canvas.typed)
    assert bool(canvas.typed) is bool(typed)
    assert sum(canvas.free) == 3 + bool(typed)
    # What stands before the hole is the text without it.
    pinned = canvas.ids[: canvas.free.index(True)]
    given_ = engine.tokenizer.decode([*seen.prefixes[0], *pinned])
    assert given_.endswith("\n" + before.removesuffix(canvas.typed))
    if typed:
        assert canvas.typed == engine.tokenizer.decode(engine.tokenizer.encode(before)[-1:])


def test_before_a_draft_nothing_is_taken_back(engine: Engine, seen: Seen) -> None:
    with answers(engine, "m()"):
        assert texts(engine, "mea", Hole(6, "n()", 0.5), "\n") == ("m()",)
    (canvas,) = seen.batches[0]
    assert canvas.typed == ""
    draft = engine.tokenizer.encode("n()")
    start = canvas.free.index(True)
    assert canvas.ids[start : start + len(draft)] == draft


@given(word=st.sampled_from(["mea", "val", "retu", "exam", "x", "_", "nam"]), seed=st.integers(0, 30))
@settings(max_examples=25)
def test_only_what_follows_the_typed_characters_comes_back(chat_checkpoint: Path, word: str, seed: int) -> None:
    engine = load(chat_checkpoint)
    ends: list[tuple[str, str]] = []
    run = Passes.run

    def ran(self: Passes, *arguments: Any) -> Any:
        settled = yield from run(self, *arguments)
        for one in settled:
            first = one.ids[one.canvas.holes[0].start]
            ends.append((one.canvas.typed, engine.tokenizer.spell(first)))
        return settled

    with mock.patch.object(Passes, "run", ran):
        (text,) = texts(engine, f"x = {word}", Hole(3), " + 1\n", seed=seed, passes=2)
    assert ends
    for typed, first in ends:
        assert typed
        assert word.endswith(typed)
        assert first.startswith(typed)
    assert any((typed + text).startswith(first) for typed, first in ends)


def test_a_checkpoint_with_a_filler_knows_texts_cut_anywhere(chat_checkpoint: Path, tmp_path: Path, seen: Seen) -> None:
    from .checkpoints import variant

    filler = load(chat_checkpoint).tokenizer.control_id("<|filler|>")
    own = Engine.load(str(variant(chat_checkpoint, tmp_path, dgemma={"filler_token_id": filler})))
    with answers(own, always="y"):
        fill(own, "x = mea", Hole(6), "\n")
    assert seen.lengths() == [[6, 1, 2]]
    assert {canvas.typed for canvas in seen.batches[0]} == {""}


# Keystrokes.


def type_on(engine: Engine, text: str, start: int, after: str) -> list[dict[str, int]]:
    return [
        fill(engine, text[:stop], Hole(2), after, seed=None, passes=1, length="exact").tokens
        for stop in range(start, len(text) + 1)
    ]


@pytest.mark.parametrize("after", ["\n}\n", "", ")\n" + "line\n" * 50])
def test_a_keystroke_encodes_what_is_new(engine: Engine, after: str) -> None:
    fresh = evolve(engine, prefixes=PrefixCache(engine.model))
    text = "def mean(values):\n    return sum(values)\n"
    with answers(fresh, always="y"):
        first, *rest = type_on(fresh, text, 4, after)
    assert first["reused"] == 0
    new = [tokens["prefix"] - tokens["reused"] for tokens in rest]
    # Inside a line that has room on the canvas, the last token alone, whose hidden state is wanted.
    assert new.count(1) > len(new) // 3
    assert max(new) <= CANVAS // 8 + 3


def test_what_was_warmed_is_there(engine: Engine) -> None:
    fresh = evolve(engine, prefixes=PrefixCache(engine.model))
    parts = ("".join(f"line {n}\n" for n in range(40)), Hole(2), "\n" + "after\n" * 40)
    warmed = drive(fresh.model, fresh.warming(MaskedText(parts), "ann", "a.py"))
    assert warmed["reused"] == 0
    request = wire.Fill(0, MaskedText((parts[0] + "x", *parts[1:])), document="a.py", passes=1, length="exact")
    with answers(fresh, always="y"):
        tokens = drive(fresh.model, fresh.filling(request, owner="ann")).tokens
    assert tokens["prefix"] - tokens["reused"] == 1


def test_the_name_of_the_document_is_told(engine: Engine, seen: Seen) -> None:
    request = wire.Fill(0, MaskedText(("x = ", Hole(2))), document="file:///w/shop.py", passes=1, length="exact")
    with answers(engine, always="y"):
        drive(engine.model, engine.filling(request))
    assert "Write the file shop.py from its beginning." in engine.tokenizer.decode(seen.prefixes[0])


def test_a_refinement_is_asked_for_in_the_same_way(engine: Engine, seen: Seen) -> None:
    request = wire.Fill(0, MaskedText(("x = ", Hole(6), "\n")), passes=2, length="exact")
    refine = wire.Refine(1, 0, (wire.Span(0, 0, 1),), passes=2)
    with answers(engine, "old|", always="new|"):
        filled = drive(engine.model, engine.filling(request))
        again = drive(engine.model, engine.refining(refine, request, filled))
    assert filled.candidates[0].texts == ("old",)
    assert {one.texts for one in again.candidates} == {("newld",)}
    assert all("<|turn>" in "".join(map(engine.tokenizer.spell, ids)) for ids in seen.prefixes)


# The score.


def test_the_score_is_of_the_text_and_what_follows(engine: Engine) -> None:
    """What is typed of the line is given."""
    with answers(engine, "y + 1"):
        filled = fill(engine, "x = (", Hole(3), ")\n", length="exact")
    (text,) = filled.candidates[0].texts
    voice = engine.voice
    assert voice is not None
    opening = voice.infill(None, None, remembers=False).opening("x = (", ")\n")
    assert not opening.typed
    given_ = [*opening.ids, *opening.tail]
    wanted = [*engine.tokenizer.encode(text), *engine.tokenizer.encode(")\n")]
    hidden = engine.model.encode(torch.tensor([given_ + wanted]), engine.model.new_cache())
    logits = engine.model.logits(hidden[0, len(given_) - 1 : -1]).log_softmax(-1)
    expected = logits.gather(1, torch.tensor(wanted)[:, None]).sum().item()
    assert filled.candidates[0].score == pytest.approx(expected, abs=1e-2)
