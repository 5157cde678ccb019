"""Token healing: a hole in the middle of a word begins with the last token that was typed, to be written again.

A tokenizer knows `print` as one token and never shows a model `pri` followed by `nt`. Where a checkpoint was not
trained on texts that are cut anywhere, the last token of an unfinished word is taken back: its place is the first row
of the hole, and that row is read as a token that begins with the characters typed. Only what follows these is new.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from .tokenizer import Tokenizer


class Healer:
    """Knows what each token of a vocabulary of `size` ids spells; that is made out when it is first needed."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self._refused: tuple[str, Tensor] | None = None

    def typed(self, ids: list[int], before: str) -> str:
        """The characters of the last of `ids` when the text `before`, which ends with it, stops inside a word."""
        if not ids or not (before[-1:].isalnum() or before.endswith("_")):
            return ""
        typed = self._spellings[ids[-1]]
        return typed if typed and before.endswith(typed) else ""

    def refused(self, typed: str, device: torch.device) -> Tensor:
        """`[V]`: True for the ids that do not begin with these characters."""
        if self._refused is None or self._refused[0] != typed:
            self._refused = typed, torch.tensor([not text.startswith(typed) for text in self._spellings])
        return self._refused[1].to(device)

    @cached_property
    def _spellings(self) -> list[str]:
        """Empty for control tokens and for those that are no whole characters."""
        return self._tokenizer.spellings(self._size)
