"""Token healing: a hole in the middle of a word begins with the last token that was typed, to be written again.

A tokenizer knows `print` as one token and never shows a model `pri` followed by `nt`. Where a checkpoint was not
trained on texts that are cut anywhere, the last token of an unfinished word is taken back: its place is the first row
of the hole, and that row is read as a token that begins with the characters typed. Only what follows these is new.
"""

from __future__ import annotations

from bisect import bisect_left

import torch
from torch import Tensor

from .tokenizer import Tokenizer

LAST = chr(0x10FFFF)
"""No text stands behind one that goes on with this."""


class Healer:
    """Knows what each token of a vocabulary of `size` ids spells; to make that out takes part of a second."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        # Empty for control tokens and for those that are no whole characters.
        self._spellings = tokenizer.spellings(size)
        order = sorted(range(size), key=self._spellings.__getitem__)
        self._texts, self._ids = [self._spellings[id_] for id_ in order], torch.tensor(order)

    def typed(self, ids: list[int], before: str) -> str:
        """The characters of the last of `ids` when the text `before`, which ends with it, stops inside a word."""
        if not ids or not (before[-1:].isalnum() or before.endswith("_")):
            return ""
        typed = self._spellings[ids[-1]]
        return typed if typed and before.endswith(typed) else ""

    def refused(self, typed: str, device: torch.device) -> Tensor:
        """`[V]`: True for the ids that do not begin with these characters."""
        first, last = (bisect_left(self._texts, text) for text in (typed, typed + LAST))
        refused = torch.ones(len(self._ids), dtype=torch.bool)
        refused[self._ids[first:last]] = False
        return refused.to(device)
