"""A traced fill tells of every canvas, after every pass, what each of its free rows might become."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from dgemma_engine import wire
from dgemma_engine.wire import Hole

from .gate import Gate
from .office import Office, OpenOffice

SUFFIX = "\nprint(1234567890)\n"


def traced(office: Office, parts: Any, **options: Any) -> tuple[list[wire.Draft], wire.Filled]:
    office.gate.open()
    asked = office.fill(parts=parts, **{"trace": True, "length": "auto", "passes": 4, "seed": 0, **options})
    return asked.of(wire.Draft) if asked.filled() else [], asked.filled()


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        (("x = ", Hole(6), SUFFIX), {}),
        (("x = ", Hole(6)), {}),
        ((Hole(6), "\n"), {"candidates": 2}),
        (("a = ", Hole(3), " + ", Hole(4)), {}),
        (("a = ", Hole(3), " + ", Hole(4), ""), {"length": "probe"}),
        (("a = ", Hole(4, "12", 0.5), ";"), {}),
        (("x = ", Hole(6), SUFFIX), {"passes": 1}),
    ],
)
def test_every_canvas_has_a_draft_after_every_pass(
    office: Office, parts: tuple[str | Hole, ...], options: dict[str, Any]
) -> None:
    *drafts, last = traced(office, parts, **options)[0]
    canvases: dict[int, list[wire.Draft]] = defaultdict(list)
    for draft in drafts:
        canvases[draft.canvas].append(draft)
    assert sorted(canvases) == list(range(len(canvases)))
    for own in canvases.values():
        free = [sum(cell.state != "pinned" for cell in draft.cells) for draft in own]
        assert len(set(free)) == 1, "a canvas neither grows nor shrinks"
        # Each pass settles a row, and two more make sure.
        passes = min(own[0].passes, free[0] + 2)
        assert [draft.pass_index for draft in own] == list(range(1, passes + 1))
    assert last.canvas in canvases
    assert last.texts == canvases[last.canvas][-1].texts


@pytest.mark.parametrize("parts", [("x = ", Hole(6), SUFFIX), ("x = ", Hole(6)), ("a = ", Hole(3), " + ", Hole(4))])
def test_the_cells_are_the_canvas(office: Office, parts: tuple[str | Hole, ...]) -> None:
    drafts, filled = traced(office, parts, length="probe")
    holes = [part.max_tokens for part in parts if isinstance(part, Hole)]
    sizes = set()
    for draft in drafts:
        free = [cell for cell in draft.cells if cell.state != "pinned"]
        sizes.add(len(free))
        assert len(free) <= sum(holes), "padding is no part of a canvas"
        for cell in draft.cells:
            if cell.state == "pinned":
                assert (cell.entropy, cell.choices) == (None, ())
                assert cell.text in "".join(str(part) for part in parts)
            elif draft is not drafts[-1]:
                assert cell.entropy is not None
                assert 1 <= len(cell.choices) <= 5
                shares = [choice.probability for choice in cell.choices]
                assert shares == sorted(shares, reverse=True)
                assert 0 < shares[0] <= sum(shares) <= 1 + 1e-4
    assert filled.tokens["canvases"] == len({draft.canvas for draft in drafts})
    assert len(sizes) > 1, "several lengths were tried"


def test_the_last_draft_is_what_is_offered(office: Office) -> None:
    drafts, filled = traced(office, ("x = ", Hole(6), SUFFIX), candidates=2)
    assert drafts[-1].texts == filled.candidates[0].texts
    assert not any(cell.choices for cell in drafts[-1].cells)


def test_canvases_of_later_holes_go_on_counting(office: Office) -> None:
    drafts, filled = traced(office, ("a = ", Hole(20), SUFFIX * 3, Hole(20), "\n"), passes=2)
    numbers = [draft.canvas for draft in drafts]
    chosen = [draft for draft in drafts if not any(cell.choices for cell in draft.cells)]
    assert len(chosen) == 2
    assert len(set(numbers)) > filled.tokens["canvases"]
    assert chosen[1].canvas > chosen[0].canvas
    assert all(len(draft.texts) == 2 for draft in drafts)
    assert chosen[1].texts == filled.candidates[0].texts


def test_a_long_hole_is_traced_block_by_block(office: Office) -> None:
    drafts, filled = traced(office, ("a = ", Hole(80), SUFFIX), passes=2)
    numbers = [draft.canvas for draft in drafts]
    assert numbers[:-1] == sorted(numbers[:-1])
    assert len(set(numbers)) >= 2
    assert drafts[-1].texts == filled.candidates[0].texts


@pytest.mark.parametrize("options", [{"drafts": True}, {}])
def test_without_a_trace_the_drafts_are_of_one_canvas_and_name_no_choices(
    office: Office, options: dict[str, Any]
) -> None:
    drafts, _ = traced(office, ("x = ", Hole(6), SUFFIX), trace=False, **options)
    assert bool(drafts) == bool(options)
    assert {draft.canvas for draft in drafts} <= {0}
    assert not any(cell.choices for draft in drafts for cell in draft.cells)


def test_a_trace_of_nano_reads_as_text(open_office: OpenOffice, gate: Gate) -> None:
    office = open_office("nano")
    text = ("def mean(values):\n    return sum(", Hole(4), ") / len(values)\n")
    drafts, filled = traced(office, text, passes=3)
    (final,) = filled.candidates
    cells = drafts[-1].cells
    assert "".join(cell.text for cell in cells if cell.state != "pinned").startswith(final.texts[0])
    assert ") / len(values)" in "".join(cell.text for cell in cells if cell.state == "pinned")
