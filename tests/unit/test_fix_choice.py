"""What a model is asked about candidates, and what its answers decide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.syntax.repair import REPAIRED
from dgemma_lsp.syntax.repair.choice import BALANCES, BEFORE, LONGEST, NEAR, RIGHT, Balance, choose, stretches
from dgemma_lsp.syntax.repair.diagnosis import Candidate
from dgemma_lsp.text.edits import Edit, apply_edits

FAR = "." * (NEAR + RIGHT)


def candidate(*edits: tuple[int, int, str], cost: float = 0.0) -> Candidate:
    return Candidate(tuple(Edit(*edit) for edit in edits), cost)


def test_what_lies_close_is_asked_together():
    document = f"{FAR}[1, 2, 3{FAR}"
    at = len(FAR)
    [asked] = stretches(document, [candidate((at + 2, at + 2, "]")), candidate((at + 8, at + 8, "]"))])
    assert [text.strip(".") for text in asked.texts] == ["[1], 2, 3", "[1, 2, 3]"]
    assert (asked.before + asked.texts[0]).startswith(FAR)
    assert asked.written == (0, 1)


def test_what_lies_far_apart_is_asked_by_itself():
    document = f"a{FAR}b{FAR}c"
    first, last = candidate((1, 1, "x")), candidate((len(document), len(document), "y"))
    asked = stretches(document, [first, last])
    assert [one.written for one in asked] == [(0, 1), (0, 1)]
    assert [text[:2] for text in asked[0].texts] == ["ax", "a."]
    assert [text[-2:] for text in asked[1].texts] == [".c", "cy"]


def test_what_all_write_alike_is_not_asked():
    document = f"a{FAR}b"
    both = (1, 1, "x")
    [asked] = stretches(document, [candidate(both, (len(document), len(document), "y")), candidate(both)])
    assert [text[-2:] for text in asked.texts] == ["by", ".b"]


@pytest.mark.parametrize("candidates", [[], [candidate((0, 0, "x"))], [candidate((0, 0, "x"))] * 2])
def test_without_a_difference_there_is_nothing_to_ask(candidates: list[Candidate]):
    assert stretches("abc", candidates) == ()


def test_too_much_to_compare_is_not_compared():
    document = "." * (LONGEST + 2 * NEAR)
    steps = range(0, len(document), NEAR - 1)
    assert stretches(document, [candidate(*((at, at, "x") for at in steps)), candidate((0, 0, "y"))]) == ()


@given(st.text(max_size=2 * NEAR), st.data())
def test_the_parts_make_up_what_the_candidates_write(document: str, data: st.DataObject):
    places = st.integers(0, len(document))
    candidates = [
        candidate(*((at, min(at + gone, len(document)), text) for at, gone, text in chosen))
        for chosen in data.draw(
            st.lists(st.lists(st.tuples(places, st.just(0), st.text(max_size=2)), max_size=3), max_size=4)
        )
    ]
    asked = stretches(document, candidates)
    for one in asked:
        assert len(set(one.texts)) == len(one.texts) > 1
        assert len(one.written) == len(candidates)
        assert len(one.before) <= BEFORE
    if len(asked) == 1:
        for written, own in zip(asked[0].written, candidates, strict=True):
            assert apply_edits(document, own.edits).startswith(asked[0].before + asked[0].texts[written])


@pytest.mark.parametrize(
    ("costs", "log_probs", "winner"),
    [
        ((0.0, 0.0), (-1.0, -9.0), 0),
        ((0.0, 0.0), (-9.0, -1.0), 1),
        ((9.0, 0.0), (-1.0, -1.0), 1),
        ((0.0, 8.0), (-9.0, -1.0), None),
        ((0.0, 0.0), (-1.0, -1.0), None),
        ((0.0, 0.0), (-1.0, -2.0), None),
    ],
)
def test_the_winner_is_ahead_of_the_others(costs: tuple[float, ...], log_probs: tuple[float, ...], winner: int | None):
    candidates = [candidate((0, 0, text), cost=cost) for text, cost in zip("xy", costs, strict=True)]
    found = choose(candidates, stretches("abc", candidates), [log_probs], Balance(1.0, 2.0))
    assert found == (None if winner is None else candidates[winner])


def test_nobody_wins_where_nobody_stands():
    assert choose([], [], [], Balance(1.0, 2.0)) is None


def test_every_repaired_language_has_its_balance():
    assert set(BALANCES) == set(REPAIRED)
