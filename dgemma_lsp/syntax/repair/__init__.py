"""What is unclosed in json, jsonc and markdown, and how to close it without doing harm."""

from __future__ import annotations

from dgemma_lsp.syntax.repair.diagnosis import Diagnosis

REPAIRED = ("json", "jsonc", "markdown")
"""The languages that can be repaired, by their identifiers."""


def diagnose(language: str, document: str, deadline: float) -> Diagnosis:
    """The faults of a document in one of the `REPAIRED` languages, and what would mend them.

    `deadline` is a `time.monotonic` instant; what is not known by then is left open, with a reason. Raises
    `ValueError` for another language, and nothing else whatever the document.
    """
    # Imported when they are first needed: an editor waits for the server to start.
    if language == "markdown":
        from dgemma_lsp.syntax.repair.markdown import diagnose_markdown

        return diagnose_markdown(document, deadline)
    if language in ("json", "jsonc"):
        from dgemma_lsp.syntax.repair.json import diagnose_json

        return diagnose_json(document, comments=language == "jsonc", deadline=deadline)
    raise ValueError(f"{language!r} is not repaired; these are: {', '.join(REPAIRED)}")
