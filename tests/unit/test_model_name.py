"""A model's name and the precision behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_engine.wire import AUTO, PRECISIONS, ModelName


@pytest.mark.parametrize(
    ("text", "name", "precision"),
    [
        ("nano", "nano", "auto"),
        ("nano@int4", "nano", "int4"),
        ("nano@auto", "nano", "auto"),
        ("google/diffusiongemma-26B-A4B-it@fp8", "google/diffusiongemma-26B-A4B-it", "fp8"),
        ("/models/me@home", "/models/me@home", "auto"),
        ("/models/me@home@bf16", "/models/me@home", "bf16"),
        ("/models/a@int8", "/models/a@int8", "auto"),
        ("@int4", "", "int4"),
        ("a@", "a@", "auto"),
        ("", "", "auto"),
    ],
)
def test_only_a_known_precision_behind_the_last_at_counts(text: str, name: str, precision: str) -> None:
    parsed = ModelName.parse(text)
    assert (parsed.name, parsed.precision) == (name, precision)


@given(st.text("ab/@", max_size=6), st.sampled_from(["", "@int4", "@auto"]), st.sampled_from([AUTO, *PRECISIONS]))
def test_what_is_written_is_read_again(start: str, end: str, precision: str) -> None:
    name = ModelName(start + end, precision)
    assert ModelName.parse(str(name)) == name


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("google/diffusiongemma-26B-A4B-it", True),
        ("a/b", True),
        ("nano", False),
        ("./a", False),
        ("../a", False),
        ("/a/b", False),
        ("~/a", False),
        ("a/b/c", False),
        ("a/b c", False),
        ("a\\b", False),
    ],
)
def test_hub_ids_are_told_from_paths(name: str, is_one: bool) -> None:
    assert ModelName(name).is_hub_id is is_one


def test_there_are_no_other_precisions() -> None:
    with pytest.raises(ValueError, match="int8"):
        ModelName("nano", "int8")
