"""Encoded prefixes of the last few documents: what a keystroke does not change is not computed again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

import torch
from attrs import define, field
from torch import Tensor

from .model import DiffusionGemma, KVCache, Rows
from .steps import Steps

CHUNK_ROWS = 512
"""Tokens encoded in one step."""
ENTRIES = 8
BYTES = 2 << 30
"""Of all prefixes that nobody uses at the moment; the one used last is always kept."""
FORK_TOKENS = 32
"""Shared by two documents, fewer tokens are not worth copying."""


@define(eq=False)
class Prefix:
    """Tokens before a canvas: `ids` are encoded in `cache`, `pending` ones are to come with the next forward.

    `last` `[D]` is the hidden state of the last encoded token. `owner` tells whose document it is.
    """

    cache: KVCache
    owner: Hashable
    ids: list[int] = field(factory=list)
    pending: list[int] = field(factory=list)
    last: Tensor | None = None

    def riding(self) -> list[Rows]:
        """The pending tokens as rows of the next forward; when there are any, `settle` takes what becomes of them."""
        if not self.pending:
            return []
        ids, last = torch.tensor([self.pending], device=self.cache.device), len(self.pending) - 1
        asked = torch.tensor([last], device=self.cache.device)
        return [Rows(self.cache, ids, encoder=True, kept=True, asked=asked)]

    def settle(self, hidden: Tensor) -> None:
        """The pending tokens are encoded: `hidden` `[1, D]` is the last one's."""
        self.ids += self.pending
        self.pending = []
        # A copy: a view would keep the rows of everybody in the forward.
        self.last = hidden[-1].clone()

    def truncate(self, length: int) -> None:
        """Forget everything from token `length` on."""
        if length < len(self.ids):
            self.cache.truncate(length)
            del self.ids[length:]
            self.last = None
        self.pending = []

    def extend(self, ids: Sequence[int], riding: bool = False) -> Steps[None]:
        """Encode `ids` behind the prefix, in chunks; the last one may be left pending instead, to ride in a pass."""
        while len(ids) > (CHUNK_ROWS if riding else 0):
            self.pending, ids = list(ids[:CHUNK_ROWS]), ids[CHUNK_ROWS:]
            (hidden,) = yield self.riding()
            self.settle(hidden)
        self.pending = list(ids)


@define(eq=False)
class PrefixCache:
    """The prefixes of one model; `tokens_saved` and `tokens_encoded` count since the start.

    A hit is a request that found at least half of its prefix.
    """

    model: DiffusionGemma
    hits: int = 0
    misses: int = 0
    tokens_saved: int = 0
    tokens_encoded: int = 0
    _idle: list[Prefix] = field(factory=list)
    _used: list[Prefix] = field(factory=list)

    @contextmanager
    def borrowed(self, ids: Sequence[int], owner: Hashable = None, room: int = 0) -> Iterator[Prefix]:
        """A prefix that holds as many of the first `ids` as any does, the last one left out, for one user at a time.

        The last token is always encoded anew: it rides along, and its hidden state is wanted. `room` tells how many
        rows are going to stand behind `ids`. A prefix of the same owner is cut and used; of another's a copy is made.
        """
        prefix = self._found(ids, owner, len(ids) + room)
        prefix.cache.reserve(len(ids) + room)
        prefix.owner = owner
        reused = len(prefix.ids)
        self.tokens_saved += reused
        self.tokens_encoded += len(ids) - reused
        if 2 * reused >= len(ids):
            self.hits += 1
        else:
            self.misses += 1
        self._used.append(prefix)
        try:
            yield prefix
        finally:
            self._used.remove(prefix)
            prefix.pending = []
            # After a forward that failed, nobody knows what the cache holds behind the tokens it had before.
            prefix.cache.truncate(len(prefix.ids))
            self._idle.insert(0, prefix)
            self._evict()

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("hits", "misses", "tokens_saved", "tokens_encoded")}

    @property
    def held(self) -> list[Prefix]:
        return [*self._used, *self._idle]

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return sum(prefix.cache.size for prefix in self.held)

    def _found(self, ids: Sequence[int], owner: Hashable, rows: int) -> Prefix:
        """The prefix to go on with, cut to what it shares with `ids`; a new one has memory for `rows`."""
        wanted = ids[:-1]
        shared = {id(prefix): _shared(prefix.ids, wanted) for prefix in self.held}
        best = max(self.held, key=lambda prefix: (shared[id(prefix)], prefix.owner == owner), default=None)
        own = next((prefix for prefix in self._idle if prefix.owner == owner), None)
        length = 0 if best is None else shared[id(best)]
        if best is None or length < FORK_TOKENS:
            # Nothing worth keeping: the owner's old prefix makes room, else a new one is begun.
            best, length = own, 0 if own is None else shared[id(own)]
        if best is None:
            return Prefix(self.model.new_cache(rows), owner)
        if best in self._idle and (best.owner == owner or length == len(best.ids)):
            self._idle.remove(best)
            best.truncate(length)
            return best
        if own is not None:
            self._idle.remove(own)
        return Prefix(best.cache.fork(length, rows), owner, best.ids[:length])

    def _evict(self) -> None:
        while len(self._idle) > 1 and (
            len(self._idle) > ENTRIES or sum(prefix.cache.size for prefix in self._idle) > BYTES
        ):
            self._idle.pop()


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prefixes have in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
