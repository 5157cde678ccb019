"""Where the target of a link may end whose `)` is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

TARGET = re.compile(
    r"<?(?:[a-z][a-z0-9+.-]*:|\.{0,2}/|#\w|\?|[\w@%~-]+(?:[./][\w@%~-]+)*\.(?:md|mdx|html?|png|svg|jpe?g|gif|webp|js|"
    r"ts|json|py|txt|pdf|ya?ml|c|h|go|rs|rst|com|org|net|io|dev)\b|[\w@%.~-]+/)",
    re.I,
)
"""What the target of a link begins with."""
_END = re.compile(r"(?=\s|\Z|[^\w\s/#?&=%+~-])")
_TITLE = re.compile(r"[^\s()]+\s+(?:\"[^\"\n]*\"|'[^'\n]*')")
MOST_PLACES = 200


def target_ends(text: str, begin: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Where a target that begins at `begin` may end."""
    stop = min(len(text), begin + 2000)
    run = re.compile(r"\S*").match(text, begin, stop)
    last = run.end() if run else begin
    places = [end.start() for end in _END.finditer(text, begin, last)] + [last]
    if title := _TITLE.match(text, begin, stop):
        places.append(title.end())
    for place in sorted(set(places))[:MOST_PLACES]:
        target = text[begin:place]
        if not target:
            continue
        after = text[place : place + 1]
        tail = text[place:last]
        yield (
            place,
            {
                "target": 1.0,
                "like a target": float(bool(TARGET.match(target))),
                "at a space": float(not after or after.isspace()),
                "at the end": float(place >= len(text.rstrip())),
                "titled": float(bool(title and place == title.end())),
                "before stop": float(bool(re.match(r"[.,;:!?]+(?:\s|\Z)", tail + " "))),
                "before stop mid": float(after in ".,;:!?" and after != "" and not re.match(r"[.,;:!?]+\Z", tail)),
                "before emphasis": float(bool(re.match(r"[*_]+", tail))),
                "before bracket": float(after in "()[]{}<>" and after != ""),
                "before closing bracket": float(after == "]"),
                "before quote": float(after in "\"'`" and after != ""),
                "before other": float(after != "" and not after.isspace() and after not in "()[]{}<>\"'`.,;:!?*_"),
                "ends in stop": float(target[-1:] in (".", ",", ";", ":", "!", "?")),
                "ends in mark": float(bool(re.search(r"[^\w/)#>\"'-]\Z", target))),
                "dot inside": float(after == "." and bool(re.match(r"\.\w", tail))),
                "brackets": float(target.count("(") != target.count(")")),
                "link inside": float("](" in target),
                "extension": float(
                    bool(re.search(r"\.(?:md|mdx|html?|png|svg|jpe?g|gif|js|ts|json|py|txt|com|org)/?\Z", target))
                ),
            },
        )
