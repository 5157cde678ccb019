"""Exact likelihood by the causal encoder, against the chain rule spelled out token by token."""

from __future__ import annotations

from functools import cache as once
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgemma_engine.engine import Engine
from dgemma_engine.likelihood import BATCH_ROWS, log_likelihoods
from dgemma_engine.model import DiffusionGemma
from dgemma_engine.prefix_cache import CHUNK_ROWS, Prefix
from dgemma_engine.steps import drive

from .test_tokenizer import TEXTS


@once
def load(folder: Path) -> Engine:
    return Engine.load(str(folder))


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Path) -> Engine:
    return load(tiny_checkpoint)


def encoded(model: DiffusionGemma, ids: list[int]) -> Prefix:
    prefix = Prefix(model.new_cache(), None)
    drive(model, prefix.extend(ids))
    return prefix


@torch.inference_mode()
def chain_rule(model: DiffusionGemma, ids: list[int], start: int) -> float:
    """The sum of log P(ids[n] | ids[:n]) from `start` on, each from a prefix of its own."""
    total = 0.0
    for n in range(start, len(ids)):
        hidden = model.encode(torch.tensor([ids[:n]]), model.new_cache())[0, -1]
        total += model.logits(hidden).log_softmax(-1)[ids[n]].item()
    return total


@pytest.mark.parametrize("suffix", ["", ")\n"])
def test_a_score_is_the_chain_rule(engine: Engine, suffix: str) -> None:
    prefix, candidates = "mean(", ["values", "v", "", "sum(values), é"]
    scores = engine.score(prefix, candidates, suffix)
    encode = engine.tokenizer.encode
    for text, score in zip(candidates, scores, strict=True):
        start = [engine.model.config.bos_id, *encode(prefix)]
        ids = [*start, *encode(text), *encode(suffix)]
        assert score == pytest.approx(chain_rule(engine.model, ids, len(start)), abs=1e-3)
    assert (scores[2] == 0.0) is (suffix == "")


@given(before=TEXTS, text=TEXTS, cut=st.integers(0, 40))
@settings(max_examples=20)
@torch.inference_mode()
def test_likelihoods_add_up(tiny_checkpoint: Path, before: str, text: str, cut: int) -> None:
    engine = load(tiny_checkpoint)
    model, encode = engine.model, engine.tokenizer.encode
    start, ids = [model.config.bos_id, *encode(before)], encode(text)
    prefix = encoded(model, start)
    cache = prefix.cache
    rows = [keys[:, :, : len(start)].clone() for keys in cache._keys]
    whole, first = drive(model, log_likelihoods(model, prefix, [ids, ids[:cut]]))
    assert cache.length == len(start)
    assert all(torch.equal(keys[:, :, : len(start)], row) for keys, row in zip(cache._keys, rows, strict=True))
    drive(model, prefix.extend(ids[:cut]))
    (then,) = drive(model, log_likelihoods(model, prefix, [ids[cut:]]))
    assert whole == pytest.approx(first + then, abs=1e-3)
    assert whole <= 0


@torch.inference_mode()
def test_long_texts_and_many(engine: Engine) -> None:
    """More rows than one forward takes, some texts empty, some as long as two pieces of a prefix."""
    model, generator = engine.model, torch.Generator().manual_seed(0)
    lengths = [0, 1, CHUNK_ROWS + 40, 7, *[300] * (BATCH_ROWS // 300)]
    texts = [torch.randint(model.config.vocab_size, (n,), generator=generator).tolist() for n in lengths]
    prefix = encoded(model, [2])
    scores = drive(model, log_likelihoods(model, prefix, texts))
    assert prefix.cache.length == 1
    for ids, score in zip(texts, scores, strict=True):
        hidden = model.encode(torch.tensor([[2, *ids]]), model.new_cache())[0, :-1]
        each = model.logits(hidden).log_softmax(-1).gather(-1, torch.tensor(ids, dtype=torch.long)[:, None])
        assert score == pytest.approx(each.sum().item(), rel=1e-4, abs=1e-4)


def test_no_candidates_no_scores(engine: Engine) -> None:
    assert engine.score("mean(", []) == []


def test_an_empty_prefix_is_a_mistake(engine: Engine) -> None:
    with pytest.raises(ValueError, match="begin token"):
        drive(engine.model, log_likelihoods(engine.model, Prefix(engine.model.new_cache(), None), [[3]]))
