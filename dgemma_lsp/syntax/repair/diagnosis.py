"""What is unclosed or broken in a document, and the ways to mend it."""

from __future__ import annotations

import attrs

from dgemma_lsp.text.edits import Edit


@attrs.frozen
class Unclosed:
    """A fault that a person sees: the characters [start, stop), and a sentence about them."""

    start: int
    stop: int
    message: str


@attrs.frozen
class Candidate:
    """Edits that together mend every fault of a document, in the order of the document.

    `cost` is how badly the result fits the file's own formatting, in nats: what a likelihood may be added to.
    """

    edits: tuple[Edit, ...]
    cost: float


@attrs.frozen
class Diagnosis:
    """What `diagnose` found.

    A clean document has no faults. `candidates`, likeliest first, are all that deserve a comparison. `settled` is the
    one that the formatting alone makes the clear winner; without one, `reason` says why nothing may be changed, and
    candidates, if there are several, may still be told apart by their likelihood.
    """

    faults: tuple[Unclosed, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    settled: Candidate | None = None
    reason: str = ""

    @property
    def clean(self) -> bool:
        return not self.faults


CLEAN = Diagnosis()
