"""What is wrong with a JSON text, in words."""

from __future__ import annotations

from collections.abc import Sequence

from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.syntax.repair.json.patches import Patch, Step
from dgemma_lsp.syntax.repair.json.reading import AFTER
from dgemma_lsp.syntax.repair.json.search import Patches

MOST = 50
"""Faults that are told of one document."""

COMMENT = "comments are not JSON; name the file .jsonc or remove them"
_MISSING = {",": "a comma is missing here", ":": "a colon is missing here"}


def mended(document: str, steps: Sequence[Step], patches: Patches) -> tuple[Unclosed, ...]:
    """A fault for everything that patches mend, by the steps of the reading with them, in the document's order."""
    faults = [_removed(document, patch) for patch in patches.values() if patch.what == "remove"]
    openers: list[int | None] = []
    for step in steps:
        kind, at = step.token.kind, step.token.start
        inserted = step.token.end == at and kind != "$"
        if kind in "{[":
            openers.append(None if inserted else at)
        opener = openers.pop() if kind in "}]" and openers else None
        if inserted and kind in ",:":
            faults.append(_at(document, at - 1, _MISSING[kind]))
        elif inserted and kind in "{[":
            faults.append(_at(document, at, f"a `{kind}` is missing here"))
        elif inserted and opener is not None:
            faults.append(_at(document, opener, f"`{document[opener]}` opened here is never closed"))
        elif kind == "s" and step.at in patches and patches[step.at].what == "quote":
            closed = document[at] == '"' and patches[step.at].edits[0].start > at
            message = "this string is never closed" if closed else "this string has no opening quote"
            faults.append(Unclosed(at, max(step.token.end, at + 1), message))
    return tuple(sorted(faults, key=lambda fault: fault.start)[:MOST])


def invented(steps: Sequence[Step]) -> int:
    """How many containers a reading has of which neither bracket stood in the text."""
    openers: list[bool] = []
    found = 0
    for step in steps:
        inserted = step.token.end == step.token.start
        if step.token.kind in "{[":
            openers.append(inserted)
        elif step.token.kind in "}]" and openers:
            found += openers.pop() and inserted
    return found


def stuck(document: str, step: Step) -> Unclosed:
    """Why reading cannot go on with a token."""
    last, frame = step.state
    kind, text = step.token.kind, step.token.text
    start, stop = step.token.start, max(step.token.end, step.token.start + 1)
    if kind == "c":
        message = COMMENT
    elif kind == "u" and len(text) > 1 and text.endswith('"'):
        message = "this string has an escape or a character that JSON does not know"
    elif kind == "u":
        message = "this string is never closed"
    elif kind == "x" and frame.kind == "{" and last in "{,":
        message = "a key needs double quotes"
    elif kind == "x":
        message = "strings need double quotes" if text[0] in "'`" else f"{text[:20]!r} is no value in JSON"
    elif kind == "$" and frame.kind:
        return Unclosed(start - 1, start, f"the file ends, and a `{frame.kind}` is still open")
    elif last in AFTER:
        message = f"a comma or `{frame.closer}` is missing here" if frame.kind else "JSON ends before this"
    elif last == "K":
        message = _MISSING[":"]
    else:
        message = "a key is missing here" if frame.kind == "{" and last in "{," else "a value is missing here"
    return Unclosed(min(start, len(document) - 1), min(stop, len(document)), message)


def _removed(document: str, patch: Patch) -> Unclosed:
    edit = patch.edits[0]
    mark = document[edit.start : edit.end].strip()
    if mark in "}]":
        message = f"`{mark}` closes nothing"
    elif document[edit.end :].lstrip()[:1] in ("}", "]"):
        message = "this comma has nothing after it"
    else:
        message = f"a `{mark}` too many"
    return _at(document, edit.end - 1, message)


def _at(document: str, place: int, message: str) -> Unclosed:
    """A fault of one character, within the document."""
    place = min(max(place, 0), len(document) - 1)
    return Unclosed(place, place + 1, message)
