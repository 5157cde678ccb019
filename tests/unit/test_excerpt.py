"""Verdicts on long documents: what is far from an edit changes nothing but the time they take."""

from __future__ import annotations

import random
import sysconfig
import time
from pathlib import Path

import pytest

from dgemma_lsp.syntax import excerpt as excerpt_module
from dgemma_lsp.syntax import languages
from dgemma_lsp.syntax.excerpt import excerpt
from dgemma_lsp.syntax.gate import LONG, Gate
from dgemma_lsp.syntax.source import Source
from dgemma_lsp.syntax.trees import Trees
from dgemma_lsp.syntax.verdicts import Verdict
from tests.unit.test_gate import BROKEN, CLEAN, CURSOR, INCOMPLETE

GATE = Gate(seconds=30)
STDLIB = Path(sysconfig.get_path("stdlib"))

FAR = {
    "python": "def far(a):\n    return [a,\n            2]\n\n",
    "javascript": "function far(a) {\n  return [a, `b\n${a}`];\n}\n",
    "typescript": "function far(a: number): number[] {\n  return [a];\n}\n",
    "rust": "fn far(a: u8) -> u8 {\n    a + 1\n}\n",
    "c": "static int far(int a) {\n  return a;\n}\n",
    "css": ".far {\n  color: red;\n}\n",
    "shellscript": "far() {\n  echo $1\n}\n",
    "html": "<p>\nfar\n</p>\n",
}
"""What may stand at the beginning and at the end of every document of a language."""

CASES = [case[:3] for case in (*CLEAN, *INCOMPLETE, *BROKEN) if case[0] in FAR]


def among(language: str, place: str, text: str, copies: int) -> Verdict:
    filling = FAR[language] * copies
    document = f"{filling}{place}\n{filling}"
    at = document.index(CURSOR)
    return GATE.verdict(language, document.replace(CURSOR, ""), at, at, text)


@pytest.mark.parametrize(("language", "place", "text"), CASES)
def test_the_verdict_on_a_long_document(language: str, place: str, text: str) -> None:
    short, long = (among(language, place, text, copies) for copies in (10, 2 * LONG // len(FAR[language])))
    assert (long.judgement, long.reason, long.spans) == (short.judgement, short.reason, short.spans)


def test_most_of_a_long_document_is_left_out() -> None:
    language, lines = "python", [f"    def f{number}(self):\n        return {number}\n" for number in range(2_000)]
    document = f'class A:\n    """Many."""\n{"".join(lines)}\n\nx = 1\n'
    grammar = languages.grammar_of(language)
    assert grammar is not None
    parsed = Trees().parse(grammar, Source.of(document), time.monotonic() + 30)
    assert parsed is not None
    at = document.index("return 1000")
    part = excerpt(parsed, document, at, at + 6)
    assert part.text[part.start : part.end] == "return"
    assert len(part.text) < 2_000
    # What it is in stays.
    assert part.text.startswith('class A:\n    """Many."""\n')
    assert part.text.endswith("x = 1\n")


@pytest.mark.parametrize("name", ["argparse.py", "turtle.py", "_pydecimal.py"])
def test_an_excerpt_is_made_of_lines_of_the_document(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpt_module, "WORTH", 1)
    document = (STDLIB / name).read_text(encoding="utf-8").replace("self", "s🙂lf")
    grammar = languages.grammar_of("python")
    assert grammar is not None
    parsed = Trees().parse(grammar, Source.of(document), time.monotonic() + 30)
    assert parsed is not None
    draws = random.Random(3)
    for _ in range(50):
        start = draws.randrange(len(document))
        end = min(len(document), start + draws.choice([0, 0, 5, 200]))
        part = excerpt(parsed, document, start, end)
        assert part.text[part.start : part.end] == document[start:end]
        assert part.left_out
        assert (part.to_document(part.start), part.to_document(part.end)) == (start, end)
        places = [part.to_document(offset) for offset in range(len(part.text))]
        assert "".join(document[place] for place in places) == part.text
        assert places == sorted(set(places))
