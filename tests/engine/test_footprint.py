"""What a model takes in memory is known from its shape, and what fits is chosen by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from dgemma_engine.checkpoints import find_checkpoint
from dgemma_engine.errors import EngineError
from dgemma_engine.footprint import LAYOUTS, PREFILL_ROWS, WINDOW, Footprint, Layout, choose, read_footprint
from dgemma_engine.model import DiffusionGemma, load_model, read_config
from dgemma_engine.model.config import parse_config
from dgemma_engine.model.load import Precision
from dgemma_engine.prefix_cache import CHUNK_ROWS
from dgemma_engine.released import released_config

RELEASED = Footprint(parse_config(released_config()))


@pytest.mark.parametrize(("precision", "gigabytes"), [("bf16", 50.5), ("fp8", 26.1), ("int4", 15.3), ("nvfp4", 17.7)])
def test_the_released_shape_takes_what_was_computed(precision: str, gigabytes: float) -> None:
    assert round(RELEASED.weights(precision) / 1e9, 1) == gigabytes


@pytest.mark.parametrize(("layout", "gigabytes"), [(Layout(4, group=64), 17.0), (Layout(4, group=128), 16.6)])
def test_other_int4_layouts(monkeypatch: pytest.MonkeyPatch, layout: Layout, gigabytes: float) -> None:
    monkeypatch.setitem(LAYOUTS, "int4", layout)
    assert round(RELEASED.weights("int4") / 1e9, 1) == gigabytes


def test_int4_and_its_whole_window_fit_into_18_gb() -> None:
    assert RELEASED.peak("int4", WINDOW) <= 18e9


@pytest.mark.parametrize("precision", ["bf16", "fp8", "int4"])
@pytest.mark.parametrize("layout", ["experts one by one", "fp8", "int4"])
def test_what_is_loaded_takes_what_was_computed(
    tiny_checkpoint: Path, tmp_path: Path, layout: str, precision: Precision
) -> None:
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is there from Python 3.11 on")
    from .layouts import write_layout

    write_layout(tiny_checkpoint, tmp_path, layout)
    model, footprint = load_model(tmp_path, precision=precision), read_footprint(tmp_path)
    found = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
    if footprint.stored != "int4" and precision == "int4":
        # Rows are shorter than a group here.
        footprint = evolve(footprint, stored="int4", group=3 * 64 * 32 // (2 * 32 + 64))
    assert found == pytest.approx(footprint.weights(precision), abs=1)


def test_a_token_s_keys_and_values() -> None:
    assert RELEASED.kv == 225_280
    assert round(8192 * RELEASED.kv / 1e9, 2) == 1.85


def test_the_numbers_of_the_engine_are_used() -> None:
    from dgemma_engine.engine import DEFAULT_CONTEXT

    assert (WINDOW, PREFILL_ROWS) == (DEFAULT_CONTEXT, CHUNK_ROWS)


@pytest.mark.parametrize("name", ["nano", "tiny", "released"])
def test_every_weight_is_counted(name: str, tiny_checkpoint: Path) -> None:
    folder = {"nano": find_checkpoint("nano").folder, "tiny": tiny_checkpoint}.get(name)
    config = RELEASED.config if folder is None else read_config(folder)
    with torch.device("meta"):
        model = DiffusionGemma(config)
    weights = sum(tensor.numel() for tensor in model.state_dict().values())
    assert Footprint(config, 4).weights("bf16") == 4 * weights
    cache = model.new_cache(7)
    assert cache.size == 7 * Footprint(config, cache._keys[0].element_size()).kv


@pytest.mark.parametrize(
    ("free", "precision", "window"),
    [(80e9, "bf16", 8192), (48e9, "fp8", 8192), (29e9, "fp8", 8192), (18e9, "int4", 8192), (17e9, "int4", 4096)],
)
def test_auto_takes_the_most_exact_one_that_fits(free: float, precision: str, window: int) -> None:
    choice = choose("auto", free, RELEASED)
    assert (choice.precision, choice.window) == (precision, window)
    assert precision in choice.reason
    assert str(window) in choice.reason
    assert ("bf16 52.7 GB" in choice.reason) == (precision != "bf16")


@pytest.mark.parametrize(
    ("asked", "free", "said"),
    [
        ("auto", 12e9, "int4 needs 15.9 GB even with a window of 1024 tokens, 12.0 GB are free: 3.9 GB too little"),
        ("bf16", 24e9, "bf16 needs 51.1 GB .* 27.1 GB too little; int4 would fit"),
        ("bf16", 40e9, "; fp8 would fit"),
        ("auto", 0, "0.0 MB are free"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(asked: str, free: float, said: str) -> None:
    with pytest.raises(EngineError, match=said) as caught:
        choose(asked, free, RELEASED)
    assert caught.value.code == "memory"


@pytest.mark.parametrize("stored", ["fp8", "int4", "nvfp4"])
def test_auto_keeps_what_is_quantised_already(stored: str) -> None:
    quantised = evolve(RELEASED, stored=stored)
    assert choose("auto", 1e12, quantised).precision == stored
    assert choose("bf16", 1e12, quantised).precision == "bf16"
    with pytest.raises(EngineError, match=f"{stored} needs"):
        choose("auto", 1e9, quantised)


def test_a_precision_that_is_named_is_taken_where_a_better_one_would_fit() -> None:
    assert choose("int4", 1e12, RELEASED).precision == "int4"
    assert choose("auto", 1e12, RELEASED, offered=("fp8", "int4")).precision == "fp8"


@given(st.floats(0, 80e9), st.integers(0, 16_384), st.sampled_from(["auto", "bf16", "fp8", "int4"]))
def test_what_is_chosen_fits(free: float, window: int, asked: str) -> None:
    try:
        choice = choose(asked, free, RELEASED, window)
    except EngineError:
        assert RELEASED.peak("int4" if asked == "auto" else asked, min(window, 1024)) > free
        return
    assert choice.need == RELEASED.peak(choice.precision, choice.window) <= free
    assert choice.window <= window
    assert asked in ("auto", choice.precision)


@given(st.integers(0, 8192), st.integers(0, 8192))
def test_a_wider_window_needs_more(one: int, other: int) -> None:
    for precision in ("bf16", "fp8", "int4"):
        needs = [RELEASED.peak(precision, window) for window in sorted((one, other))]
        assert needs == sorted(needs)
        assert needs[0] > RELEASED.weights(precision)


def test_a_short_context_is_the_window() -> None:
    assert Footprint(read_config(find_checkpoint("nano").folder)).window == 384
    config = evolve(RELEASED.config, max_positions=2048)
    assert Footprint(config).window == 2048 - 256


def test_no_torch_is_loaded_for_it() -> None:
    modules = "dgemma_engine.footprint, dgemma_engine.checkpoints, dgemma_engine.shards"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize("precision", ["bf16", "fp8", "int4"])
def test_the_page_about_models_has_these_numbers(precision: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{precision}` |")]
    sizes = [f"{size / 1e9:.1f} GB" for size in (RELEASED.weights(precision), RELEASED.peak(precision, WINDOW))]
    assert [cell.strip() for cell in row.strip("|").split("|")][2:] == sizes
