"""Refining: spans of a finished fill are written anew, as long as it is remembered, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_engine import task_queue, tasks, wire
from dgemma_engine.errors import EngineError
from dgemma_engine.model.config import read_config
from dgemma_engine.refine import SPARE_TOKENS, refinement
from dgemma_engine.tokenizer import Tokenizer
from dgemma_engine.wire import Hole, MaskedText, Span

from .gate import Clock, Gate
from .office import Asked, Office
from .test_tokenizer import TEXTS

TWO_HOLES = ("a = ", Hole(6), "\nb = ", Hole(6), "\n")


@pytest.fixture(autouse=True)
def opened(gate: Gate) -> None:
    gate.open()


def filled(office: Office, **options: Any) -> Asked:
    asked = office.fill("a", parts=TWO_HOLES, **{"seed": 3, "length": "exact", **options})
    asked.filled()
    return asked


def texts(asked: Asked) -> tuple[str, ...]:
    return asked.filled().candidates[0].texts


# What is written anew.


def test_only_the_spans_change(office: Office) -> None:
    first = filled(office)
    one, two = texts(first)
    assert len(one) > 2, "the random model wrote something"
    second = office.refine(first, (0, 1, 2), seed=1)
    refined, untouched = texts(second)
    assert untouched == two
    assert refined.startswith(one[:1])
    assert refined.endswith(one[2:])


def test_a_refine_of_a_refine_goes_on_from_there(office: Office) -> None:
    first = filled(office)
    second = office.refine(first, (0, 0, len(texts(first)[0])), seed=1)
    third = office.refine(second, (1, 0, len(texts(second)[1])), seed=2)
    assert texts(third)[0] == texts(second)[0]
    # The first one can still be gone back to.
    again = office.refine(first, (0, 0, len(texts(first)[0])), seed=1)
    assert texts(again) == texts(second)


def test_a_candidate_is_chosen(office: Office) -> None:
    first = filled(office, candidates=3, passes=3)
    found = [one.texts for one in first.filled().candidates]
    assert len(found) > 1
    for number, (_, two) in enumerate(found):
        refined = office.refine(first, (0, 0, 0), candidate=number)
        assert texts(refined)[1] == two
    wrong = office.refine(first, (0, 0, 0), candidate=len(found))
    assert wrong.code() == "request"
    assert str(len(found)) in wrong.answer().message


def test_what_was_asked_of_the_fill_is_not_asked_of_the_refine(office: Office) -> None:
    first = filled(office, candidates=2, trace=True, spares=True, passes=3, deadline_ms=60_000, seed=None)
    refined = office.refine(first, (0, 0, 1), drafts=True)
    answer = refined.filled()
    assert len(answer.candidates) == 1
    drafts = refined.of(wire.Draft)
    assert {draft.canvas for draft in drafts} == {0}
    assert not any(cell.choices for draft in drafts for cell in draft.cells)
    assert {draft.id for draft in drafts} == {refined.request.id} == {answer.id}
    assert drafts[-1].texts == texts(refined)
    assert all(len(draft.texts) == 2 for draft in drafts)
    assert not office.refine(first, (0, 0, 1)).of(wire.Draft)


# How long a fill is remembered.


def refined(office: Office, first: Asked) -> str:
    answer = office.refine(first, (0, 0, 0)).answer()
    return answer.code if isinstance(answer, wire.Failed) else "filled"


@pytest.mark.parametrize(
    ("between", "outcome"),
    [
        (lambda office, first: None, "filled"),
        (lambda office, first: office.refine(first, (0, 0, 0)).answer(), "filled"),
        (lambda office, first: office.fill("b").answer(), "filled"),
        (lambda office, first: office.fill("a", client=2).answer(), "filled"),
        (lambda office, first: office.ask(wire.Score, "x", ("y",), document="a").answer(), "filled"),
        (lambda office, first: office.ask(wire.Lease).answer(), "filled"),
        (lambda office, first: office.unload(), "filled"),
        (lambda office, first: office.fill("a").answer(), "fill-unknown"),
        (lambda office, first: office.fill("a", priority="rewrite").answer(), "fill-unknown"),
        (lambda office, first: office.warm("a").answer(), "fill-unknown"),
        (lambda office, first: office.scheduler.drop(1), "fill-unknown"),
    ],
    ids=[
        "nothing",
        "another refine",
        "another document",
        "another client",
        "a score",
        "a lease",
        "unload",
        "fill",
        "rewrite",
        "warm-up",
        "the client left",
    ],
)
def test_a_fill_is_remembered_until_the_next_request_of_its_document(
    office: Office, between: Callable[[Office, Asked], Any], outcome: str
) -> None:
    first = filled(office)
    between(office, first)
    assert refined(office, first) == outcome


@pytest.mark.parametrize(("later", "outcome"), [(9.9, "filled"), (10.1, "fill-unknown")])
@pytest.mark.parametrize("document", ["a", None])
def test_a_fill_is_remembered_ten_seconds(
    office: Office, monkeypatch: pytest.MonkeyPatch, later: float, outcome: str, document: str | None
) -> None:
    clock = Clock(monkeypatch, task_queue, tasks)
    first = office.fill(document, received=clock.now)
    first.filled()
    clock.now += later
    assert refined(office, first) == outcome


def test_ten_seconds_begin_anew_with_a_refine(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, task_queue, tasks)
    first = filled(office, received=clock.now)
    clock.now += 6
    second = office.refine(first, (0, 0, 0))
    second.filled()
    clock.now += 6
    assert refined(office, first) == "fill-unknown"
    assert refined(office, second) == "filled"


def test_one_that_was_superseded_in_its_last_step_is_not_remembered(office: Office, gate: Gate) -> None:
    gate.close()
    first = office.fill("a", passes=1)
    gate.until(first.owner, "read")
    newer = office.fill("a", passes=1)
    gate.step()
    first.filled()
    assert office.refine(first, (0, 0, 0)).code() == "fill-unknown"
    gate.open()
    newer.answer()


def test_what_has_failed_cannot_be_refined(office: Office, gate: Gate) -> None:
    gate.broken[1, "a"] = ZeroDivisionError()
    first = office.fill("a")
    assert first.code() == "internal"
    gate.broken.clear()
    assert refined(office, first) == "fill-unknown"
    score = office.ask(wire.Score, "x", ("y",), document="b")
    score.answer()
    assert refined(office, score) == "fill-unknown"


def test_a_stranger_cannot_refine(office: Office) -> None:
    first = filled(office)
    stranger = Asked(2, first.request, (2, "a"))
    assert office.refine(stranger, (0, 0, 0)).code() == "fill-unknown"


# Spans that are wrong.


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(2, 0, 0)], "there are 2"),
        ([(0, 0, 1000)], "outside"),
        ([(0, 1000, 1000)], "outside"),
        ([(0, 2, 1)], "outside"),
        ([(0, 0, 2), (0, 1, 3)], "overlaps"),
        ([(0, 0, 2), (0, 0, 2)], "overlaps"),
        ([(0, 0, 1), (9, 0, 1)], "there are 2"),
        ([(1, 0, 1), (0, 0, 1000)], "outside"),
    ],
)
def test_wrong_spans_are_refused(office: Office, spans: list[tuple[int, int, int]], message: str) -> None:
    first = filled(office)
    assert min(map(len, texts(first))) >= 3
    wrong = office.refine(first, *spans)
    assert wrong.code() == "request"
    assert message in wrong.answer().message
    assert refined(office, first) == "filled", "it is still remembered"


def test_a_refine_supersedes_the_fill_that_came_after(office: Office, gate: Gate) -> None:
    first = filled(office)
    gate.close()
    second = office.refine(first, (0, 0, 1), passes=5)
    gate.until(second.owner, "canvas", 2)
    third = office.refine(first, (0, 0, 2))
    gate.open()
    assert second.code() == "superseded"
    third.filled()


# Opening a text again.


@given(data=st.data(), pinned=st.lists(TEXTS, min_size=3, max_size=3), found=st.lists(TEXTS, min_size=2, max_size=2))
@settings(max_examples=60)
def test_a_refinement_is_the_text_with_other_holes(
    tiny_checkpoint: Path, data: st.DataObject, pinned: list[str], found: list[str]
) -> None:
    tokenizer = Tokenizer.load(tiny_checkpoint, read_config(tiny_checkpoint))
    text = MaskedText((pinned[0], Hole(3), pinned[1], Hole(3), pinned[2]))
    spans: list[Span] = []
    for number, one in enumerate(found):
        marks = sorted(data.draw(st.lists(st.integers(0, len(one)), max_size=6)))
        spans += [Span(number, *pair) for pair in zip(marks[::2], marks[1::2], strict=False)]
    spans = spans or [Span(0, 0, 0)]
    opened = refinement(text, found, data.draw(st.permutations(spans)), tokenizer)
    cut = [found[span.hole][span.start : span.stop] for span in spans]
    assert len(opened.text.holes) == len(spans)
    assert opened.joined(cut) == tuple(found)
    rest = iter(cut)
    whole = "".join(next(rest) if isinstance(part, Hole) else part for part in opened.text.parts)
    assert whole == pinned[0] + found[0] + pinned[1] + found[1] + pinned[2]
    for hole, one in zip(opened.text.holes, cut, strict=True):
        assert hole.max_tokens == len(tokenizer.encode(one)) + SPARE_TOKENS


def test_a_span_of_another_hole_is_named(tiny_checkpoint: Path) -> None:
    tokenizer = Tokenizer.load(tiny_checkpoint, read_config(tiny_checkpoint))
    with pytest.raises(EngineError, match="names hole 1; there are 1"):
        refinement(MaskedText((Hole(3),)), ["abc"], [Span(1, 0, 0)], tokenizer)
