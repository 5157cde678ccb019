"""From a JSON document to what is wrong with it, and what would mend it."""

from __future__ import annotations

import math
import re

from dgemma_lsp.syntax.repair.diagnosis import CLEAN, Candidate, Diagnosis, Unclosed
from dgemma_lsp.syntax.repair.json.faults import COMMENT, MOST, invented, mended, stuck
from dgemma_lsp.syntax.repair.json.learning import learn
from dgemma_lsp.syntax.repair.json.reading import Reader
from dgemma_lsp.syntax.repair.json.search import Late, Reading, Search
from dgemma_lsp.syntax.repair.json.strict import comment_spans, error_at, is_too_deep, repeated_keys
from dgemma_lsp.syntax.repair.json.tokens import Lexer
from dgemma_lsp.text.edits import apply_edits

LARGE = 250_000
"""Characters beyond which a document is not searched for repairs."""
HUGE = 1_000_000
"""Characters beyond which a document is not even read: that alone would take longer than a save may."""
DEEP = 400
"""Containers in each other beyond which the strict parser cannot be asked."""
TOO_DEEP = "the file is nested too deeply to be checked"
TOO_LARGE = "the file is too large to be mended"
MARGIN = 2.0
"""Nats by which a repair has to be likelier than all others together."""
NEAR = 12.0
"""Nats beyond which a repair is not worth a comparison with the best one."""
CANDIDATES = 8
SPARSE = 4
"""Structural characters for each of several patches: where there are fewer, one can make up for another."""
REPEATED = 6.0
"""Nats for a key that stands twice in one object."""
INVENTED = 12.0
"""Nats for a container of which both brackets are missing."""


def diagnose_json(document: str, comments: bool, deadline: float) -> Diagnosis:
    """The faults of a JSON document, or of one with `comments` and trailing commas (jsonc), and their repairs.

    `deadline` is a `time.monotonic` instant. Nothing is ever raised. What is no matter of structure is left alone,
    with a reason: comments in json, other dialects, several documents in one file.
    """
    if not document.strip("\ufeff \t\n\r"):
        return CLEAN
    if len(document) > HUGE:
        return Diagnosis(reason=TOO_LARGE)
    error = error_at(document, comments)
    if error is None:
        return Diagnosis(reason=TOO_DEEP) if is_too_deep(document, comments) else CLEAN
    place = min(error, len(document) - 1)
    fault = Unclosed(place, place + 1, "this is not JSON any more")
    if len(document) > LARGE:
        return Diagnosis((fault,), reason=TOO_LARGE)
    if not comments and "/" in document and error_at(document, comments=True) is None:
        spans = comment_spans(document)
        if spans:
            return Diagnosis(tuple(Unclosed(*span, COMMENT) for span in spans[:MOST]), reason=COMMENT)
    if _nested(document) > DEEP:
        return Diagnosis((fault,), reason="the file is nested too deeply to be mended")
    lexer = Lexer(document, comments)
    search = Search(lexer, Reader(learn(lexer, deadline), comments), deadline)
    try:
        return _diagnosed(document, comments, search)
    except Late:
        return Diagnosis((fault,), reason="there was not enough time to find a repair")


def _diagnosed(document: str, comments: bool, search: Search) -> Diagnosis:
    last = search.walk({})[-1]
    fault = stuck(document, last)
    if not last.state[1].kind and last.state[0] != "^" and last.token.kind in "{[":
        return Diagnosis((fault,), reason="there are several documents in the file")
    found = _verified(document, comments, search)
    if not found:
        reason = fault.message if last.token.kind in "cxu" else "no repair makes this JSON"
        return Diagnosis((fault,), reason=reason)
    candidates = tuple(candidate for candidate, _ in found)
    best, patches = candidates[0], found[0][1].patches
    others = sum(math.exp(best.cost - other.cost) for other in candidates[1:])
    sparse = len(patches) > 1 and SPARSE * len(patches) > _marks(document)
    settled = best if others < math.exp(-MARGIN) and not sparse and not _pairs(search, found[0][1]) else None
    faults = mended(document, search.walk(patches), patches) or (fault,)
    return Diagnosis(faults, candidates, settled, "" if settled else "several repairs fit the file as well")


def _verified(document: str, comments: bool, search: Search) -> list[tuple[Candidate, Reading]]:
    """The readings near the best one that strict parsers take, likeliest first, with what only shows in the whole
    counted in."""
    found: list[tuple[Candidate, int, Reading]] = []
    for reading in search.run():
        if len(found) == CANDIDATES or (found and reading.cost > found[0][0].cost + NEAR):
            break
        patches = [patch for _, patch in sorted(reading.patches.items())]
        edits = tuple(sorted((edit for patch in patches for edit in patch.edits), key=lambda edit: edit.start))
        result = apply_edits(document, edits)
        if error_at(result, comments) is None:
            candidate = Candidate(edits, reading.cost + INVENTED * _pairs(search, reading))
            found.append((candidate, repeated_keys(result, comments), reading))
    fewest = min((repeated for _, repeated, _ in found), default=0)
    costed = [
        (Candidate(candidate.edits, candidate.cost + REPEATED * (repeated - fewest)), reading)
        for candidate, repeated, reading in found
    ]
    return sorted(costed, key=lambda one: one[0].cost)


def _pairs(search: Search, reading: Reading) -> int:
    """How many containers a reading makes up, of which the document has neither bracket."""
    marks = {mark for patch in reading.patches.values() for edit in patch.edits for mark in edit.text}
    return invented(search.walk(reading.patches)) if marks & {"{", "["} and marks & {"}", "]"} else 0


def _marks(document: str) -> int:
    return sum(document.count(mark) for mark in '{}[],:"')


def _nested(document: str) -> int:
    """How many containers are open at once, at most, as far as that can be told from a damaged text."""
    if document.count("{") + document.count("[") <= DEEP:
        return 0
    deepest = depth = 0
    for match in _BRACKET.finditer(document):
        depth = depth + 1 if match[0] in "{[" else max(depth - 1, 0) if match[0] in "}]" else depth
        deepest = max(deepest, depth)
    return deepest


_BRACKET = re.compile(r'"(?:[^"\\\n\r]|\\[^\n\r])*"|[{}\[\]]')
