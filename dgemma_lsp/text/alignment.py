"""What two sequences have in common, in order, and as much of it as there is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def common(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pairs of indices of equal items, ascending: a longest common subsequence.

    Bit-parallel (Hyyrö 2004, "Bit-parallel LCS-length computation revisited"): one integer of `len(old)` bits for
    every item of `new`.
    """
    most = min(len(old), len(new))
    lead = next((index for index in range(most) if old[index] != new[index]), most)
    trail = next((index for index in range(most - lead) if old[-1 - index] != new[-1 - index]), most - lead)
    inner = _inner(old[lead : len(old) - trail], new[lead : len(new) - trail])
    return [
        *((index, index) for index in range(lead)),
        *((lead + one, lead + other) for one, other in inner),
        *((len(old) - index, len(new) - index) for index in range(trail, 0, -1)),
    ]


def _inner(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    places: dict[Hashable, int] = {}
    for index, item in enumerate(old):
        places[item] = places.get(item, 0) | 1 << index
    every = (1 << len(old)) - 1
    # Bit i of a row is clear where old[i] makes the subsequence of old[: i + 1] and of new up to there longer.
    row, rows = every, []
    for item in new:
        met = row & places.get(item, 0)
        row = ((row + met) | (row - met)) & every
        rows.append(row)
    pairs = []
    one, other = len(old), len(new)
    while one and other:
        bit = 1 << one - 1
        if rows[other - 1] & bit:
            one -= 1
        elif other > 1 and not rows[other - 2] & bit:
            other -= 1
        else:
            one, other = one - 1, other - 1
            pairs.append((one, other))
    return pairs[::-1]
