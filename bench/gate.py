"""The gate over real files: `python bench/gate.py [--holes 2000] [--nano]`, table in build/bench/gate.md.

Three questions for every language: how often the true text of a hole is refused; how often the beginning of a text
that goes on is; how much damage to the true text is caught. And how long a verdict takes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field
from tree_sitter import Parser

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.gate_files import SOURCES, files
from bench.gate_holes import COMPLETE, Hole, damaged, holes
from bench.gate_nano import filled_by_nano
from bench.measure import Spread, machine, table
from dgemma_lsp.syntax import languages
from dgemma_lsp.syntax.gate import Gate
from dgemma_lsp.syntax.verdicts import Judgement, Verdict

OUT = Path(__file__).parent.parent / "build" / "bench" / "gate.md"
SEED = 20
LINES = 10_000
KEYSTROKES = 25


@define
class Tally:
    """What was counted for one language."""

    files: int = 0
    true: Counter[tuple[str, Judgement]] = field(factory=Counter)
    damage: Counter[tuple[str, str]] = field(factory=Counter)
    refused: list[tuple[str, Hole, str]] = field(factory=list)
    ms: list[float] = field(factory=list)

    def share(self, kinds: tuple[str, ...], *judgements: Judgement) -> str:
        held = sum(self.true[kind, judgement] for kind in kinds for judgement in Judgement)
        met = sum(self.true[kind, judgement] for kind in kinds for judgement in judgements)
        return f"{100 * met / held:.2f} ({met})" if held else "-"

    def held(self, kinds: tuple[str, ...]) -> int:
        return sum(self.true[kind, judgement] for kind in kinds for judgement in Judgement)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--holes", type=int, default=2_000, help="complete holes of all languages together")
    parser.add_argument("--languages", nargs="*", default=list(SOURCES))
    parser.add_argument("--nano", action="store_true", help="fill holes with nano, too")
    parser.add_argument("--fills", type=int, default=20, help="holes of a language that nano fills")
    parser.add_argument("--show", action="store_true", help="list the refused true texts")
    arguments = parser.parse_args()
    each = -(-arguments.holes // len(arguments.languages))
    gate = Gate(seconds=5.0)
    rows, times, tallies = [], [], {}
    for language in arguments.languages:
        rng = random.Random(SEED)
        found = files(language, rng)
        tallies[language] = tally = measure(gate, language, found, each, rng)
        rows.append(row(language, tally))
        times.append(long_document(language, found, rng))
        print(rows[-1], times[-1], file=sys.stderr, flush=True)
    header = (
        "language", "files", "holes", "refused %", "incomplete %", "beginnings", "refused %", "incomplete %",
        "damaged", "broken %", "incomplete %", "passed %", "ms p50", "ms p95",
    )  # fmt: skip
    text = f"{machine()}\n\n{table(header, rows)}\n\n{table(LONG_HEADER, times)}\n"
    if arguments.nano:
        text += "\n" + filled_by_nano(gate, arguments.languages, arguments.fills, SEED)
    if arguments.show:
        text += "".join(f"\n- {language}, {name}: {hole}: {why}" for language, tally in tallies.items()
                        for name, hole, why in tally.refused)  # fmt: skip
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text, encoding="utf-8")
    print(text)


def measure(gate: Gate, language: str, found: list[tuple[str, str]], wanted: int, rng: random.Random) -> Tally:
    tally = Tally()
    for name, text in found * 4:
        if tally.held(COMPLETE) >= wanted:
            break
        tally.files += 1
        for hole in holes(language, text, rng):
            document = text[: hole.start] + text[hole.end :]
            began = time.process_time()
            verdict = gate.verdict(language, document, hole.start, hole.start, hole.text)
            tally.ms.append(1e3 * (time.process_time() - began))
            tally.true[hole.kind, verdict.judgement] += 1
            if hole.kind in COMPLETE:
                if verdict.broken:
                    tally.refused.append((name, hole, verdict.reason))
                for kind, verdict in damage(gate, language, text, hole, rng):
                    tally.damage[kind, verdict.judgement.value] += 1
    return tally


def damage(gate: Gate, language: str, text: str, hole: Hole, rng: random.Random) -> Iterator[tuple[str, Verdict]]:
    """Verdicts on damaged true texts, as far as the damage shows: in a sound file it leaves an error."""
    document = text[: hole.start] + text[hole.end :]
    for kind, harmed in damaged(hole.text, text[hole.end :], rng):
        whole = text[: hole.start] + harmed + text[hole.end :]
        # The file as it is, is the measure here, and not the document with the hole, which may be broken itself.
        against_file = gate.verdict(language, text, 0, len(text), whole)
        if against_file.judgement in (Judgement.BROKEN, Judgement.INCOMPLETE):
            yield kind, gate.verdict(language, document, hole.start, hole.start, harmed)


def row(language: str, tally: Tally) -> tuple[str, ...]:
    beginnings = tuple(kind for kind, _ in tally.true if kind not in COMPLETE)
    kinds = tuple(dict.fromkeys(beginnings))
    harmed = sum(tally.damage.values())
    caught = [
        f"{100 * sum(count for (_, value), count in tally.damage.items() if value == judged) / max(1, harmed):.0f}"
        for judged in ("broken", "incomplete", "clean")
    ]
    ranked = sorted(tally.ms)
    return (
        language, str(tally.files), str(tally.held(COMPLETE)),
        tally.share(COMPLETE, Judgement.BROKEN), tally.share(COMPLETE, Judgement.INCOMPLETE),
        str(tally.held(kinds)), tally.share(kinds, Judgement.BROKEN), tally.share(kinds, Judgement.INCOMPLETE),
        str(harmed), *caught,
        f"{ranked[len(ranked) // 2]:.1f}", f"{ranked[int(0.95 * (len(ranked) - 1))]:.1f}",
    )  # fmt: skip


LONG_HEADER = ("language", "lines", "first parse, ms", "a keystroke, ms", "its verdict, ms", "a broken text's, ms")


def long_document(language: str, found: list[tuple[str, str]], rng: random.Random) -> tuple[str, ...]:
    """Times in a document of 10 000 lines: a line is typed character by character, with a verdict after each."""
    document = joined(language, found)
    gate = Gate(seconds=5.0)
    began = time.perf_counter()
    gate.warm(language, document)
    first = 1e3 * (time.perf_counter() - began)
    typing, good, bad = [], [], []
    for _ in range(KEYSTROKES):
        at = rng.randrange(len(document))
        end = document.find("\n", at)
        if end - at < 3:
            continue
        gate.warm(language, document[:at] + document[end:])
        typed = document[: at + 1] + document[end:]
        rest = document[at + 1 : end]
        timed(typing, gate.warm, language, typed)
        timed(good, gate.verdict, language, typed, at + 1, at + 1, rest)
        timed(bad, gate.verdict, language, typed, at + 1, at + 1, rest + ")]}")
    lines = document.count("\n")
    return language, f"{lines:,}", f"{first:.0f}", *(str(Spread.of(spent)) for spent in (typing, good, bad))


def timed(spent: list[float], call: Callable[..., object], *arguments: object) -> None:
    """Processor time, as other work on the machine must not count."""
    began = time.process_time()
    call(*arguments)
    spent.append(1e3 * (time.process_time() - began))


def joined(language: str, found: list[tuple[str, str]]) -> str:
    """Files without errors one after the other until there are enough lines; values of one array in JSON."""
    between = ",\n" if language == "json" else "\n"
    parts: list[str] = []
    lines = 0
    grammar = languages.grammar_of(language)
    loaded = languages.load(grammar) if grammar else None
    sound = [text for _, text in found if loaded and not Parser(loaded).parse(text.encode()).root_node.has_error]
    for text in sound * 20:
        if lines >= LINES:
            break
        parts.append(text.rstrip())
        lines += text.count("\n") + 1
    body = between.join(parts)
    return f"[\n{body}\n]\n" if language == "json" else body + "\n"


if __name__ == "__main__":
    main()
