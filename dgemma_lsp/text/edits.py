"""Changes of a document as replacements of parts of it."""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen(order=True)
class Edit:
    """The characters [start, end) of a document become `text`."""

    start: int
    end: int
    text: str


def apply_edits(document: str, edits: Iterable[Edit]) -> str:
    """The document with all edits made; they must not overlap. Edits at one place are made in their order."""
    parts, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < at:
            raise ValueError(f"edits overlap at character {edit.start}")
        parts += [document[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, document[at:]])
