"""What speaks for a mark that is meant as it is, in nats.

Set by hand, so that files without a fault stay as they are; the fit of the other weights takes these as given.
"""

from __future__ import annotations

CODE_SPAN: dict[str, float] = {
    "any": -0.9,
    "alone": 0.8,
    "apart": 6.0,
    "lines": 0.5,
    "long": 0.3,
    "quoted": 5.0,
    "template": 4.0,
    "unproved": 5.0,
}

EMPHASIS: dict[str, float] = {
    "*": 0.6,
    "**": -0.9,
    "_": 0.6,
    "__": -0.9,
    "both": 1.0,
    "code": 1.5,
    "first": 0.5,
    "footnote": 3.0,
    "in a word": 3.0,
    "in strong": 2.0,
    "lone footnote": 4.0,
    "number": 4.0,
    "path": 1.5,
    "single letter": 2.0,
    "unused": 2.0,
    "unused one": 3.5,
    "used often": -0.7,
}

LINK: dict[str, float] = {
    "(": -1.9,
    ")": -0.9,
    "[": -0.9,
    "]": -1.9,
    "code": 2.0,
    "empty": 2.0,
    "no target": 2.0,
    "spaces": 6.0,
}
