"""Batches of examples as tensors."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import torch
from attrs import frozen
from torch import Tensor

from ..tokenizer import Tokenizer
from .examples import Example, ExampleMaker
from .vocabulary import PAD


@frozen
class Batch:
    """B documents of L tokens with C canvases of W rows each, and the F rows of them that carry a loss.

    `ids` `[B, L]`, `canvas` and `real` `[B, C, W]`, `free` `[B, C, W]`, `prefix` `[B, C]`, `rows` `[F]` into the
    flattened canvases, `targets` `[F]`, `weights` `[F]`. F is fixed so that the compiled step keeps its shapes.
    """

    ids: Tensor
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


def collate(
    examples: list[Example], rng: Random, length: int, canvases: int, width: int, vocab: int, loss_rows: int
) -> Batch:
    """Pad, and put noise on the free rows: everything in four canvases of ten, else a random share of the rows."""
    shape = (len(examples), canvases, width)
    ids = torch.full((len(examples), length), PAD)
    truth = torch.full(shape, PAD)
    weights = torch.zeros(shape)
    real = torch.zeros(shape, dtype=torch.bool)
    prefix = torch.ones(shape[:2], dtype=torch.long)
    for b, example in enumerate(examples):
        ids[b, : len(example.ids)] = torch.tensor(example.ids)
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
    rows = rows[torch.randperm(len(rows), generator=generator)[:loss_rows]]
    rows = torch.cat([rows, rows.new_zeros(loss_rows - len(rows))])
    row_weights = weights.flatten()[rows]
    row_weights[int(free.sum()) :] = 0
    return Batch(ids, canvas, real, free, prefix, rows, truth.flatten()[rows], row_weights)


class BatchStream:
    """Batches by number: batch `n` depends on the seed and on `n` alone, so that a run can be resumed."""

    def __init__(
        self,
        texts: dict[str, list[str]],
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
        self.texts, self.mix = texts, mix
        self.maker = ExampleMaker(tokenizer, length, canvases, width)
        self.batch, self.vocab, self.seed = batch, vocab, seed

    def make(self, number: int) -> Batch:
        rng = Random(f"{self.seed}/{number}")
        kinds = rng.choices(list(self.mix), list(self.mix.values()), k=self.batch)
        examples = [self.maker.make(rng, self._draw(rng, kind), kind) for kind in kinds]
        maker = self.maker
        loss_rows = self.batch * maker.canvases * 12
        return collate(examples, rng, maker.length, maker.canvases, maker.width, self.vocab, loss_rows)

    def _draw(self, rng: Random, kind: str) -> str:
        """Long files count more, but not in proportion: a package of a few huge files must not take over."""
        texts = self.texts[kind]
        pair = rng.choice(texts), rng.choice(texts)
        return max(pair, key=len)


def load_texts(path: Path, kinds: set[str]) -> dict[str, list[str]]:
    """The texts of a corpus file by kind; kinds without any text are absent."""
    texts: dict[str, list[str]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["kind"] in kinds:
                texts.setdefault(record["kind"], []).append(record["text"])
    return texts
