"""Exact likelihood of finished texts, by the causal encoder with the tied head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from .footprint import READ_OUT_ROWS
from .model import DiffusionGemma, Rows
from .prefix_cache import Prefix
from .steps import Steps

BATCH_ROWS = 2048
"""Rows of texts that are scored in one forward."""
IGNORED = -100


def log_likelihoods(
    model: DiffusionGemma, prefix: Prefix, texts: Sequence[list[int]], late: Callable[[], bool] = lambda: False
) -> Steps[list[float]]:
    """log P(ids | prefix) in nats by the chain rule, for each list of ids; the prefix is left as it was.

    Nothing of the prefix may be pending. Texts of different lengths are comparable when the same ids follow in each.
    They are scored in groups; once it is `late` no further group is, and the scores end there.
    """
    if prefix.last is None:
        raise ValueError("an empty prefix has no last hidden state; start it with the begin token")
    scores: list[float] = []
    width = max([1, *map(len, texts)])
    for start in range(0, len(texts), max(1, BATCH_ROWS // width)):
        if scores and late():
            break
        group = texts[start : start + max(1, BATCH_ROWS // width)]
        ids = torch.full((len(group), width), IGNORED, device=model.device)
        for row, text in zip(ids, group, strict=True):
            row[: len(text)] = torch.tensor(text, dtype=ids.dtype, device=model.device)
        # The encoder is causal: what pads the end of a text changes nothing before it.
        (hidden,) = yield [Rows(prefix.cache, ids.clamp(min=0), encoder=True)]
        hidden = torch.cat([prefix.last.expand(len(group), 1, -1), hidden[:, :-1]], dim=1)
        pieces = zip(hidden.flatten(0, 1).split(READ_OUT_ROWS), ids.flatten().split(READ_OUT_ROWS), strict=True)
        losses = [
            F.cross_entropy(model.logits(rows), wanted, ignore_index=IGNORED, reduction="none")
            for rows, wanted in pieces
        ]
        scores += (-torch.cat(losses).view(ids.shape).sum(-1)).tolist()
    return scores
