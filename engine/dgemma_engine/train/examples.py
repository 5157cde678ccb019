"""Training examples: one encoded stretch of a file and several canvases that start inside it."""

from __future__ import annotations

from random import Random

from attrs import define, field, frozen

from ..tokenizer import Tokenizer
from .corrupt import Break, corrupt, share, touches
from .spans import Span, SpanFinder
from .vocabulary import BOS, EOS, FILLER, PAD

CHARS_PER_TOKEN = 5
"""Hardly any file has more: a stretch of so many characters fills the encoder."""
SUFFIX_CHARS = 240
MAX_HOLE = 32
SPARE = 2
"""Holes drawn beyond one a canvas: some turn out too long."""


@frozen
class LabelledCanvas:
    """One canvas: true ids, loss weight per row (0 where pinned), and the tokens of the stretch before it."""

    prefix: int
    ids: list[int]
    weights: list[float]


@frozen
class Example:
    """`targets[i]` is what the encoder should say after `ids[i]`: the next token, and at a break the true one."""

    ids: list[int]
    targets: list[int]
    canvases: list[LabelledCanvas]


@frozen
class _Hole:
    shape: str
    span: Span
    text: str


@define
class _Rows:
    width: int
    ids: list[int] = field(factory=list)
    weights: list[float] = field(factory=list)

    def pin(self, ids: list[int]) -> None:
        room = self.width - len(self.ids)
        self.ids += ids[:room]
        self.weights += [0.0] * len(ids[:room])

    def hole(self, ids: list[int], slots: int) -> None:
        """True ids, then fillers: the first filler says where the text ends, the others are nearly free to guess."""
        fillers = slots - len(ids)
        self.ids += ids + [FILLER] * fillers
        self.weights += [1.0] * len(ids) + ([1.0] + [0.1] * (fillers - 1) if fillers else [])

    @property
    def room(self) -> int:
        return self.width - len(self.ids)


class ExampleMaker:
    """Cuts examples out of files: `length` prefix tokens, `canvases` canvases of `width` rows each."""

    def __init__(self, tokenizer: Tokenizer, length: int, canvases: int, width: int) -> None:
        self.tokenizer = tokenizer
        self.length = length
        self.canvases = canvases
        self.width = width

    def make(self, rng: Random, text: str, kind: str) -> Example:
        """One example from a random place of `text`."""
        most = self.length * CHARS_PER_TOKEN
        start = rng.randrange(max(1, len(text) - most // 3))
        start = text.rfind("\n", 0, start) + 1
        stretch = text[start : start + most + 2 * SUFFIX_CHARS]
        _, ends = self.tokenizer.encode_with_ends(stretch[:most])
        reach = ends[: self.length][-1]
        last = start + len(stretch) == len(text)
        breaks: list[Break] = []
        if rng.random() < share(kind):
            stretch, breaks = corrupt(rng, stretch, kind, rng.choice((1, 1, 2, 3)), stop=reach)
            reach = min(reach, len(stretch))
        finder = SpanFinder(stretch, kind)
        # A cut splits a token: the last few of the stretch fall off.
        holes = self._holes(rng, finder, breaks, ends[: self.length - self.canvases][-1])
        # The text before a hole is tokenised apart from it, as it is when a user's cursor stands there.
        ids, before, at = [BOS], {0: 1}, 0
        for cut in sorted({*holes, *(edge for one in breaks for edge in one.span), reach}):
            ids += self.tokenizer.encode(stretch[at:cut]) if cut > at else []
            before[cut], at = len(ids), max(at, cut)
        targets = [*ids[1:], PAD]
        for one in breaks:
            first, after = (before[edge] for edge in one.span)
            targets[first - 1] = self.tokenizer.encode(one.right)[0] if one.right else targets[after - 1]
        canvases = [
            self._canvas(rng, finder, hole, breaks, ids[: before[cut]], last)
            for cut, hole in sorted(holes.items())
            if before[cut] <= self.length
        ]
        made = [canvas for canvas in canvases if canvas]
        return Example(ids[: self.length], targets[: self.length], rng.sample(made, min(len(made), self.canvases)))

    def _holes(self, rng: Random, finder: SpanFinder, breaks: list[Break], stop: int) -> dict[int, _Hole]:
        """One hole a canvas and a few to spare, by the place where it begins: most breaks, and what the text has."""
        holes = {one.at: _Hole("break", one.span, one.right) for one in breaks if one.right and rng.random() < 0.8}
        for _ in range(6 * self.canvases):
            drawn = finder.draw(rng, 0, stop)
            if drawn is None or len(holes) >= self.canvases + SPARE or touches(drawn[1], breaks):
                continue
            shape, (begin, end) = drawn
            if not breaks or shape != "after":
                holes[begin] = _Hole(shape, (begin, end), finder.text[begin:end])
        return holes

    def _canvas(
        self, rng: Random, finder: SpanFinder, hole: _Hole, breaks: list[Break], prefix: list[int], last: bool
    ) -> LabelledCanvas | None:
        text, span = finder.text, hole.span
        rows = _Rows(self.width)
        kept = 0 if rng.random() < 0.5 else rng.randrange(1, 17)
        kept = min(kept, len(prefix) - 1)
        rows.pin(prefix[len(prefix) - kept :])
        if hole.shape == "after":
            ids = self.tokenizer.encode(text[span[0] : span[0] + 4 * self.width])
            ids = ids[: min(rows.room, rng.choice((8, 16, 32, self.width)))]
            rows.hole(ids, len(ids))
            return LabelledCanvas(len(prefix) - kept, rows.ids, rows.weights)
        if not self._hole(rng, rows, hole.text, single=hole.shape != "break"):
            return None
        at, stop = span[1], min(len(text), span[1] + SUFFIX_CHARS)
        for _ in range(rng.choice((0, 0, 1, 2, 4, 6))):
            drawn = finder.draw(rng, at + 1, min(stop, at + SUFFIX_CHARS // 4), small=True)
            if drawn is None or drawn[1][1] - drawn[1][0] > 40 or touches(drawn[1], breaks):
                continue
            _, (begin, end) = drawn
            rows.pin(self.tokenizer.encode(text[at:begin]))
            if not self._hole(rng, rows, text[begin:end], single=False):
                at = begin
                break
            at = end
        rows.pin(self.tokenizer.encode(text[at:stop]))
        if last and stop == len(text) and rows.room:
            rows.pin([EOS])
        return LabelledCanvas(len(prefix) - kept, rows.ids, rows.weights)

    def _hole(self, rng: Random, rows: _Rows, text: str, single: bool) -> bool:
        """Add a hole for `text`, exact or with slack; False when it does not fit."""
        ids = [] if single and rng.random() < 0.02 else self.tokenizer.encode(text)
        slots = len(ids)
        if not ids or rng.random() < 0.5:
            slots += rng.choice((1, 2, 3, 3, 4, 6, 8, 12, 16))
        if len(ids) > MAX_HOLE or slots > min(MAX_HOLE, rows.room - 2):
            slots = len(ids)
        if slots > min(MAX_HOLE, rows.room):
            return False
        if not ids:
            # Nothing belongs here: the removed text stays, after the hole.
            rows.hole([], slots)
            rows.pin(self.tokenizer.encode(text))
            return True
        rows.hole(ids, slots)
        return True
