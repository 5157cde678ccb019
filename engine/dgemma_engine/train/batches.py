"""Batches of examples as tensors."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import torch
from attrs import astuple, frozen
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..tokenizer import Tokenizer
from .examples import Example, ExampleMaker
from .recipe import Recipe
from .vocabulary import PAD, Texts


@frozen
class Batch:
    """B documents of L tokens with C canvases of W rows each, and the F rows of them that carry a loss.

    `ids` and `following`, what the encoder should say next, `[B, L]`, `canvas`, `real` and `free` `[B, C, W]`,
    `prefix` `[B, C]`, `rows` `[F]` into the flattened canvases, `targets` `[F]`, `weights` `[F]`. F is fixed so that
    the compiled step keeps its shapes.
    """

    ids: Tensor
    following: Tensor
    canvas: Tensor
    real: Tensor
    free: Tensor
    prefix: Tensor
    rows: Tensor
    targets: Tensor
    weights: Tensor

    @property
    def text_tokens(self) -> int:
        return int((self.ids != PAD).sum())

    def to(self, device: torch.device) -> Batch:
        return self if device.type == "cpu" else Batch(*(part.to(device) for part in astuple(self, recurse=False)))


def collate(
    examples: list[Example], rng: Random, length: int, canvases: int, width: int, vocab: int, loss_rows: int
) -> Batch:
    """Pad, and put noise on the free rows: everything in four canvases of ten, else a random share of the rows."""
    shape = (len(examples), canvases, width)
    ids = torch.full((len(examples), length), PAD)
    following = ids.clone()
    truth = torch.full(shape, PAD)
    weights = torch.zeros(shape)
    real = torch.zeros(shape, dtype=torch.bool)
    prefix = torch.ones(shape[:2], dtype=torch.long)
    for b, example in enumerate(examples):
        ids[b, : len(example.ids)] = torch.tensor(example.ids)
        following[b, : len(example.targets)] = torch.tensor(example.targets)
        for c, one in enumerate(example.canvases):
            truth[b, c, : len(one.ids)] = torch.tensor(one.ids)
            weights[b, c, : len(one.ids)] = torch.tensor(one.weights)
            real[b, c, : len(one.ids)] = True
            prefix[b, c] = one.prefix
    real[..., 0] = True  # a row that may look nowhere would be NaN
    free = weights > 0
    generator = torch.Generator().manual_seed(rng.getrandbits(48))
    level = torch.rand(shape[:2], generator=generator) * 1.6
    noisy = free & (torch.rand(shape, generator=generator) < level[..., None])
    canvas = torch.where(noisy, torch.randint(vocab, shape, generator=generator), truth)
    rows = free.flatten().nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=generator)]
    # Rows that are nearly free to guess make room for the others.
    rows = rows[(weights.flatten()[rows] < 1).argsort(stable=True)][:loss_rows]
    rows = torch.cat([rows, rows.new_zeros(loss_rows - len(rows))])
    row_weights = weights.flatten()[rows]
    row_weights[int(free.sum()) :] = 0
    return Batch(ids, following, canvas, real, free, prefix, rows, truth.flatten()[rows], row_weights)


class BatchStream:
    """Batches by number: batch `n` depends on the seed and on `n` alone, so that a run can be resumed."""

    def __init__(
        self,
        texts: Texts,
        mix: dict[str, float],
        tokenizer: Tokenizer,
        *,
        batch: int,
        length: int,
        canvases: int,
        width: int,
        vocab: int,
        seed: int,
    ) -> None:
        self.mix = mix
        self.sources = {kind: list(by_source.values()) for kind, by_source in texts.items()}
        # Large packages count more, but not in proportion: the style of a few must not become nano's.
        self.shares = {
            kind: [sum(map(len, files)) ** 0.5 for files in by_source] for kind, by_source in self.sources.items()
        }
        self.maker = ExampleMaker(tokenizer, length, canvases, width)
        self.batch, self.vocab, self.seed = batch, vocab, seed

    @classmethod
    def of(cls, recipe: Recipe, texts: Texts, tokenizer: Tokenizer, workers: int) -> BatchStream:
        """The batches of one of `workers`."""
        return cls(
            texts,
            {kind: weight for kind, weight in recipe.mix.items() if kind in texts},
            tokenizer,
            batch=recipe.batch // workers,
            length=recipe.length,
            canvases=recipe.canvases,
            width=recipe.width,
            vocab=recipe.vocab,
            seed=recipe.seed,
        )

    def make(self, number: int) -> Batch:
        rng = Random(f"{self.seed}/{number}")
        kinds = rng.choices(list(self.mix), list(self.mix.values()), k=self.batch)
        examples = [self.maker.make(rng, self._draw(rng, kind), kind) for kind in kinds]
        maker = self.maker
        loss_rows = self.batch * maker.canvases * 12
        return collate(examples, rng, maker.length, maker.canvases, maker.width, self.vocab, loss_rows)

    def stream(self, first: int, step: int, loaders: int) -> Iterator[Batch]:
        """Batches `first`, `first + step` and so on for ever, made by as many processes as there are `loaders`."""
        numbers = count(first, step)
        if loaders == 0:
            yield from map(self.make, numbers)
            return
        yield from DataLoader(
            _Numbered(self),
            sampler=numbers,  # pyright: ignore[reportArgumentType] - endless, and nobody asks how long it is
            batch_size=None,
            num_workers=loaders,
            prefetch_factor=4,
        )

    def _draw(self, rng: Random, kind: str) -> str:
        """A package, then the longer of two of its files."""
        (files,) = rng.choices(self.sources[kind], self.shares[kind])
        return max(rng.choice(files), rng.choice(files), key=len)


@frozen
class _Numbered(Dataset[Batch]):
    """Batches by their number."""

    batches: BatchStream

    def __getitem__(self, number: int) -> Batch:
        return self.batches.make(number)


def load_texts(path: Path, kinds: set[str]) -> Texts:
    """The texts of a corpus file, or of what `carry` made of it; kinds without any text are absent."""
    texts: Texts = {}
    packed = path.with_name(path.name + ".xz")
    with path.open(encoding="utf-8") if path.is_file() else lzma.open(packed, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["kind"] in kinds:
                texts.setdefault(record["kind"], {}).setdefault(record["source"], []).append(record["text"])
    return texts
