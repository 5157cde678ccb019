"""Exact likelihood of finished texts, by the causal encoder with the tied head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .model import DiffusionGemma, KVCache

PREFILL_ROWS = 512
BATCH_ROWS = 2048
"""Rows of texts that are scored in one forward."""
IGNORED = -100


def prefill(model: DiffusionGemma, ids: list[int], cache: KVCache, check: Callable[[], None] | None = None) -> Tensor:
    """Append `ids` to the prefix in pieces of at most 512; returns the last hidden state `[D]`.

    `check`, when given, is called before every piece and may raise to stop.
    """
    last = None
    for start in range(0, len(ids), PREFILL_ROWS):
        if check is not None:
            check()
        piece = torch.tensor([ids[start : start + PREFILL_ROWS]], device=model.device)
        last = model.encode(piece, cache)[0, -1]
    if last is None:
        raise ValueError("an empty prefix has no last hidden state; start it with the begin token")
    return last


def log_likelihoods(model: DiffusionGemma, cache: KVCache, last: Tensor, texts: Sequence[list[int]]) -> list[float]:
    """log P(ids | prefix) in nats by the chain rule, for each list of ids; the cache is left as it was.

    `last` `[D]` is the hidden state of the prefix's last token. Texts of different lengths are comparable when the
    same ids follow in each of them.
    """
    scores: list[float] = []
    width = max([1, *map(len, texts)])
    for start in range(0, len(texts), max(1, BATCH_ROWS // width)):
        group = texts[start : start + max(1, BATCH_ROWS // width)]
        ids = torch.full((len(group), width), IGNORED, device=model.device)
        for row, text in zip(ids, group, strict=True):
            row[: len(text)] = torch.tensor(text, dtype=ids.dtype, device=model.device)
        # The encoder is causal: what pads the end of a text changes nothing before it.
        hidden = model.read(ids.clamp(min=0), cache)
        hidden = torch.cat([last.expand(len(group), 1, -1), hidden[:, :-1]], dim=1)
        losses = [
            F.cross_entropy(model.logits(rows).mT, wanted, ignore_index=IGNORED, reduction="none").sum(-1)
            for rows, wanted in zip(hidden.split(PREFILL_ROWS, 1), ids.split(PREFILL_ROWS, 1), strict=True)
        ]
        scores += (-sum(losses, torch.zeros(len(group), device=model.device))).tolist()
    return scores
