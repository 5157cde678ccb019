"""A rewrite from a client to the daemon and back, with a tiny checkpoint that has a chat template."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineError
from dgemma_lsp.engine_client.blocking import BlockingEngine
from tests.chat import write_chat_checkpoint

PROMPT = wire.Prompt("Simplify this.", "python", "area.py", "def area(w, h)", ["2: too long"])
PARTS = ("def area(w, h):\n", wire.Hole(24, "    return w * h\n", 0.3), "\n\nprint(area(2, 3))\n")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_chat_checkpoint(tmp_path_factory.mktemp("chat")))


@pytest.fixture
def engine(in_home: object) -> Iterator[BlockingEngine]:
    with BlockingEngine(name="test") as engine:
        yield engine


@pytest.mark.parametrize(("noise", "passes"), [(0.3, 3), (1.0, 8)])
def test_a_rewrite_streams_drafts_and_ends_in_one_text(engine: BlockingEngine, chat: str, noise: float, passes: int):
    drafts: list[wire.Draft] = []
    before, hole, after = PARTS
    text = wire.MaskedText((before, wire.Hole(hole.max_tokens, hole.draft, noise), after))
    filled = engine.fill(text, model=chat, prompt=PROMPT, priority="rewrite", passes=8, seed=1, on_draft=drafts.append)
    (candidate,) = filled.candidates
    (written,) = candidate.texts
    assert [draft.pass_index for draft in drafts] == list(range(1, candidate.passes + 1))
    assert {draft.passes for draft in drafts} == {passes}
    assert drafts[-1].texts == (written,)
    assert written.startswith("    ")
    assert written.endswith("\n")
    assert candidate.score is None
    assert filled.tokens["prefix"] > 100


def test_a_long_selection_shows_all_of_it_in_every_draft(engine: BlockingEngine, chat: str):
    lines = "".join(f"    x{n} = mean([{n}])\n" for n in range(8))
    drafts: list[wire.Draft] = []
    text = wire.MaskedText(("def f():\n", wire.Hole(200, lines, 0.3), "    return x1\n"))
    filled = engine.fill(text, model=chat, prompt=PROMPT, passes=8, on_draft=drafts.append)
    assert filled.tokens["canvases"] > 3
    assert drafts[0].texts[0].endswith("    x6 = mean([6])\n    x7 = mean([7])\n")
    assert drafts[-1].texts == filled.candidates[0].texts


def test_what_was_rewritten_can_be_refined(engine: BlockingEngine, chat: str):
    filled = engine.fill(wire.MaskedText(PARTS), model=chat, prompt=PROMPT, document="area.py", passes=4, seed=1)
    before = filled.candidates[0].texts[0]
    again = engine.refine(filled, [wire.Span(0, 4, 6)], seed=1)
    after = again.candidates[0].texts[0]
    assert after.startswith(before[:4])
    assert after.endswith(before[6:])


def test_a_fill_without_a_prompt_is_spoken_to_as_well(engine: BlockingEngine, chat: str):
    drafts: list[wire.Draft] = []
    text = wire.MaskedText(("def area(w, h):\n    return wi", wire.Hole(8), "\n\nprint(area(2, 3))\n"))
    options = {"model": chat, "document": "file:///w/area.py", "passes": 8, "seed": 1}
    filled = engine.fill(text, on_draft=drafts.append, **options)
    (written,) = filled.candidates[0].texts
    assert written
    assert drafts[-1].texts == (written,)
    # The prompt is longer than the text.
    assert filled.tokens["prefix"] > 200
    assert filled.tokens["canvases"] == 6


def test_ways_to_mend_a_text_are_compared(engine: BlockingEngine, chat: str):
    ways = ["[1, 2]", "[1], 2"]
    there = engine.score("x = ", ways, "\n", model=chat)
    back = engine.score("x = ", ways[::-1], "\n", model=chat)
    assert there == pytest.approx(back[::-1], abs=1e-2)
    assert there[0] != there[1]


def test_a_client_is_told_who_follows_instructions(engine: BlockingEngine, chat: str):
    assert engine.lease(chat).instructed
    assert not engine.lease("nano").instructed
    told = {model.name: model.instructed for model in engine.status().models}
    assert (told[chat], told["nano"]) == (True, False)


@pytest.mark.parametrize(("model", "code"), [("nano", "instructions"), ("/nowhere", "checkpoint")])
def test_a_refusal_loads_nothing(engine: BlockingEngine, model: str, code: str):
    engine.unload()
    with pytest.raises(EngineError) as caught:
        engine.fill(wire.MaskedText(PARTS), model=model, prompt=PROMPT)
    assert caught.value.code == code
    report = engine.status()
    assert report.models == ()
    assert code != "instructions" or str(caught.value) == (
        "nano follows no instructions; a checkpoint such as google/diffusiongemma-26B-A4B-it does: "
        "dgemma-lsp model use google/diffusiongemma-26B-A4B-it"
    )
