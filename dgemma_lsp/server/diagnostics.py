"""What is unclosed or broken, shown in the editor a while after the last keystroke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from lsprotocol import types

from dgemma_lsp.config import Settings
from dgemma_lsp.syntax.repair.diagnosis import Unclosed
from dgemma_lsp.text.document import Document

from .bugs import log_bug
from .documents import range_of
from .repairing import Repairer, repaired_language

QUIET_S = 0.4
"""Without a change before a document is looked at: what is being typed is unclosed for a moment."""

SOURCE = "dgemma"

Publish = Callable[[types.PublishDiagnosticsParams], None]


class Diagnostics:
    """Publishes the faults of documents that are repaired, and takes back what it has published."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._shown: set[str] = set()

    def look(self, document: Document, repairer: Repairer, settings: Settings) -> None:
        """The document was opened or changed, or settings were."""
        self._stop(document.uri)
        language = repaired_language(document)
        if language is None:
            return
        if not settings.of(settings.diagnostics, language):
            self._show(document, [])
            return
        self._waiting[document.uri] = asyncio.ensure_future(self._look(document, repairer, settings))

    def close(self, uri: str) -> None:
        """The document was closed: nothing is wrong with it any more."""
        self._stop(uri)
        if uri in self._shown:
            self._shown.discard(uri)
            self._publish(types.PublishDiagnosticsParams(uri, []))

    def close_all(self) -> None:
        """Nothing more is published."""
        for uri in list(self._waiting):
            self._stop(uri)

    def _stop(self, uri: str) -> None:
        waiting = self._waiting.pop(uri, None)
        if waiting is not None:
            waiting.cancel()

    async def _look(self, document: Document, repairer: Repairer, settings: Settings) -> None:
        await asyncio.sleep(QUIET_S)
        try:
            found = await repairer.diagnosis(document, settings)
        except Exception as error:
            log_bug(error)
            return
        if repairer.is_current(document):
            self._show(document, [diagnostic_of(document, fault) for fault in found.faults])

    def _show(self, document: Document, diagnostics: Iterable[types.Diagnostic]) -> None:
        listed = list(diagnostics)
        # An editor is not told that a document is still as good as it thinks.
        if listed or document.uri in self._shown:
            self._publish(types.PublishDiagnosticsParams(document.uri, listed, document.version))
        if listed:
            self._shown.add(document.uri)
        else:
            self._shown.discard(document.uri)


def diagnostic_of(document: Document, fault: Unclosed) -> types.Diagnostic:
    """A fault as editors show it."""
    broken = repaired_language(document) != "markdown"
    # Markdown is never wrong: a reader only sees something else.
    severity = types.DiagnosticSeverity.Error if broken else types.DiagnosticSeverity.Warning
    return types.Diagnostic(range_of(document, fault.start, fault.stop), fault.message, severity, source=SOURCE)
