"""How long a hole is: the policies, and where a filled hole meets what follows it."""

from __future__ import annotations

from .errors import EngineError

LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
SHORT = (1, 2)
"""Beside an elastic canvas: longer ones cost a canvas each and found nothing more on held-out files."""

PROBED = 8
"""Lengths that are looked at for one pass, at most."""
SURVIVORS = 2
"""Lengths of those that are worth more than one."""
ROLLS = 2
"""Times that a canvas is denoised again when a model that is spoken to wrote nothing on it."""
RANKED_SUFFIX_TOKENS = 24
"""Tokens after the last hole that a candidate is judged by: enough to see whether the text goes on."""
JOIN_TOKENS = 16
"""Suffix tokens that must fit behind the holes of a canvas, and that end every block of a longer hole."""


def plans(policy: str, limits: list[int], elastic: bool) -> list[tuple[list[int], bool]]:
    """The ways to size a canvas' holes: slots for each hole, and whether fillers may shorten them.

    `limits` are the holes' largest sizes in tokens, `elastic` tells whether the checkpoint knows the filler.
    `exact` uses every slot; `elastic` lets the filler shrink the largest; `probe` tries a ladder of exact lengths;
    `auto` adds to the elastic plan the short exact ones, where the filler is least sure of itself, or has the same
    ladder as `probe` when there is no filler, of at most `PROBED` steps. Raises `EngineError("request")` when the
    checkpoint cannot serve the policy.
    """
    if policy == "exact":
        return [(limits, False)]
    if policy == "elastic":
        if not elastic:
            raise EngineError("request", "this checkpoint has no filler token; use length 'probe' or 'exact'")
        return [(limits, True)]
    ladder = SHORT if policy == "auto" and elastic else LADDER
    steps = sorted({min(step, max(limits)) for step in ladder})
    if policy == "auto":
        steps = _thinned(steps)
    exact = [([min(step, limit) for limit in limits], False) for step in steps]
    return [(limits, True), *exact] if policy == "auto" and elastic else exact


def _thinned(steps: list[int]) -> list[int]:
    """`PROBED` of the steps at most, evenly, the first and the last one among them."""
    if len(steps) <= PROBED:
        return steps
    return [steps[round(n * (len(steps) - 1) / (PROBED - 1))] for n in range(PROBED)]


def find_join(text: str, suffix: str) -> int | None:
    """Where `text` begins to repeat what stands after the hole, or None.

    The first line of `suffix` that says something decides; a short one (a lone bracket) is no evidence.
    """
    head = next((line.strip() for line in suffix.splitlines() if line.strip()), "")
    if len(head) < 8 or head not in text:
        return None
    before, lead = text[: text.index(head)], suffix[: suffix.index(head)]
    if "\n" in lead:
        return len(before.rstrip(" \t").removesuffix("\n").removesuffix("\r"))
    return len(before.removesuffix(lead))
