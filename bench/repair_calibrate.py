"""How much a likelihood should weigh beside a cost, and how far ahead a winner should be."""

from __future__ import annotations

import time

from attrs import frozen

from bench.measure import table
from bench.repair_damage import Case, cases, rendered
from bench.repair_files import Sample
from bench.repair_ours import SECONDS
from dgemma_lsp.engine_client import BlockingEngine, EngineError
from dgemma_lsp.syntax.repair import diagnose
from dgemma_lsp.syntax.repair.choice import Balance, Stretch, choose, stretches
from dgemma_lsp.syntax.repair.diagnosis import Candidate
from dgemma_lsp.text.edits import apply_edits

WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
MARGINS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@frozen
class Open:
    """A damage that formatting alone does not decide, and what the engine says of its candidates."""

    candidates: tuple[Candidate, ...]
    asked: tuple[Stretch, ...]
    log_probs: list[tuple[float, ...]]
    right: tuple[bool, ...]


def calibrate(language: str, files: list[Sample], engine: BlockingEngine, seed: int) -> str:
    """For every weight and margin, how many open damages are repaired right, and how many wrong."""
    found = [one for sample in files for case in cases(sample, seed) if (one := _open(case, engine))]
    rows = []
    for weight in WEIGHTS:
        row = [f"{weight:g}"]
        for margin in MARGINS:
            winners = [choose(one.candidates, one.asked, one.log_probs, Balance(weight, margin)) for one in found]
            made = [(one, winner) for one, winner in zip(found, winners, strict=True) if winner is not None]
            right = sum(one.right[one.candidates.index(winner)] for one, winner in made)
            row.append(f"{right} / {len(made) - right}")
        rows.append(row)
    could = sum(any(one.right) for one in found)
    head = f"{language}, {len(files)} files: {len(found)} damages left open, the right way among {could}; right / wrong"
    return f"{head}\n\n{table(['weight', *(f'margin {margin:g}' for margin in MARGINS)], rows)}\n"


def _open(case: Case, engine: BlockingEngine) -> Open | None:
    found = diagnose(case.sample.language, case.text, time.monotonic() + SECONDS)
    if found.clean or found.settled is not None or len(found.candidates) < 2:
        return None
    asked = stretches(case.text, found.candidates)
    if not asked:
        return None
    try:
        log_probs = [engine.score(one.before, one.texts) for one in asked]
    except EngineError:
        return None
    markdown = case.sample.language == "markdown"
    texts = [apply_edits(case.text, candidate.edits) for candidate in found.candidates]
    right = tuple(
        text == case.sample.text or (markdown and rendered(text) == rendered(case.sample.text)) for text in texts
    )
    return Open(found.candidates, asked, log_probs, right)
