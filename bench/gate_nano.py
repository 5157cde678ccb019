"""What the gate makes of nano's fills."""

from __future__ import annotations

import random
from collections import Counter

from bench.gate_files import files
from bench.gate_holes import COMPLETE, holes
from bench.measure import table
from dgemma_lsp.syntax.gate import Gate
from dgemma_lsp.syntax.verdicts import Judgement
from dgemma_lsp.text.masked import infill

TOKENS = {"rest of line": 24, "closers": 8, "argument": 16, "identifier": 8, "line": 32, "block": 48}


def filled_by_nano(gate: Gate, languages: list[str], fills: int, seed: int) -> str:
    """A table: of the requests, how many end with an offer, and what was refused on the way."""
    # Only here, so that the rest of the bench does without torch.
    from dgemma_engine.engine import Engine

    engine = Engine.load("nano")
    rows = []
    for language in languages:
        rng = random.Random(seed)
        counted: Counter[str] = Counter()
        for _, text in files(language, rng):
            if counted["asked"] >= fills:
                break
            for hole in holes(language, text, rng):
                if hole.kind in COMPLETE and counted["asked"] < fills:
                    _ask(
                        engine,
                        gate,
                        language,
                        text[: hole.start] + text[hole.end :],
                        hole.start,
                        TOKENS[hole.kind],
                        counted,
                    )
        asked = max(1, counted["asked"])
        share = [f"{100 * counted[name] / asked:.0f}" for name in ("first", "offered", "mended", "empty", "nothing")]
        rows.append((language, str(counted["asked"]), *share, str(counted["refused"]), str(counted["broken"])))
    header = (
        "language", "requests", "first candidate offered %", "offered %", "of a document then without error %",
        "empty %", "nothing left %", "candidates refused", "broken offered",
    )  # fmt: skip
    return f"nano, three candidates, the first that is no worse is offered:\n\n{table(header, rows)}\n"


def _ask(engine, gate: Gate, language: str, document: str, at: int, tokens: int, counted: Counter[str]) -> None:
    counted["asked"] += 1
    request = infill(document, at, at, tokens)
    answer = engine.fill(request.text, passes=8, candidates=3, seed=counted["asked"])
    written = [request.replacement(candidate.texts[0]) for candidate in answer.candidates]
    written = [text for text in dict.fromkeys(written) if text.strip()]
    if not written:
        counted["empty"] += 1
        return
    for number, text in enumerate(written):
        verdict = gate.verdict(language, document, at, at, text)
        if not verdict.allows(unfinished=True):
            counted["refused"] += 1
            continue
        counted["offered"] += 1
        counted["first"] += number == 0
        counted["mended"] += verdict.judgement is Judgement.CLEAN and verdict.faults == 0
        return
    counted["nothing"] += 1
