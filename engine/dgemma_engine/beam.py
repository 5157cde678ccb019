"""A way to fill a text so far, and what of the text is still to be filled."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from . import wire

Part: TypeAlias = "str | wire.Hole"


@frozen
class Beam:
    """`texts` of the holes done, `rest` to do, from text to text."""

    rest: list[Part]
    texts: tuple[str, ...] = ()
    score: float = 0.0
    finish: str = "converged"
    passes: int = 0

    @property
    def is_done(self) -> bool:
        return len(self.rest) == 1

    def grow(self, rest: list[Part], texts: tuple[str, ...], score: float, finish: str, passes: int) -> Beam:
        worst = max(self.finish, finish, key=wire.FINISHES.index)
        return Beam(rest, self.texts + texts, self.score + score, worst, self.passes + passes)

    def whole(self, later: list[Part], texts: tuple[str, ...]) -> tuple[str, ...]:
        """The texts of all holes while those of the next canvas read `texts` and `later` is still to come."""
        return self.texts + texts + ("",) * (len(later) // 2)

    def candidate(self) -> wire.Candidate:
        """What is there; holes that the deadline left undone are empty."""
        finish = self.finish if self.is_done else "deadline"
        return wire.Candidate(self.whole(self.rest, ()), self.score, self.passes, finish)


def merged(parts: tuple[Part, ...]) -> list[Part]:
    """Text, hole, text, hole, … text: neighbours of one kind joined or parted by empty text."""
    out: list[Part] = [""]
    for part in parts:
        if isinstance(part, wire.Hole):
            out += [part, ""]
        else:
            out[-1] = str(out[-1]) + part
    return out


def holes_of(parts: list[Part]) -> list[wire.Hole]:
    return [part for part in parts if isinstance(part, wire.Hole)]
