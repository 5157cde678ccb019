"""Many files looked at for repairs: one after the other, or on all cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Protocol

import attrs

from dgemma_lsp.engine_client.errors import EngineError
from dgemma_lsp.files import FileError, SourceFile, read_source
from dgemma_lsp.syntax.repair import diagnose
from dgemma_lsp.syntax.repair.choice import BALANCES, choose, stretches
from dgemma_lsp.syntax.repair.diagnosis import CLEAN, Candidate, Diagnosis
from dgemma_lsp.walk import Found

DIAGNOSE_S = 10.0
"""For one file; whoever runs a command waits longer than an editor."""

FEW = 16
"""Files for which starting processes is not worth it."""

CHUNK = 8
"""Files that a process is given at a time."""


@attrs.frozen
class Examined:
    """A file as it was found. `source` is there when something is wrong with its text, `problem` when it has none.

    A clean diagnosis with a reason is of a file that could not be checked.
    """

    found: Found
    diagnosis: Diagnosis = CLEAN
    source: SourceFile | None = None
    problem: str = ""


class Scores(Protocol):
    """What is asked of an engine."""

    def score(self, prefix: str, candidates: Sequence[str], *, model: str) -> Sequence[float]: ...


def examine(found: Found) -> Examined:
    """Read a file and look for what is unclosed or broken."""
    try:
        source = read_source(found.path)
    except FileError as error:
        return Examined(found, problem=str(error))
    diagnosis = diagnose(found.language, source.text, time.monotonic() + DIAGNOSE_S)
    return Examined(found, diagnosis, None if diagnosis.clean else source)


def examine_all(files: Sequence[Found]) -> Iterator[Examined]:
    """In the order of the files; many of them on as many processes as this one may use cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1 or len(files) < FEW:
        yield from map(examine, files)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, context, _leave_interrupts_to_the_parent) as pool:
        try:
            yield from pool.map(examine, files, chunksize=CHUNK)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def decide(examined: Examined, engine: Scores | None, model: str) -> Candidate | None:
    """The one clear repair; the engine, where there is one, is asked when formatting alone cannot tell."""
    diagnosis, source = examined.diagnosis, examined.source
    if diagnosis.settled is not None or engine is None or source is None or len(diagnosis.candidates) < 2:
        return diagnosis.settled
    asked = stretches(source.text, diagnosis.candidates)
    try:
        log_probs = [engine.score(one.before, one.texts, model=model) for one in asked]
    except EngineError as error:
        if error.code != "request":
            raise
        # More than the model can hold: in some scripts a character is several tokens.
        return None
    balance = BALANCES[examined.found.language]
    return choose(diagnosis.candidates, asked, log_probs, balance) if asked else None


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
