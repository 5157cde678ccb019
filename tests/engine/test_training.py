"""What training reads, computes and writes, on a recipe small enough for a test."""

from __future__ import annotations

import json
import lzma
import math
import signal
from argparse import Namespace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import torch.distributed as dist
from attrs import astuple, evolve
from torch.multiprocessing.spawn import spawn

from dgemma_engine.engine import Engine
from dgemma_engine.model import DiffusionGemma, load_model
from dgemma_engine.model.config import parse_config
from dgemma_engine.tokenizer import Tokenizer
from dgemma_engine.train import corrupt, training
from dgemma_engine.train.batches import BatchStream, load_texts
from dgemma_engine.train.carry import pack
from dgemma_engine.train.checkpoint import export
from dgemma_engine.train.examples import ExampleMaker
from dgemma_engine.train.forward import decode, encode
from dgemma_engine.train.grow import grow
from dgemma_engine.train.muon import Muon, orthogonalise, split_parameters
from dgemma_engine.train.recipe import Recipe
from dgemma_engine.train.spans import PATTERNS, SHAPES, SMALL, SpanFinder
from dgemma_engine.train.step import losses
from dgemma_engine.train.training import initialise
from dgemma_engine.train.vocabulary import EOS, FILLER, PAD, SPECIAL, save_tokenizer, train_tokenizer
from dgemma_engine.wire import Hole, MaskedText

from ..conftest import SAMPLE
from .random_weights import randomise

TEXTS = {
    "python": {"one": [SAMPLE * 2], "two": [SAMPLE.replace("\n", "\r\n")]},
    "json": {"one": ['{"a": [1, 2, {"b": "c"}], "d": "e"}\n' * 8]},
}
RECIPE = evolve(
    Recipe(),
    vocab=400,
    hidden=32,
    intermediate=48,
    layers=("sliding", "full"),
    heads=2,
    head_dim=16,
    expert_size=16,
    window=16,
    length=64,
    canvases=3,
    width=24,
    batch=2,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer as training makes it."""
    folder = tmp_path_factory.mktemp("trained")
    save_tokenizer(train_tokenizer([SAMPLE] * 3, RECIPE.vocab), folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder, parse_config(RECIPE.config()))


@pytest.fixture
def model() -> DiffusionGemma:
    torch.manual_seed(0)
    model = DiffusionGemma(parse_config(RECIPE.config()))
    randomise(model.state_dict().items(), seed=0)
    return model


def stream(tokenizer: Tokenizer, seed: int = 0) -> BatchStream:
    sizes = {"batch": RECIPE.batch, "length": RECIPE.length, "canvases": RECIPE.canvases, "width": RECIPE.width}
    return BatchStream(TEXTS, {"python": 2, "json": 1}, tokenizer, vocab=RECIPE.vocab, seed=seed, **sizes)


def test_the_vocabulary_keeps_its_promises(tokenizer: Tokenizer) -> None:
    assert [tokenizer.spell(id_) for id_ in range(len(SPECIAL))] == list(SPECIAL)
    for text in ('f("a")},', "{'x': [1]}", "```python\n", "\r\n\t)"):
        spelled = [tokenizer.spell(id_) for id_ in tokenizer.encode(text)]
        assert "".join(spelled) == text
        assert all(len(token) == 1 for token in spelled if any(closer in token for closer in ")]}"))


def test_every_weighted_shape_can_be_drawn() -> None:
    positional = {"rest", "chars", "after"}
    for table in (*SHAPES.values(), *SMALL.values()):
        assert set(table) <= set(PATTERNS) | positional
    rng = Random(0)
    for kind in ("json", "markdown", "python"):
        finder = SpanFinder(SAMPLE, kind)
        for _ in range(100):
            drawn = finder.draw(rng, 10, 200)
            assert drawn is None or (10 <= drawn[1][0] < 200 and drawn[1][0] < drawn[1][1] <= len(SAMPLE))


def test_examples_spell_the_file(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefix and canvas together read on from the prefix as the file does, fillers aside."""
    monkeypatch.setattr(corrupt, "SHARE", dict.fromkeys(corrupt.SHARE, 0.0))
    maker, rng = ExampleMaker(tokenizer, RECIPE.length, RECIPE.canvases, RECIPE.width), Random(0)
    for _ in range(40):
        example = maker.make(rng, SAMPLE, "python")
        assert len(example.ids) <= RECIPE.length
        for canvas in example.canvases:
            assert 0 < canvas.prefix <= RECIPE.length
            assert 0 < len(canvas.ids) == len(canvas.weights) <= RECIPE.width
            assert any(canvas.weights)
            text = tokenizer.decode(example.ids[: canvas.prefix] + canvas.ids)
            assert text in SAMPLE
            assert EOS not in canvas.ids or (canvas.ids[-1] == EOS and SAMPLE.endswith(text))
            first = [n for n, id_ in enumerate(canvas.ids) if id_ == FILLER and canvas.ids[n - 1] != FILLER]
            assert all(canvas.weights[n] == 1.0 for n in first if n)


@pytest.mark.parametrize("kind", ["json", "markdown", "python"])
def test_breaks_are_where_they_are_said_to_be(kind: str) -> None:
    rng, count = Random(0), 0
    for _ in range(50):
        broken, breaks = corrupt.corrupt(rng, SAMPLE, kind, 3, start=20, stop=200)
        whole, done = "", 0
        for one in breaks:
            assert broken[slice(*one.span)] == one.wrong
            assert one.wrong != one.right
            whole += broken[done : one.at] + one.right
            done = one.span[1]
        assert whole + broken[done:] == SAMPLE
        assert broken[:20] == SAMPLE[:20]
        count += len(breaks)
    assert count > 50


def test_broken_text_is_read_but_never_asked_for(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder sees the broken file; what it should say, and what fills a hole, is the true text."""
    monkeypatch.setattr(corrupt, "SHARE", dict.fromkeys(corrupt.SHARE, 1.0))
    maker, rng, asked = ExampleMaker(tokenizer, 400, RECIPE.canvases, RECIPE.width), Random(1), set()
    text = '{"a": [1, 2], "b": {"c": "d"}}\n'
    for _ in range(60):
        example = maker.make(rng, text, "json")
        assert len(example.ids) == len(example.targets)
        differs = [
            n for n, pair in enumerate(zip(example.targets, example.ids[1:], strict=False)) if pair[0] != pair[1]
        ]
        assert len(differs) <= 3
        asked |= {tokenizer.spell(example.targets[n]) for n in differs}
        for canvas in example.canvases:
            filled = [id_ for id_, weight in zip(canvas.ids, canvas.weights, strict=True) if weight and id_ != FILLER]
            assert tokenizer.decode(filled[:1]).strip() in text
    assert {"]", "}", ","} <= asked


def test_batches_depend_on_their_number_alone(tokenizer: Tokenizer) -> None:
    one, two = stream(tokenizer), stream(tokenizer)
    two.make(7)
    for number in (0, 3):
        first, second = one.make(number), two.make(number)
        assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("ids", "canvas", "rows"))
    assert not torch.equal(one.make(0).canvas, one.make(1).canvas)
    assert not torch.equal(one.make(0).canvas, stream(tokenizer, seed=1).make(0).canvas)


def test_other_processes_make_the_same_batches(tokenizer: Tokenizer) -> None:
    alone, helped = (stream(tokenizer).stream(3, 2, loaders) for loaders in (0, 2))
    for _ in range(5):
        assert all(map(torch.equal, astuple(next(alone), recurse=False), astuple(next(helped), recurse=False)))


def test_what_is_carried_is_a_part_of_the_corpus(tmp_path: Path) -> None:
    rng = Random(1)
    texts = ["".join(rng.choices("abcdefgh \n", k=50_000)) for _ in range(100)]
    rows = [json.dumps({"kind": "python", "source": "pypi:a", "text": text}) + "\n" for text in texts]
    (tmp_path / "train.jsonl").write_text("".join(rows))
    packed = tmp_path / "carried" / "train.jsonl.xz"
    packed.parent.mkdir()
    count = pack(tmp_path / "train.jsonl", packed, 2_500_000)
    assert 0 < count < len(texts)
    assert packed.stat().st_size <= 2_500_000
    assert lzma.decompress(packed.read_bytes()).count(b"\n") == count
    found = load_texts(packed.with_suffix(""), {"python"})["python"]["pypi:a"]
    assert len(found) == count
    assert set(found) <= set(texts)


def test_noise_lies_on_free_rows_only(tokenizer: Tokenizer) -> None:
    batch = stream(tokenizer).make(0)
    truth = torch.full(batch.canvas.shape, PAD).flatten()
    counted = batch.weights > 0
    assert batch.free.flatten()[batch.rows[counted]].all()
    assert not batch.free[~batch.real].any()
    truth[batch.rows[counted]] = batch.targets[counted]
    assert (truth[batch.rows[counted]] != PAD).all()
    assert len(batch.rows) == RECIPE.batch * RECIPE.canvases * 12
    assert batch.rows[counted].unique().numel() == int(counted.sum())


@torch.inference_mode()
@pytest.mark.parametrize("conditioned", [False, True])
def test_the_training_forward_is_the_inference_forward(
    model: DiffusionGemma, tokenizer: Tokenizer, conditioned: bool
) -> None:
    batch = stream(tokenizer).make(2)
    hidden, kept = encode(model, batch.ids)
    signal = torch.randn(RECIPE.batch * RECIPE.canvases, RECIPE.width, RECIPE.hidden) if conditioned else None
    out = decode(model, batch.canvas, batch.real, batch.prefix, kept, signal).unflatten(0, batch.prefix.shape)
    for b in range(RECIPE.batch):
        whole = model.encode(batch.ids[None, b], model.new_cache())[0]
        torch.testing.assert_close(hidden[b], whole, atol=1e-5, rtol=0)
        for c in range(RECIPE.canvases):
            cache = model.new_cache()
            model.encode(batch.ids[None, b, : batch.prefix[b, c]], cache)
            width = int(batch.real[b, c].sum())
            own = None if signal is None else signal.unflatten(0, batch.prefix.shape)[None, b, c, :width]
            alone = model.decode(batch.canvas[None, b, c, :width], cache, own)
            torch.testing.assert_close(out[b, c, :width], alone[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_wider_network_begins_as_the_narrower_one(model: DiffusionGemma, tokenizer: Tokenizer) -> None:
    batch = stream(tokenizer).make(2)
    wider = DiffusionGemma(parse_config(evolve(RECIPE, hidden=48, heads=3, intermediate=80).config()))
    initialise(wider)
    grow(wider, model.state_dict())
    before, after = encode(model, batch.ids)[0], encode(wider, batch.ids)[0]
    torch.testing.assert_close(wider.logits(after), model.logits(before), atol=1e-4, rtol=0)


def test_a_stopped_run_goes_on_exactly(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a run, stopped and taken up again, ends with the weights of a whole one; a cooled branch leaves it alone."""
    monkeypatch.setattr(training, "heldout_quality", lambda *_: {"task": 0.0})
    monkeypatch.setattr(Recipe, "mix", {"python": 1.0})
    rows = [{"kind": "python", "source": "pypi:a", "text": text} for text in TEXTS["python"]["one"]]
    for side in ("train", "heldout"):
        (tmp_path / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)

    def train(out: str, tokens: float, cool: Path | None = None, cool_last: float = 0.0) -> dict[str, Any]:
        (tmp_path / out / "checkpoint").mkdir(parents=True, exist_ok=True)
        arguments = Namespace(
            corpus=tmp_path, out=tmp_path / out, tokens=tokens, grow=None, cool=cool, pause=None, eager=True,
            vocabulary=folder / "tokenizer.json", minutes=math.inf, cool_last=cool_last, evaluate=5, device="cpu",
            loaders=0,
        )  # fmt: skip
        training.Training(RECIPE, arguments).run()
        return torch.load(tmp_path / out / "state.pt", weights_only=True)

    try:
        whole, half = train("whole", 1e-3), train("parts", 4e-4)
        assert 0 < half["step"] < whole["step"]
        saved = (tmp_path / "parts" / "state.pt").read_bytes()
        cooled = train("cooled", 4e-4, tmp_path / "parts" / "state.pt")
        assert cooled["step"] > half["step"]
        assert (tmp_path / "parts" / "state.pt").read_bytes() == saved
        both = train("parts", 1e-3)
        last = train("last", 1e-3, cool_last=0.5)
    finally:
        dist.destroy_process_group()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert cooled["cooled"] == cooled["tokens"] - half["tokens"]
    assert whole["cooled"] == 0
    assert 0.3 < last["cooled"] / last["tokens"] < 0.7
    assert both["step"] == whole["step"]
    for name, value in whole["model"].items():
        assert torch.equal(both["model"][name], value), name


def test_a_few_steps_lower_the_loss(model: DiffusionGemma, tokenizer: Tokenizer) -> None:
    batch = stream(tokenizer).make(1)
    matrices, others = split_parameters(model)
    assert {*matrices, *others} == {*model.parameters()}
    optimizers = Muon(matrices, 0.02), torch.optim.AdamW(others, 0.004)
    history = []
    for number in range(12):
        canvas, causal = losses(model, batch, torch.tensor(0.7) if number % 2 else None)
        history.append((canvas.item(), causal.item()))
        (canvas + causal).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert history[-2][0] < 0.7 * history[0][0]
    assert history[-1][0] < 0.7 * history[1][0]
    assert history[-1][1] < 0.8 * history[0][1]


def test_conditioning_touches_free_rows_only(model: DiffusionGemma, tokenizer: Tokenizer) -> None:
    """The loss with a signal differs, and a batch's padding rows (weight 0) add nothing to it."""
    batch = stream(tokenizer).make(1)
    more = evolve(
        batch,
        rows=torch.cat([batch.rows, torch.zeros(5, dtype=torch.long)]),
        targets=torch.cat([batch.targets, torch.zeros(5, dtype=torch.long)]),
        weights=torch.cat([batch.weights, torch.zeros(5)]),
    )
    with torch.no_grad():
        plain, conditioned = losses(model, batch, None)[0], losses(model, batch, torch.tensor(0.7))[0]
        padded = losses(model, more, torch.tensor(0.7))[0]
    assert not torch.isclose(plain, conditioned, atol=1e-4)
    torch.testing.assert_close(conditioned, padded)


@pytest.mark.parametrize("shape", [(24, 24), (8, 40), (40, 8), (3, 12, 20)])
def test_an_orthogonalised_update_has_singular_values_near_one(shape: tuple[int, ...]) -> None:
    update = orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(update)
    assert update.shape == shape
    assert values.max() < 1.4
    assert values.median() > 0.6


def _stepped(rank: int, workers: int, folder: Path) -> None:
    """Two steps of Muon by one of the workers of a run; each leaves its weights in `folder`."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=workers)
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    shapes = (16, 24), (16, 24), (16, 24), (3, 8, 20)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=draws)) for shape in shapes]
    optimizer = Muon(parameters, 0.02)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        optimizer.step()
    torch.save([parameter.detach() for parameter in parameters], folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_workers_that_share_the_orthogonalising_make_the_steps_of_one(tmp_path: Path) -> None:
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        spawn(_stepped, (workers, tmp_path / str(workers)), nprocs=workers)
    (alone,) = (torch.load(path) for path in (tmp_path / "1").glob("*.pt"))
    together = [torch.load(path) for path in (tmp_path / "2").glob("*.pt")]
    assert len(together) == 2
    for weights in together:
        for one, other in zip(alone, weights, strict=True):
            assert torch.equal(one, other)


def test_what_is_exported_loads_and_fills(model: DiffusionGemma, folder: Path) -> None:
    export(model, RECIPE, folder)
    loaded = load_model(folder)
    assert loaded.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.to(torch.bfloat16)), name
    engine = Engine.load(str(folder), torch.float32)
    traits = json.loads((folder / "config.json").read_text())["dgemma"]
    assert (traits["filler_token_id"], engine.context) == (FILLER, RECIPE.length)
    filled = engine.fill(MaskedText(("def mean(", Hole(4), "):\n")), passes=2, seed=0)
    assert len(filled.candidates) == 1
