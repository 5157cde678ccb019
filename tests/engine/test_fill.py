"""Fills through the engine's front door, on random weights: what is promised whatever the model says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache as once
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine.engine import Engine
from dgemma_engine.errors import EngineError
from dgemma_engine.model import Rows
from dgemma_engine.prefix_cache import PrefixCache
from dgemma_engine.sampler import PINNED_SIGNALS, Denoising, Pass
from dgemma_engine.tokenizer import Tokenizer
from dgemma_engine.wire import Draft, Filled, Hole, MaskedText

from .checkpoints import EMBEDDING, variant
from .test_tokenizer import CONTROL, TEXTS

CANVAS = 32


@once
def load(folder: Path) -> Engine:
    return Engine.load(str(folder))


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Path) -> Engine:
    return load(tiny_checkpoint)


@pytest.fixture(scope="module")
def without_filler(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """As released: no `dgemma` block, so no filler, and nothing at pinned rows."""
    return load(variant(tiny_checkpoint, tmp_path_factory.mktemp("released"), dgemma={}))


@once
def obsessed(folder: Path) -> Path:
    """A checkpoint to which, whatever the row, some control token is the likeliest by far."""

    def weights(tensors: dict[str, Tensor]) -> None:
        table = tensors[EMBEDDING]
        generator = torch.Generator().manual_seed(1)
        ids = torch.tensor([1, 2, 5, 7])  # <eos> <bos> <turn|> <|filler|>
        one, two = 40 * torch.randn(2, table.shape[1], generator=generator)
        table[ids] = torch.stack([one, -one, two, -two])

    return variant(folder, folder.with_name(folder.name + "-obsessed"), weights=weights)


def fill(engine: Engine, *parts: str | Hole, **options: Any) -> Filled:
    return engine.fill(MaskedText(parts), **{"passes": 3, "seed": 0, **options})


def texts(engine: Engine, *parts: str | Hole, **options: Any) -> tuple[str, ...]:
    return fill(engine, *parts, **options).candidates[0].texts


def drafts(engine: Engine, *parts: str | Hole, **options: Any) -> tuple[list[Draft], Filled]:
    seen: list[Draft] = []
    return seen, fill(engine, *parts, on_draft=seen.append, **options)


@frozen
class Seen:
    """One pass: of the denoising `run`, over `free` and `pinned` rows `[B, C]`, the others being padding."""

    run: int
    free: Tensor
    pinned: Tensor
    made: Pass

    def pinned_ids(self) -> list[list[int]]:
        return [ids[pinned].tolist() for ids, pinned in zip(self.made.canvas, self.pinned, strict=True)]


@pytest.fixture
def passes() -> Iterator[list[Seen]]:
    """Every pass that is run."""
    seen: list[Seen] = []
    runs: list[Denoising] = []
    take = Denoising.take

    def observed(self: Denoising, hidden: Tensor) -> Pass:
        if not runs or runs[-1] is not self:
            runs.append(self)
        real = torch.ones_like(self.free) if self.real is None else self.real
        free = self.free
        seen.append(Seen(len(runs), free, real & ~free, take(self, hidden)))
        return seen[-1].made

    with mock.patch.object(Denoising, "take", observed):
        yield seen


PARTS = st.lists(st.one_of(TEXTS, st.integers(1, 6).map(Hole)), max_size=5)


@given(before=PARTS, after=PARTS, seed=st.integers(0, 9))
@settings(max_examples=25)
def test_a_fill_is_one_text_for_every_hole_and_nothing_else(
    tiny_checkpoint: Path, before: list[Any], after: list[Any], seed: int
) -> None:
    engine = load(tiny_checkpoint)
    parts = (*before, Hole(3), *after)
    filled = fill(engine, *parts, passes=2, seed=seed)
    for candidate in filled.candidates:
        assert len(candidate.texts) == len(MaskedText(parts).holes)
        assert math.isfinite(candidate.score or 0.0)


@given(text=TEXTS, seed=st.integers(0, 9), length=st.sampled_from(["auto", "exact", "elastic", "probe"]))
@settings(max_examples=25)
def test_no_control_token_is_ever_written(tiny_checkpoint: Path, text: str, seed: int, length: str) -> None:
    engine = load(obsessed(tiny_checkpoint))
    seen, filled = drafts(engine, text, Hole(5), text, Hole(2), length=length, seed=seed, passes=2)
    cells = [cell.text for draft in seen[:-1] for cell in draft.cells if cell.state != "pinned"]
    assert any(cell in CONTROL for cell in cells), "the model is not obsessed enough to prove anything"
    written = [one.texts for one in (*filled.candidates, *seen)]
    assert not any(literal in text for texts in written for text in texts for literal in CONTROL)


def test_control_literals_in_the_text_reach_the_model_as_text(engine: Engine, passes: list[Seen]) -> None:
    prefixes: list[list[int]] = []
    forward = engine.model.forward

    def observed(parts: list[Rows]) -> list[Tensor]:
        prefixes.extend(part.ids.flatten().tolist() for part in parts if part.kept)
        return forward(parts)

    with mock.patch.object(engine.model, "forward", observed):
        # With nothing remembered of earlier prefixes, all of this one is seen.
        fresh = evolve(engine, prefixes=PrefixCache(engine.model))
        fill(fresh, "".join(CONTROL), Hole(2), "<eos><bos>", length="exact")
    control = engine.tokenizer.control_ids
    assert control.intersection(prefixes[0]) == {2}
    assert prefixes[0].count(2) == 1
    assert not any(control.intersection(ids) for ids in prefixes[1:])
    assert passes[0].pinned_ids() == [[*engine.tokenizer.encode("<eos><bos>"), 1]]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(("x = ", Hole(2), " + y"), id="one"),
        pytest.param(("pri", Hole(2), "t(x)"), id="inside-a-word"),
        pytest.param((Hole(2), " = 3"), id="at-the-start"),
        pytest.param(("x = ", Hole(2)), id="at-the-end"),
        pytest.param((Hole(2),), id="nothing-but-a-hole"),
        pytest.param(("", Hole(2), ""), id="empty-texts"),
        pytest.param(("f(", Hole(2), ", ", Hole(3), ")"), id="two"),
        pytest.param(("f(", Hole(2), Hole(3), Hole(1), ")"), id="adjacent"),
        pytest.param((Hole(CANVAS),), id="as-wide-as-the-canvas"),
        pytest.param(("a\r\n", "\tb", Hole(1), "c", "d"), id="texts-in-pieces"),
    ],
)
@pytest.mark.parametrize("length", ["exact", "auto"])
def test_holes_that_share_a_canvas(engine: Engine, passes: list[Seen], parts: tuple, length: str) -> None:
    filled = fill(engine, *parts, length=length)
    sizes = [part.max_tokens for part in parts if isinstance(part, Hole)]
    assert [len(one.texts) for one in filled.candidates] == [len(sizes)]
    after = parts[next(n for n, part in enumerate(parts) if isinstance(part, Hole)) :]
    known = [id_ for part in after if isinstance(part, str) for id_ in engine.tokenizer.encode(part)]
    for seen in passes:
        sums = seen.free.sum(-1).tolist()
        assert max(sums) <= sum(sizes)
        assert length != "exact" or sums == [sum(sizes)]
        assert all(ids in (known, [*known, 1]) for ids in seen.pinned_ids())


def test_pinned_rows_of_every_pass_are_the_text(engine: Engine, passes: list[Seen]) -> None:
    fill(engine, "f(", Hole(3), ", b=", Hole(2), ")\n", passes=6, length="exact")
    encode = engine.tokenizer.encode
    expected = [*encode(", b="), *encode(")\n"), 1]
    assert all(seen.pinned_ids() == [expected] for seen in passes)
    assert len(passes) > 1


def test_the_canvas_says_that_the_text_ends_only_where_it_does(engine: Engine, passes: list[Seen]) -> None:
    fill(engine, "a", Hole(20), "b", Hole(20), "c", length="exact")
    b, c = engine.tokenizer.encode("b"), engine.tokenizer.encode("c")
    assert {seen.run: seen.pinned_ids() for seen in passes} == {1: [b], 2: [[*c, 1]]}


def test_more_holes_than_fit_on_one_canvas(engine: Engine, passes: list[Seen]) -> None:
    parts = [part for n in range(8) for part in (f"key{n}: ", Hole(7), ",\n")]
    seen, filled = drafts(engine, *parts, length="exact")
    assert len(filled.candidates[0].texts) == 8
    canvases = {seen.run: int(seen.free.sum()) for seen in passes}
    assert len(canvases) > 2
    assert sum(canvases.values()) == 8 * 7
    assert {len(draft.texts) for draft in seen} == {8}
    assert seen[-1].texts == filled.candidates[0].texts
    assert filled.candidates[0].passes == len(passes)
    # What stands on a later canvas follows what was written on the earlier ones.
    first = next(draft for draft in seen if draft.texts[-1])
    assert first.texts[:2] == filled.candidates[0].texts[:2]


def test_text_between_holes_that_is_long_in_characters_only(tiny_checkpoint: Path, engine: Engine) -> None:
    between = " " * (CANVAS * 8 + 40) + "end"
    filled = fill(engine, "a", Hole(2), between, Hole(2), "b", length="exact")
    assert len(filled.candidates[0].texts) == 2


@pytest.mark.parametrize("length", ["exact", "auto", "elastic"])
def test_a_hole_longer_than_a_canvas(engine: Engine, passes: list[Seen], length: str) -> None:
    seen, filled = drafts(engine, "start:\n", Hole(70), "\nthe line after the hole\n", Hole(2), "", length=length)
    best = filled.candidates[0]
    assert len(best.texts) == 2
    assert passes[-1].run > 1
    assert all(one.free.shape[1] <= CANVAS for one in passes)
    assert seen[-1].texts == best.texts
    assert {len(draft.texts) for draft in seen} == {2}
    if length == "exact":
        assert len(engine.tokenizer.encode(best.texts[0])) > CANVAS


def test_an_exact_long_hole_uses_every_slot(tiny_checkpoint: Path) -> None:
    """Even where the model would rather end it."""
    engine = load(obsessed(tiny_checkpoint))
    with mock.patch.object(Tokenizer, "decode", lambda _, ids: "x" * len(ids)):
        (text,) = texts(engine, "", Hole(70), "", length="exact")
    assert len(text) == 70


def test_characters_that_two_blocks_share(engine: Engine) -> None:
    """Whatever the block's last row, the bytes of a character are put together again."""
    euro = engine.tokenizer.encode("€")
    ids = (euro * 40)[:100]
    given_ = iter(range(10**6))

    def settle(self: Denoising, hidden: Tensor) -> Pass:
        done = take(self, hidden)
        width = done.readout.shape[1]
        start = next(given_) * 16
        row = torch.tensor([(ids[start:] + euro * width)[:width]])
        return Pass(done.canvas, done.argmax, row, done.accepted, done.entropy, torch.tensor([True]))

    take = Denoising.take
    with mock.patch.object(Denoising, "take", settle):
        (text,) = texts(engine, "", Hole(60), "", length="exact")
    assert text == "€" * 20


def test_a_long_hole_ends_where_the_suffix_begins(engine: Engine) -> None:
    """The line after the hole straddles two blocks of what the model writes."""
    suffix = "\nmean(values)\n"
    wanted = engine.tokenizer.encode("x" * 12 + suffix + "y" * 90)
    count = iter(range(10**6))
    take = Denoising.take

    def settle(self: Denoising, hidden: Tensor) -> Pass:
        done = take(self, hidden)
        start, width = next(count) * 16, done.readout.shape[1]
        row = torch.tensor([wanted[start : start + width]])
        return Pass(done.canvas, done.argmax, row, done.accepted, done.entropy, torch.tensor([True]))

    with mock.patch.object(Denoising, "take", settle):
        assert texts(engine, "", Hole(80), suffix, length="exact") == ("x" * 12,)


@pytest.mark.parametrize(
    ("noise", "budget", "expected"), [(1.0, 8, 8), (0.5, 8, 4), (0.01, 8, 1), (0.3, 5, 2), (0.99, 3, 3)]
)
def test_a_draft_with_less_noise_has_fewer_passes(engine: Engine, noise: float, budget: int, expected: int) -> None:
    seen, filled = drafts(engine, "x = ", Hole(6, "values", noise), "\n", passes=budget)
    assert filled.candidates[0].passes <= expected == seen[0].passes
    assert {draft.passes for draft in seen} == {expected}


def test_a_draft_is_there_until_it_is_replaced(engine: Engine, passes: list[Seen]) -> None:
    draft = engine.tokenizer.encode("values = mean")
    fill(engine, "x: ", Hole(12, "values = mean", 0.5), "\n", passes=8)
    replaced = [False] * len(draft)
    for seen in passes:
        replaced = [was or now for was, now in zip(replaced, seen.made.accepted[0].tolist(), strict=False)]
        now = seen.made.canvas[0].tolist()
        assert all(now[row] == id_ for row, id_ in enumerate(draft) if not replaced[row])
    assert any(replaced)


def test_at_full_noise_a_draft_is_forgotten(engine: Engine) -> None:
    parts = ("x = ", Hole(6, "values", 1.0), "\n")
    assert fill(engine, *parts).candidates == fill(engine, "x = ", Hole(6), "\n").candidates


def test_a_draft_longer_than_its_hole_keeps_its_room(engine: Engine, passes: list[Seen]) -> None:
    fill(engine, "", Hole(2, "values = mean", 0.5), "")
    assert int(passes[0].free.sum()) == len(engine.tokenizer.encode("values = mean"))


def test_a_draft_beside_an_open_hole_is_not_cut(engine: Engine, passes: list[Seen]) -> None:
    draft = len(engine.tokenizer.encode("values = mean"))
    fill(engine, "", Hole(12, "values = mean", 0.5), "\n", Hole(6), "", length="probe")
    assert passes[0].free.sum(-1).tolist() == [max(n, draft) + min(n, 6) for n in (1, 2, 3, 4, 6, 8, 12)]


def test_seeds(engine: Engine) -> None:
    def run(seed: int | None) -> list[Any]:
        return [(one.texts, one.score) for one in fill(engine, "x = ", Hole(8), "\n", seed=seed).candidates]

    assert run(3) == run(3)
    assert len({run(seed)[0][0] for seed in range(4)}) > 1
    assert run(None)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("parts", [("x = ", Hole(4), "\n"), ("a", Hole(20), "b", Hole(20), "c")], ids=["one", "two"])
def test_candidates_are_distinct_and_the_best_is_first(engine: Engine, count: int, parts: tuple) -> None:
    seen, filled = drafts(engine, *parts, candidates=count)
    found = [one.texts for one in filled.candidates]
    assert 1 <= len(found) <= count
    assert len(set(found)) == len(found)
    ranks = [(not any(one.texts), -(one.score or 0.0)) for one in filled.candidates]
    assert ranks == sorted(ranks)
    assert len(parts) > 3 or seen[-1].texts == found[0]


def test_the_score_is_the_likelihood_of_the_fill_and_what_follows(engine: Engine) -> None:
    filled = fill(engine, "x = ", Hole(4), "\ny\n", candidates=3)
    scores = engine.score("x = ", [one.texts[0] for one in filled.candidates], "\ny\n")
    assert [one.score for one in filled.candidates] == pytest.approx(scores, abs=1e-3)


def test_the_budget_of_passes(engine: Engine, passes: list[Seen]) -> None:
    never = evolve(engine.schedule, confidence=0)
    filled = fill(evolve(engine, schedule=never), "x = ", Hole(8), "\n", passes=5, length="exact")
    assert filled.candidates[0].finish == "passes"
    assert filled.candidates[0].passes == len(passes) == 5


def test_a_short_hole_does_not_spend_a_long_budget(engine: Engine, passes: list[Seen]) -> None:
    never = evolve(engine.schedule, confidence=0)
    filled = fill(evolve(engine, schedule=never), "x = ", Hole(1), "\n", passes=50, length="exact")
    assert filled.candidates[0].finish == "passes"
    assert filled.candidates[0].passes == len(passes) == 3


@pytest.mark.parametrize("parts", [("x = ", Hole(8), "\n"), ("", Hole(70), "\n"), ("a", Hole(20), "b", Hole(20), "")])
def test_a_deadline_ends_with_what_is_there(engine: Engine, passes: list[Seen], parts: tuple) -> None:
    filled = fill(engine, *parts, passes=40, deadline_ms=0.001)
    assert filled.candidates[0].finish == "deadline"
    # A hole that there is no time for is empty.
    assert [bool(text) for text in filled.candidates[0].texts] == [True, False][: len(parts) // 2]
    assert len(passes) == 1
    assert fill(engine, *parts, deadline_ms=1e9).candidates[0].finish != "deadline"


@pytest.mark.parametrize("allowed", range(4))
def test_cancel_between_passes(engine: Engine, passes: list[Seen], allowed: int) -> None:
    answers = iter([False] * allowed)  # the prefix rides in the first pass

    with pytest.raises(EngineError) as error:
        fill(engine, "x = ", Hole(8), "\n", passes=40, length="exact", cancelled=lambda: next(answers, True))
    assert error.value.code == "cancelled"
    assert len(passes) == allowed


def test_cancel_between_pieces_of_the_prefix(tiny_checkpoint: Path, tmp_path: Path) -> None:
    engine = load(variant(tiny_checkpoint, tmp_path, dgemma={"context": 2048}))
    text, asked, pieces = "a b c d e f g h\n" * 200, [], []
    forward = engine.model.forward

    def observed(parts: list[Rows]) -> list[Tensor]:
        pieces.append([part.ids.shape[1] for part in parts])
        return forward(parts)

    with mock.patch.object(engine.model, "forward", observed), pytest.raises(EngineError):
        fill(engine, text, Hole(2), cancelled=lambda: asked.append(1) or len(asked) > 2)
    assert pieces == [[512], [512]]


def test_a_checkpoint_may_want_less_of_the_text_after_a_hole(
    tiny_checkpoint: Path, tmp_path: Path, passes: list[Seen]
) -> None:
    """Short holes get what long ones leave: all canvases of a batch are equally wide, and none is padded."""
    engine = load(variant(tiny_checkpoint, tmp_path, dgemma={"filler_token_id": 7, "suffix": 5}))
    fill(engine, "x = ", Hole(6), "abc " * 20)
    assert passes[0].free.shape == (3, 11)
    assert passes[0].free.sum(-1).tolist() == [6, 1, 2]


def test_elastic_needs_a_filler(without_filler: Engine) -> None:
    for hole in (Hole(3), Hole(70)):
        with pytest.raises(EngineError, match="no filler") as error:
            fill(without_filler, "x", hole, "", length="elastic")
        assert error.value.code == "request"


def test_a_checkpoint_as_released_probes(without_filler: Engine, passes: list[Seen]) -> None:
    assert without_filler.model.config.traits.pinned_signal == "zero"
    filled = fill(without_filler, "x = ", Hole(6), "\n")
    assert passes[0].free.sum(-1).tolist() == [1, 2, 3, 4, 6]
    assert filled.candidates[0].texts[0]
    assert texts(without_filler, "x = ", Hole(6, "values", 0.5), "\n")[0]
    assert texts(without_filler, "x = ", Hole(70), "\n")[0]


@pytest.mark.parametrize("signal", PINNED_SIGNALS)
def test_every_signal_at_pinned_rows_works(tiny_checkpoint: Path, tmp_path: Path, signal: str) -> None:
    engine = load(variant(tiny_checkpoint, tmp_path, dgemma={"filler_token_id": 7, "pinned_signal": signal}))
    assert math.isfinite(fill(engine, "x = ", Hole(4), "\n").candidates[0].score or 0.0)


def test_an_unknown_signal_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="pinned_signal"):
        load(variant(tiny_checkpoint, tmp_path, dgemma={"pinned_signal": "smoke"}))


def test_a_filler_outside_the_vocabulary_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="token id 4000"):
        load(variant(tiny_checkpoint, tmp_path, dgemma={"filler_token_id": 4000}))


@pytest.mark.parametrize("length", ["exact", "elastic"])
def test_the_cells_of_a_draft_spell_the_canvas(engine: Engine, passes: list[Seen], length: str) -> None:
    tokenizer = engine.tokenizer
    seen, filled = drafts(engine, "f(", Hole(3), ", é=", Hole(2), ")\n", passes=5, length=length)
    assert len(seen) == len(passes) + 1
    for number, (draft, one) in enumerate(zip(seen, passes, strict=False), 1):
        assert (draft.pass_index, draft.passes) == (number, 5)
        ids, free, accepted = (row[0].tolist() for row in (one.made.canvas, one.free, one.made.accepted))
        rows = [
            (tokenizer.spell(id_), "accepted" if took else "noise")
            for id_, is_free, took in zip(ids, free, accepted, strict=True)
            if is_free
        ]
        expected = [*rows[:3], (", é=", "pinned"), *rows[3:], (")\n", "pinned")]
        assert [(cell.text, cell.state) for cell in draft.cells] == expected
        entropies = [cell.entropy for cell in draft.cells if cell.state != "pinned"]
        assert entropies == pytest.approx(one.made.entropy[one.free].tolist())
    last = seen[-1]
    assert last.texts == filled.candidates[0].texts
    assert {cell.state for cell in last.cells} == {"pinned", "accepted"}
    assert [draft.ms for draft in seen] == sorted(draft.ms for draft in seen)


def test_drafts_end_where_the_canvas_does(engine: Engine) -> None:
    """Canvases of several lengths share a batch; what pads the short ones is nobody's text."""
    seen, _ = drafts(engine, "x = ", Hole(8), "\n", length="auto", passes=12)
    for draft in seen:
        assert [cell.state == "pinned" for cell in draft.cells] == [*[False] * (len(draft.cells) - 1), True]
        assert draft.cells[-1].text == "\n"


def test_what_a_fill_reports(engine: Engine) -> None:
    filled = fill(engine, "x = ", Hole(4), "\n")
    assert set(filled.ms) == {"queue", "load", "prefill", "passes", "rank", "total"}
    assert sum(filled.ms[stage] for stage in ("prefill", "passes", "rank")) <= filled.ms["total"]
    assert filled.tokens["canvas"] <= CANVAS
