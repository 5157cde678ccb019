"""Written by `python -m bench.markdown_fit`."""

from __future__ import annotations

FENCE: dict[str, float] = {
    "above": -0.37,
    "after blank": 1.07,
    "after colon": 1.57,
    "after heading": 0.29,
    "before a fence": -0.7,
    "before blank": 3.12,
    "before indented": -0.12,
    "before prose": 0.52,
    "beyond blank": -0.81,
    "closes": -1.97,
    "first": 0.26,
    "first is prose": -2.8,
    "indented last": -1.4,
    "info": 0.72,
    "last": 0.3,
    "left": 1.72,
    "lines": 0.55,
    "lines of code": -0.34,
    "name alone": 3.41,
    "nested": -0.89,
    "next": 0.23,
    "open brackets": -1.59,
    "opens": 1.97,
    "own": 0.86,
    "own lines": 0.32,
    "prose inside": -0.65,
    "rest": 3.02,
    "starts indented": -1.26,
}
