"""Our repairs as `dgemma-lsp fix` makes them."""

from __future__ import annotations

import time
from pathlib import Path

from bench.repair_damage import Case
from bench.repair_files import Sample
from dgemma_lsp.engine_client import BlockingEngine
from dgemma_lsp.files import SourceFile
from dgemma_lsp.fixing import Examined, decide
from dgemma_lsp.syntax.repair import diagnose
from dgemma_lsp.syntax.repair.diagnosis import Diagnosis
from dgemma_lsp.text.edits import apply_edits
from dgemma_lsp.walk import Found

SECONDS = 10.0


class Ours:
    """Each damage is diagnosed once, for both columns; times are in milliseconds."""

    def __init__(self, engine: BlockingEngine | None) -> None:
        self.engine = engine
        self._last: tuple[Case, Diagnosis, float] | None = None

    def by_formatting(self, case: Case) -> tuple[str, float]:
        found, ms = self._diagnosed(case)
        return (apply_edits(case.text, found.settled.edits) if found.settled else case.text), ms

    def with_engine(self, case: Case) -> tuple[str, float]:
        found, ms = self._diagnosed(case)
        started = time.monotonic()
        path = Path(case.sample.name)
        examined = Examined(Found(path, case.sample.language), found, SourceFile(path, case.text, has_bom=False))
        winner = decide(examined, self.engine, "nano")
        text = apply_edits(case.text, winner.edits) if winner else case.text
        return text, ms + 1000 * (time.monotonic() - started)

    def clean_changed(self, files: list[Sample]) -> int:
        """How many of the undamaged files would be changed."""
        found = (diagnose(one.language, one.text, time.monotonic() + SECONDS) for one in files)
        return sum(one.settled is not None for one in found)

    def _diagnosed(self, case: Case) -> tuple[Diagnosis, float]:
        if self._last is None or self._last[0] is not case:
            started = time.monotonic()
            found = diagnose(case.sample.language, case.text, started + SECONDS)
            self._last = case, found, 1000 * (time.monotonic() - started)
        return self._last[1:]
