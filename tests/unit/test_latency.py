"""What `dgemma-lsp bench latency` makes of its times, and where it types."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_lsp.latency import LINES, Times, library, picture, places, share, table

VALUES = st.lists(st.floats(0, 1e5), min_size=1, max_size=50)


def test_a_table_of_what_was_measured() -> None:
    text = table(Times(start=[500.0], answer=[100.0, 200.0, 300.0], outcomes={"empty": 1, "offered": 2}))
    assert "| start to `initialize` | ≤ 600 | 500.0 | 500.0 | 1 |" in text
    assert "p50 ≤ 200, p95 ≤ 400 | 200.0 | 300.0 | 3 |" in text
    assert "typing along" not in text
    assert text.endswith("offered 2, empty 1.")


@given(VALUES)
def test_the_picture_is_an_svg_with_a_bar_for_every_bin(values: list[float]) -> None:
    root = ElementTree.fromstring(picture(values))
    bars = [each for each in root if each.tag.endswith("rect") and each.get("fill") == "#4a7ebb"]
    assert len(bars) == 40
    assert any(float(bar.get("height", "0")) > 0 for bar in bars)


@given(VALUES, st.floats(0, 1))
def test_a_share_is_one_of_the_values(values: list[float], part: float) -> None:
    assert min(values) <= share(values, part) <= max(values)
    assert share(values, part) in values


def test_places_lie_within_lines_and_are_the_same_every_time() -> None:
    lines = library().splitlines()
    assert len(lines) == LINES
    found = list(itertools.islice(places(lines), 50))
    assert found == list(itertools.islice(places(lines), 50))
    assert all(0 < cut < len(lines[line]) for line, cut in found)


def test_a_file_without_a_line_is_said_to_be_one() -> None:
    with pytest.raises(ValueError, match="no line"):
        next(places(["", "é" * 20]))
