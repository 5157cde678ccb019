"""Writing parts of a finished fill anew: its text becomes pinned text, and the spans become holes."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from .errors import EngineError
from .tokenizer import Tokenizer
from .wire import Hole, MaskedText, Span

SPARE_TOKENS = 4
"""A span may come back by this much longer than it was."""


@frozen
class Refinement:
    """A finished fill with holes in it: `pieces[i]` are the parts of its hole i, pinned text and holes."""

    text: MaskedText
    pieces: tuple[tuple[str | Hole, ...], ...]

    def joined(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The texts of the fill's own holes, given those of the holes in it."""
        rest = iter(texts)
        return tuple("".join(next(rest) if isinstance(part, Hole) else part for part in parts) for parts in self.pieces)


def refinement(text: MaskedText, texts: Sequence[str], spans: Sequence[Span], tokenizer: Tokenizer) -> Refinement:
    """Open `spans` in the fill of `text` by `texts`. Raises `EngineError("request")` for spans outside of them."""
    pieces = tuple(
        _pieces(filled, sorted((span.start, span.stop) for span in spans if span.hole == number), tokenizer)
        for number, filled in enumerate(texts)
    )
    if any(span.hole >= len(texts) for span in spans):
        raise EngineError("request", f"a span names hole {max(span.hole for span in spans)}; there are {len(texts)}")
    own = iter(pieces)
    parts = [part for outer in text.parts for part in (next(own) if isinstance(outer, Hole) else (outer,))]
    return Refinement(MaskedText(parts), pieces)


def _pieces(text: str, spans: list[tuple[int, int]], tokenizer: Tokenizer) -> tuple[str | Hole, ...]:
    pieces: list[str | Hole] = []
    at = 0
    for start, stop in spans:
        if not at <= start <= stop <= len(text):
            raise EngineError("request", f"the span [{start}, {stop}) is outside of the text, or overlaps another one")
        pieces += [text[at:start], Hole(len(tokenizer.encode(text[start:stop])) + SPARE_TOKENS)]
        at = stop
    return (*pieces, text[at:])
