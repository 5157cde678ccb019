"""The denoising loop on tiny tensors: only free rows count, pinned ones never change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgemma_engine.draws import SeededDraws
from dgemma_engine.engine import DEFAULT_PASSES, read_schedule
from dgemma_engine.errors import EngineError
from dgemma_engine.model import DiffusionGemma, Rows, load_model
from dgemma_engine.sampler import PINNED_SIGNALS, Denoising, Schedule, accept

VOCAB = 10
FILLER = 9
CPU = torch.device("cpu")


@define
class Scripted:
    """Stands in for the network: `table` `[C, V]` holds the logits of every row, whatever the canvas says."""

    table: Tensor
    signals: list[Tensor | None] = field(factory=list)
    statistics: None = None

    def forward(self, parts: list[Rows]) -> list[Tensor]:
        (rows,) = parts
        self.signals.append(None if rows.signal is None else rows.signal.clone())
        places = torch.arange(rows.ids.shape[1]).expand(rows.ids.shape).flatten()
        return [places[rows.asked][:, None]]

    def logits(self, hidden: Tensor) -> Tensor:
        return self.table[hidden.squeeze(-1)]

    def embed(self, ids: Tensor) -> Tensor:
        return ids[..., None].float()

    def expected_embedding(self, probabilities: Tensor) -> Tensor:
        return probabilities @ torch.arange(float(VOCAB))[:, None]


SURE, VAGUE = 40.0, 0.0


def table(*rows: tuple[int, float]) -> Tensor:
    """Logits that favour one id a row, by so much."""
    logits = torch.zeros(len(rows), VOCAB)
    for row, (id_, height) in enumerate(rows):
        logits[row, id_] = height
    return logits


def run(logits: Tensor, canvas: list[int], free: str, kept: str = "", **options: Any) -> tuple[Denoising, Scripted]:
    """A denoising of one canvas; `free` and `kept` as a string of x and -."""
    model = Scripted(logits)
    forbidden = torch.zeros(VOCAB, dtype=torch.bool)
    forbidden[options.pop("forbidden", [])] = True
    denoising = Denoising(
        model=model,  # type: ignore[arg-type]
        cache=None,  # type: ignore[arg-type]
        canvas=torch.tensor([canvas]),
        free=torch.tensor([[char == "x" for char in free]]),
        kept=torch.tensor([[char == "x" for char in kept or "-" * len(free)]]),
        schedule=options.pop("schedule", Schedule(passes=8)),
        draws=SeededDraws(VOCAB, CPU, options.pop("seed", 0)),
        forbidden=forbidden,
        **options,
    )
    return denoising, model


@pytest.mark.parametrize(
    ("entropies", "free", "bound", "expected"),
    [
        pytest.param([0.0, 0.0, 0.0], "xxx", 0.1, "xxx", id="all-certain"),
        pytest.param([3.0, 2.0, 4.0], "xxx", 0.1, "-x-", id="always-one"),
        pytest.param([0.06, 0.02, 9.0], "xxx", 0.1, "xxx", id="the-largest-is-left-out-of-the-sum"),
        pytest.param([0.06, 0.05, 9.0], "xxx", 0.1, "xx-", id="over-budget"),
        pytest.param([0.0, 3.0, 0.0], "-x-", 0.1, "-x-", id="pinned-rows-take-nothing-of-the-budget"),
        pytest.param([5.0, 3.0, 5.0], "-x-", 0.1, "-x-", id="pinned-rows-are-not-accepted"),
        pytest.param([0.2, 0.1, 0.1], "-xx", 0.1, "-xx", id="mixed"),
    ],
)
def test_accept(entropies: list[float], free: str, bound: float, expected: str) -> None:
    accepted = accept(torch.tensor([entropies]), torch.tensor([[char == "x" for char in free]]), bound)
    assert "".join("-x"[chosen] for chosen in accepted[0].tolist()) == expected


@given(
    st.lists(st.floats(0, 8, width=32), min_size=1, max_size=8),
    st.lists(st.floats(0, 8, width=32), max_size=60),
    st.floats(0, 4),
)
@settings(max_examples=60)
def test_accept_ignores_pinned_rows(free: list[float], pinned: list[float], bound: float) -> None:
    mask = torch.tensor([[True] * len(free) + [False] * len(pinned)])
    both = accept(torch.tensor([[*free, *pinned]]), mask, bound)
    alone = accept(torch.tensor([free]), torch.ones(1, len(free), dtype=torch.bool), bound)
    assert both[0, : len(free)].tolist() == alone[0].tolist()
    assert not both[0, len(free) :].any()


def test_one_free_row_among_sixty_decides_alone() -> None:
    logits = table(*[(3, SURE)] * 30, (4, 2.0), *[(3, SURE)] * 30)
    free = "-" * 30 + "x" + "-" * 30
    pinned = [5] * 61
    probe, _ = run(logits, pinned, free)
    certainty = probe.advance().entropy[0, 30].item()
    assert certainty > 0.1
    # Diluted by its certain neighbours the mean would be a sixtieth of this.
    for confidence, done in ((0.9 * certainty, False), (1.5 * certainty, True)):
        denoising, _ = run(logits, pinned, free, schedule=Schedule(passes=8, confidence=confidence, stability=0))
        state = denoising.advance()
        assert state.accepted.nonzero().tolist() == [[0, 30]]
        assert state.done.item() is done


def test_pinned_rows_never_change() -> None:
    denoising, _ = run(table(*[(3, 1.0)] * 6), [5, 6, 0, 0, 7, 8], "--xx--")
    for _ in range(8):
        state = denoising.advance()
        for ids in (state.canvas, state.argmax, state.readout):
            assert ids[0, [0, 1, 4, 5]].tolist() == [5, 6, 7, 8]
        assert not state.accepted[0, [0, 1, 4, 5]].any()
        assert state.entropy[0, [0, 1, 4, 5]].tolist() == [0] * 4


def test_noise_is_drawn_over_the_whole_vocabulary() -> None:
    draws = SeededDraws(VOCAB, CPU, 0)
    assert set(draws.noise((400,)).tolist()) == set(range(VOCAB))
    same = SeededDraws(VOCAB, CPU, 5).noise((1, 64))
    denoising, _ = run(table(*[(3, VAGUE)] * 64), [0] * 64, "x" * 64, seed=5, forbidden=[0, 1, 2])
    assert torch.equal(denoising.canvas, same)
    assert {0, 1, 2} <= set(same.flatten().tolist())


def test_forbidden_ids_are_kept_out_of_the_readout_only() -> None:
    logits = table((2, SURE), (2, SURE))
    logits[:, 4] = 1.0
    denoising, _ = run(logits, [0, 0], "xx", forbidden=[2])
    state = denoising.advance()
    assert state.canvas.tolist() == state.argmax.tolist() == [[2, 2]]
    assert state.readout.tolist() == [[4, 4]]


def test_a_draft_stays_until_it_is_replaced() -> None:
    logits = table((3, SURE), (4, VAGUE), (4, VAGUE), (4, VAGUE))
    denoising, _ = run(logits, [7, 7, 7, 0], "xxxx", "xxx-", remaining=4, schedule=Schedule(passes=8))
    assert denoising.canvas[0, :3].tolist() == [7, 7, 7]
    replaced = torch.zeros(4, dtype=torch.bool)
    for _ in range(4):
        state = denoising.advance()
        replaced |= state.accepted[0]
        assert state.canvas[0, 0] == 3
        assert all(state.canvas[0, row] == 7 for row in (1, 2) if not replaced[row])
    assert denoising.remaining == 0


@pytest.mark.parametrize(
    ("favoured", "free", "done"),
    [
        pytest.param([1, FILLER, FILLER, FILLER], "xxxx", True, id="text-and-fillers"),
        pytest.param([FILLER, FILLER, FILLER, FILLER], "xxxx", True, id="nothing-but-fillers"),
        pytest.param([5, FILLER, FILLER, FILLER], "-xxx", True, id="after-pinned-text"),
        pytest.param([1, 2, 2, 2], "xxxx", False, id="text"),
    ],
)
def test_only_the_first_filler_counts(favoured: list[int], free: str, done: bool) -> None:
    # The last two rows are less sure than the rule allows, were they counted.
    logits = table(*zip(favoured, (SURE, SURE, 3.0, 3.0), strict=True))
    schedule = Schedule(passes=8, stability=0, confidence=0.05)
    denoising, _ = run(logits, [5] * 4, free, filler=FILLER, schedule=schedule)
    assert denoising.advance().done.item() is done


def test_the_last_row_is_no_neighbour_of_the_first() -> None:
    """The one row that is unsure is the first filler of its hole, though the canvas ends with another."""
    logits = table((FILLER, 3.0), (5, SURE), (FILLER, SURE))
    schedule = Schedule(passes=8, stability=0, confidence=0.05)
    denoising, _ = run(logits, [5] * 3, "x-x", filler=FILLER, schedule=schedule)
    assert denoising.advance().done.item() is False


@pytest.mark.parametrize("signal", PINNED_SIGNALS)
def test_what_pinned_rows_are_conditioned_on(signal: str) -> None:
    logits = table((3, SURE), (4, SURE), (5, SURE))
    denoising, model = run(logits, [7, 0, 8], "-x-", signal_at_pinned=signal)
    for _ in range(3):
        denoising.advance()
    first, *later = model.signals
    if signal == "embedding":
        assert first is not None
        assert first.flatten().tolist() == [7, 0, 8]
    else:
        assert first is None
    pinned = {"zero": [0, 0], "embedding": [7, 8], "logits": [3, 5]}[signal]
    for given_ in later:
        assert given_ is not None
        torch.testing.assert_close(given_.flatten(), torch.tensor([pinned[0], 4.0, pinned[1]]))


def test_the_temperature_falls_and_stops_above_its_least() -> None:
    schedule = Schedule(passes=4, t_min=0.4, t_max=0.8)
    assert [round(schedule.temperature(n), 6) for n in (4, 3, 2, 1)] == [0.8, 0.7, 0.6, 0.5]


@pytest.mark.parametrize("seed", [0, None])
def test_draws(seed: int | None) -> None:
    one, two = SeededDraws(VOCAB, CPU, seed), SeededDraws(VOCAB, CPU, seed)
    assert torch.equal(one.noise((64,)), two.noise((64,))) is (seed is not None)
    assert one.sample(torch.eye(VOCAB)).tolist() == list(range(VOCAB))


GENERATION: dict[str, Any] = {"max_denoising_steps": 9, "t_min": 0.3, "sampler_config": {"entropy_bound": 0.2}}


def test_the_schedule_of_a_checkpoint(tmp_path: Path) -> None:
    assert read_schedule(tmp_path) == Schedule(passes=DEFAULT_PASSES)
    (tmp_path / "generation_config.json").write_text(json.dumps(GENERATION))
    assert read_schedule(tmp_path) == Schedule(passes=9, entropy_bound=0.2, t_min=0.3)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("{", id="cut"),
        pytest.param("[]", id="list"),
        pytest.param(json.dumps({"sampler_config": 3}), id="sampler"),
        *(
            pytest.param(json.dumps({**GENERATION, name: value}), id=f"{name}={value}")
            for name, value in (
                ("max_denoising_steps", -1),
                ("max_denoising_steps", 1.5),
                ("max_denoising_steps", "many"),
                ("t_min", 0),
                ("t_max", "hot"),
                ("stability_threshold", 0.5),
                ("confidence_threshold", -1),
            )
        ),
    ],
)
def test_a_broken_schedule_is_an_error_of_the_checkpoint(tmp_path: Path, broken: str) -> None:
    (tmp_path / "generation_config.json").write_text(broken)
    with pytest.raises(EngineError, match=r"generation_config\.json") as error:
        read_schedule(tmp_path)
    assert error.value.code == "checkpoint"
    assert "\n" not in str(error.value)


@define
class DrawsByCanvas:
    """A generator for each canvas: what one canvas gets does not depend on the others in its batch."""

    vocab: int
    generators: list[torch.Generator]
    read: Tensor
    """The rows that are read out, `[B, C]`."""
    present: list[int]

    @classmethod
    def of(cls, vocab: int, read: Tensor, present: list[int]) -> DrawsByCanvas:
        return cls(vocab, [torch.Generator().manual_seed(n) for n in range(len(read))], read, present)

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([torch.randint(self.vocab, shape[1:], generator=self.generators[n]) for n in self.present])

    def sample(self, probabilities: Tensor) -> Tensor:
        parts = probabilities.split([int(self.read[n].sum()) for n in self.present])
        drawn = [
            torch.multinomial(part, 1, generator=self.generators[n])
            for n, part in zip(self.present, parts, strict=True)
        ]
        return torch.cat(drawn).squeeze(-1)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> DiffusionGemma:
    return load_model(tiny_checkpoint, torch.float32)


@torch.inference_mode()
@pytest.mark.parametrize("signal", PINNED_SIGNALS)
def test_canvases_that_stay_go_on_as_if_alone(model: DiffusionGemma, signal: Any) -> None:
    """Three canvases of different widths; the second leaves after two passes."""
    vocab, cache = model.config.vocab_size, model.new_cache()
    model.encode(torch.arange(50)[None], cache)
    widths, width = (12, 16, 9), 16
    ids = torch.randint(vocab, (3, width), generator=torch.Generator().manual_seed(3))
    real = torch.stack([torch.arange(width) < one for one in widths])
    free = real & (torch.arange(width) % 3 > 0)
    kept = free & (torch.arange(width) < 4)

    def start(members: list[int]) -> tuple[Denoising, DrawsByCanvas]:
        draws = DrawsByCanvas.of(vocab, torch.ones_like(free) if signal == "logits" else free, members)
        denoising = Denoising(
            model=model,
            cache=cache,
            canvas=ids[members],
            free=free[members],
            kept=kept[members],
            schedule=Schedule(passes=6, entropy_bound=1.0),
            draws=draws,
            forbidden=torch.zeros(len(members), vocab, dtype=torch.bool),
            signal_at_pinned=signal,
            real=real[members],
        )
        return denoising, draws

    together, draws = start([0, 1, 2])
    states = []
    for number in range(6):
        if number == 2:
            together.keep(torch.tensor([0, 2]))
            draws.present = [0, 2]
        states.append(together.advance())
    for member in (0, 2):
        alone, _ = start([member])
        for number, state in enumerate(states):
            place = [0, 1, 2].index(member) if number < 2 else [0, 2].index(member)
            expected = alone.advance()
            assert torch.equal(state.canvas[place], expected.canvas[0])
            assert torch.equal(state.argmax[place], expected.argmax[0])
            torch.testing.assert_close(state.entropy[place], expected.entropy[0], atol=1e-4, rtol=0)
            assert state.done[place] == expected.done[0]


@torch.inference_mode()
@pytest.mark.parametrize("prefix", [3, 20, 100])
def test_padding_changes_nothing(model: DiffusionGemma, prefix: int) -> None:
    cache, generator = model.new_cache(), torch.Generator().manual_seed(prefix)
    model.encode(torch.randint(300, (1, prefix), generator=generator), cache)
    widths = (16, 5, 11)
    ids = torch.randint(300, (3, 16), generator=generator)
    real = torch.stack([torch.arange(16) < one for one in widths])
    signal = torch.randn(3, 16, model.config.hidden_size, generator=generator)
    batch = model.decode(ids, cache, signal, real)
    for member, width in enumerate(widths):
        alone = model.decode(ids[None, member, :width], cache, signal[None, member, :width])
        torch.testing.assert_close(model.logits(batch[member, :width]), model.logits(alone[0]), atol=1e-4, rtol=0)
    assert cache.length == prefix


def test_behind_the_first_end_nothing_counts_for_the_stop_rule() -> None:
    """Whatever the model still wants to write there."""
    sure_then_vague = table((3, SURE), (4, SURE), (5, VAGUE), (6, VAGUE))
    ended, _ = run(sure_then_vague, [0, 0, 0, 0], "xxxx", ends=(7, 4))
    open_, _ = run(sure_then_vague, [0, 0, 0, 0], "xxxx")
    # Settled as soon as it was seen twice, though the other rows are noise to the end.
    assert [bool(ended.advance().done.item()) for _ in range(3)] == [False, True, True]
    assert not any(bool(open_.advance().done.item()) for _ in range(8))


def test_an_end_that_is_not_sure_is_no_end_yet() -> None:
    logits = table((3, SURE), (4, 1.0), (5, SURE))
    denoising, _ = run(logits, [0, 0, 0], "xxx", ends=(4,))
    assert not any(bool(denoising.advance().done.item()) for _ in range(8))
