"""Words that are cut in the middle: which token is taken back, and what may take its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dgemma_engine.draws import SeededDraws
from dgemma_engine.healing import Healer
from dgemma_engine.sampler import Denoising, Schedule
from dgemma_engine.tokenizer import Tokenizer

from .test_infill import load
from .test_prompt_chat import tokenizer


@pytest.fixture
def own(chat_checkpoint: Path) -> Tokenizer:
    return tokenizer(chat_checkpoint)


@pytest.mark.parametrize(
    ("before", "is_healed"),
    [
        ("mea", True),
        ("x = val", True),
        ("x_", True),
        ("v1", True),
        ("", False),
        ("f(", False),
        ("x ", False),
        ("x\n", False),
        ("x.", False),
        ("🦊", False),
        # The last token is half a character.
        ("é", False),
    ],
)
def test_which_token_is_taken_back(own: Tokenizer, before: str, is_healed: bool) -> None:
    ids = own.encode(before)
    expected = own.decode(ids[-1:]) if is_healed else ""
    assert Healer(own, 405).typed(ids, before) == expected
    assert bool(expected) is is_healed


def test_a_control_token_is_never_taken_back(own: Tokenizer) -> None:
    assert Healer(own, 405).typed([5], "x") == ""
    assert Healer(own, 405).typed([], "x") == ""


@pytest.mark.parametrize("typed", ["m", "me", " v", "_", "nothing begins like this"])
def test_what_may_take_its_place(own: Tokenizer, typed: str) -> None:
    size = 410
    refused = Healer(own, size).refused(typed, torch.device("cpu"))
    assert refused.shape == (size,)
    allowed = [id_ for id_ in range(size) if not refused[id_]]
    assert all(own.decode([id_]).startswith(typed) for id_ in allowed)
    others = [id_ for id_ in range(405) if refused[id_] and id_ not in own.control_ids]
    assert not any(own.decode([id_]).startswith(typed) for id_ in others)
    assert not own.control_ids.intersection(allowed)
    assert bool(allowed) is (len(typed) < 5)


def test_only_the_first_row_is_held_to_it(chat_checkpoint: Path) -> None:
    model = load(chat_checkpoint).model
    vocab = model.config.vocab_size
    free = torch.tensor([[False, True, True, False], [False, False, True, True]])
    opening = torch.ones(vocab, dtype=torch.bool)
    opening[77] = False
    never = torch.zeros(vocab, dtype=torch.bool)

    def run(opening: torch.Tensor | None) -> torch.Tensor:
        denoising = Denoising(
            model=model,
            cache=model.new_cache(),
            canvas=torch.full((2, 4), 9),
            free=free,
            kept=torch.zeros_like(free),
            schedule=Schedule(passes=2),
            draws=SeededDraws(vocab, model.device, 0),
            forbidden=never,
            opening=opening,
        )
        made = denoising.advance()
        # What is denoised is not held to anything.
        assert torch.equal(made.canvas[~free], torch.full((4,), 9))
        denoising.keep(torch.tensor([1]))
        return torch.cat([made.readout, denoising.advance().readout])

    with torch.inference_mode():
        plain, held = run(None), run(opening)
    assert held.tolist() == [
        [9, 77, plain[0, 2], 9],
        [9, 9, 77, plain[1, 3]],
        [9, 9, 77, plain[2, 3]],
    ]
