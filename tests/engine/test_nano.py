"""The packaged nano: what it is, and the least it can do."""

from __future__ import annotations

import pytest

from dgemma_engine import wire
from dgemma_engine.checkpoints import find_checkpoint
from dgemma_engine.engine import Engine

CLOSERS = {
    "a call": ("def area(shape):\n    return abs(shape.width() * shape.height()", "\n\n\ndef main():\n    pass\n", ")"),
    "an index": ("def first(rows):\n    return rows[0", "\n\n\ndef last(rows):\n    return rows[-1]\n", "]"),
    "a string": ('import os\n\nhome = os.environ["HOME', ']\nprint(home)\n', '"'),
    "a JSON string": ('{\n  "name": "shop', ',\n  "version": "1.0.0"\n}\n', '"'),
    "a JSON object": ('{\n  "a": {\n    "b": 1\n  ', ',\n  "c": 2\n}\n', "}"),
    "inline code": ("# Use\n\nRun `make test", " before you commit.\n", "`"),
    "strong text": ("This is **important", " to know.\n", "**"),
}  # fmt: skip


@pytest.fixture(scope="module")
def nano() -> Engine:
    return Engine.load("nano")


@pytest.mark.parametrize("case", CLOSERS)
def test_it_closes_what_is_open(nano: Engine, case: str) -> None:
    before, after, closer = CLOSERS[case]
    texts = []
    for seed in range(3):
        filled = nano.fill(wire.MaskedText((before, wire.Hole(4), after)), seed=seed)
        texts.append(filled.candidates[0].texts[0])
    assert texts.count(closer) >= 2, texts


def test_a_wrong_closer_is_less_likely(nano: Engine) -> None:
    right, wrong = nano.score('{\n  "sizes": [1, 2, 3', ["]", "}"], ",\n  \"name\": \"x\"\n}\n")  # fmt: skip
    assert right > wrong


def test_it_is_small_and_says_what_it_is() -> None:
    folder = find_checkpoint("nano").folder
    assert (folder / "model.safetensors").stat().st_size <= 16_000_000
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for part in ("curve.png", "## Data", "## Quality", "| pypi:", "Licence"):
        assert part in card
    assert (folder / "curve.png").stat().st_size > 5_000
