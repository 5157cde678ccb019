"""Masked text in tokens: the prefix that the encoder reads, and the canvas that is denoised."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, field, frozen
from torch import Tensor

from .tokenizer import Tokenizer
from .wire import Hole

CHARS_PER_TOKEN_AT_MOST = 8


@frozen
class Slots:
    """Rows `[start, stop)` of a canvas that belong to one hole."""

    start: int
    stop: int


@define
class Canvas:
    """Rows of one canvas: `ids`, which of them are `free`, which free ones are `kept` from a draft.

    The first hole may begin with `typed` characters that the user has written already: see `healing`.
    """

    width: int
    ids: list[int] = field(factory=list)
    free: list[bool] = field(factory=list)
    kept: list[bool] = field(factory=list)
    holes: list[Slots] = field(factory=list)
    typed: str = ""

    @property
    def room(self) -> int:
        return self.width - len(self.ids)

    def pin(self, ids: list[int]) -> None:
        """Add known tokens, as many as there is room for."""
        self._add(ids[: self.room], free=False, kept=False)

    def open(self, slots: int, draft: list[int], filler: int | None) -> None:
        """Add a hole of `slots` rows that starts as `draft`, the rest of it as fillers where there is one."""
        self.holes.append(Slots(len(self.ids), len(self.ids) + slots))
        kept = draft[:slots]
        if kept and filler is not None:
            kept = kept + [filler] * (slots - len(kept))
        self._add(kept, free=True, kept=True)
        self._add([0] * (slots - len(kept)), free=True, kept=False)

    def _add(self, ids: list[int], *, free: bool, kept: bool) -> None:
        self.ids += ids
        self.free += [free] * len(ids)
        self.kept += [kept] * len(ids)


@frozen
class CanvasBatch:
    """Canvases of one request, padded to one width: `[B, C]` each; `real` is None when nothing is padded."""

    ids: Tensor
    free: Tensor
    kept: Tensor
    real: Tensor | None


def draft_ids(tokenizer: Tokenizer, hole: Hole) -> list[int]:
    """The draft to be edited; at noise 1 it is forgotten."""
    return tokenizer.encode(hole.draft) if hole.draft and hole.noise < 1 else []


def build_canvas(
    tokenizer: Tokenizer,
    parts: Sequence[Hole | str],
    slots: Sequence[int],
    width: int,
    *,
    filler: int | None,
    end: int | None,
    before: Sequence[int] = (),
    typed: str = "",
    suffix: int | None = None,
) -> Canvas:
    """Lay `parts`, which begin with a hole, on a canvas of at most `width` rows, behind the ids pinned `before` it.

    Every hole is opened with its number of `slots`, the first one with one more where it begins with what is `typed`;
    the text after the last one is cut where the canvas is full, or after `suffix` tokens. When all of it fits, `end`
    says so: the token that ends a text, or None where more text follows `parts`. Text around holes is tokenised apart
    from them.
    """
    canvas = Canvas(width, typed=typed)
    canvas.pin(list(before))
    sizes = iter(size + (typed != "" and not place) for place, size in enumerate(slots))
    whole = True
    for place, part in enumerate(parts):
        if isinstance(part, Hole):
            canvas.open(next(sizes), draft_ids(tokenizer, part), filler)
        else:
            ids = tokenizer.encode(part[: width * CHARS_PER_TOKEN_AT_MOST])
            if suffix is not None and place == len(parts) - 1:
                canvas.width = min(width, len(canvas.ids) + suffix)
            whole = len(ids) <= canvas.room and len(part) <= width * CHARS_PER_TOKEN_AT_MOST
            canvas.pin(ids)
    if whole and end is not None:
        canvas.pin([end])
    return canvas


def stack(canvases: Sequence[Canvas], pad: int, device: torch.device) -> CanvasBatch:
    """The canvases as one batch."""
    width = max(len(canvas.ids) for canvas in canvases)

    def padded(rows: list[list[int]] | list[list[bool]], fill: int | bool) -> Tensor:
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)

    real = padded([[True] * len(canvas.ids) for canvas in canvases], False)
    return CanvasBatch(
        padded([canvas.ids for canvas in canvases], pad),
        padded([canvas.free for canvas in canvases], False),
        padded([canvas.kept for canvas in canvases], False),
        None if bool(real.all()) else real,
    )


def prefix_ids(tokenizer: Tokenizer, text: str, begin: int, limit: int) -> list[int]:
    """`begin` and the ids of the end of `text`, at most `limit` in all."""
    return [begin, *tail_ids(tokenizer, text, limit - 1)]


def tail_ids(tokenizer: Tokenizer, text: str, most: int) -> list[int]:
    """The ids of the end of `text`, at most `most`; see `tail_start`."""
    return tokenizer.encode(text[tail_start(tokenizer, text, most) :])[-most:] if most > 0 else []


def tail_start(tokenizer: Tokenizer, text: str, most: int) -> int:
    """From which character on `text` has about `most` tokens, or fewer.

    What is left out is left out by whole blocks, of lines where they are short enough, so that typing on at the end
    of `text` seldom moves the start and the prefix stays cached.
    """
    limit = most + 1
    # Tokens are counted up to a round place: those of a word being typed merge and part with every keystroke.
    grain = max(1, limit // 16)
    stop = len(text) - len(text) % grain
    cut = max(0, stop - limit * CHARS_PER_TOKEN_AT_MOST)
    ids, ends = tokenizer.encode_with_ends(text[cut:stop])
    over = len(ids) + grain - most
    start = 0
    if cut or over > 0:
        earliest = cut + (ends[min(over, len(ids)) - 1] if over > 0 else 0)
        start = _block_start(text, earliest, stop, limit)
    return start


def head_ids(tokenizer: Tokenizer, text: str, most: int) -> list[int]:
    """The ids of the beginning of `text`, at most `most`; what does not fit is left out by whole lines where it can."""
    if most <= 0:
        return []
    near = text[: most * CHARS_PER_TOKEN_AT_MOST]
    ids, ends = tokenizer.encode_with_ends(near)
    if near == text and len(ids) <= most:
        return ids
    near = near[: ends[most - 1]] if most < len(ids) else near
    return tokenizer.encode(near[: near.rfind("\n") + 1] or near)[:most]


def _block_start(text: str, earliest: int, stop: int, limit: int) -> int:
    """The next start of a block of lines, or of one of characters when the lines are too long to wait for one."""
    lines = max(1, limit // 128)
    at = earliest
    for _ in range(lines - text.count("\n", 0, earliest) % lines):
        at = text.find("\n", at, stop) + 1
        if at == 0:
            break
    window = stop - earliest
    if at and stop - at > window // 2:
        return at
    chars = 1 << max(0, (window // 4).bit_length() - 1)
    return -(-earliest // chars) * chars
