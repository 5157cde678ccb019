"""What the gate says of an edit."""

from __future__ import annotations

import enum

import attrs


class Judgement(enum.Enum):
    CLEAN = "clean"
    """The syntax is no worse than it was."""
    INCOMPLETE = "incomplete"
    """What is worse can be made good by typing on after the edit: `def f():`, `{`, an open string."""
    BROKEN = "broken"
    """What is worse cannot be made good by typing on."""
    UNGATED = "ungated"
    """Nobody could tell: no grammar for the language, or no time."""


Span = tuple[int, int]
"""[start, stop) in characters."""


@attrs.frozen
class Verdict:
    """`spans` are the parts of the inserted text to write anew, `places` what got worse in the edited document.

    Both are offsets in characters, in order and apart; both are empty for a clean and an ungated edit. `completion`
    is what made an incomplete edit whole in the gate's own trial. `reason` is one line for people. `faults` is how many
    errors the document has after the edit, whoever made them: of several clean edits the one that leaves none has also
    mended what was open before. `windowed`: the document was too large, and only lines around the edit were judged.
    """

    judgement: Judgement
    reason: str = ""
    spans: tuple[Span, ...] = ()
    places: tuple[Span, ...] = ()
    completion: str = ""
    faults: int = 0
    windowed: bool = False

    @property
    def clean(self) -> bool:
        return self.judgement is Judgement.CLEAN

    @property
    def broken(self) -> bool:
        return self.judgement is Judgement.BROKEN

    def allows(self, unfinished: bool) -> bool:
        """Whether the edit may be made; `unfinished`: by someone who goes on typing, as after ghost text."""
        if self.judgement is Judgement.INCOMPLETE:
            return unfinished
        return self.judgement is not Judgement.BROKEN
