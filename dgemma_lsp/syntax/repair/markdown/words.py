"""What kind of word stands beside a mark: of the little words each has a habit of its own."""

from __future__ import annotations

import re

_LITTLE = re.compile(
    r"a|about|all|also|an|and|are|as|at|be|by|can|check|do|find|for|from|has|have|here|how|if|in|into|is|it|its|more|"
    r"no|not|of|official|on|only|or|our|please|read|refer|see|that|the|their|these|this|through|to|under|use|uses|"
    r"using|via|visit|was|we|what|when|where|which|with|without|you|your"
)
_LAST = re.compile(r"(\S+)\s*\Z")
_FIRST = re.compile(r"\s*(\S+)")
_EDGES = "*_`~\"'()[]{}<>!?.,:;|"


def word_before(text: str, at: int) -> str:
    """The kind of the last word before `at`."""
    found = _LAST.search(text, max(0, at - 60), at)
    return _kind(found[1]) if found else "nothing"


def word_after(text: str, at: int) -> str:
    """The kind of the first word from `at` on."""
    found = _FIRST.match(text, at, at + 60)
    return _kind(found[1]) if found else "nothing"


def edge(char: str) -> str:
    """The kind of a character beside a mark."""
    if not char:
        return "nothing"
    if char.isspace():
        return "space"
    if char.isalnum():
        return "letter"
    for name, chars in (("stop", ".!?"), ("comma", ",;"), ("colon", ":"), ("bracket", "()[]{}"), ("tick", "`")):
        if char in chars:
            return name
    return "mark"


def _kind(token: str) -> str:
    bare = token.strip(_EDGES)
    lower = bare.lower()
    if _LITTLE.fullmatch(lower):
        return lower
    if not bare:
        return "mark"
    if "`" in token or not bare.isalpha():
        return "code" if not bare.isdigit() else "number"
    if bare.isupper() and len(bare) > 1:
        return "capitals"
    if bare[0].isupper():
        return "capital"
    return "long" if len(bare) > 7 else "word"
