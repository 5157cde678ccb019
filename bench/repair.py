"""Repairs beside those of other programs: `python -m bench.repair [--files 40] [--data DIR] [--write]`.

Corrupted copies of real json and markdown files, of packages that nano was not trained on; DIR holds more json files.
Two columns are ours: by the file's own formatting alone, and with the engine's likelihoods where that does not decide.
`--write` puts the tables and the picture into docs/quality.md. `--calibrate` prints what the engine's weight should be,
from packages that nano was trained on.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.measure import Spread, machine, table
from bench.repair_calibrate import calibrate
from bench.repair_damage import Case, cases
from bench.repair_files import ENDINGS, ROOT, Sample, samples
from bench.repair_ours import Ours
from bench.repair_peers import peers
from bench.repair_picture import picture
from bench.repair_tally import Tally, judge
from dgemma_lsp.engine_client import BlockingEngine

SEED = 6
PAGE = ROOT / "docs" / "quality.md"
PICTURE = PAGE.with_name("quality.png")
FORMATTING, ENGINE = "formatting alone", "with the engine"
SINGLE = ("one opening bracket", "one closing bracket", "one quote", "one comma", "one colon")

Tallies = dict[tuple[str, str, str], Tally]
"""By kind of damage, group of files, and program."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.repair", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="of each language, at most")
    parser.add_argument("--data", type=Path, help="folder with more json files")
    parser.add_argument("--languages", nargs="*", default=list(ENDINGS))
    parser.add_argument("--calibrate", action="store_true", help="find the weight of a likelihood instead")
    parser.add_argument("--no-engine", action="store_true", help="leave out the column with the engine")
    parser.add_argument("--show", type=int, default=0, help="print that many repairs that are wrong")
    parser.add_argument("--write", action="store_true", help="into docs/quality.md")
    arguments = parser.parse_args()
    # A daemon of its own: the user's has other things to do.
    with tempfile.TemporaryDirectory(prefix="dgemma-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        with BlockingEngine(name="bench.repair") as engine:
            ours = Ours(None if arguments.no_engine else engine)
            if arguments.calibrate:
                for language in arguments.languages:
                    print(calibrate(language, samples(language, arguments.files, trained=True), engine, SEED))
            else:
                parts = [
                    part(language, arguments.files, arguments.data, ours, arguments.show)
                    for language in arguments.languages
                ]
                report(parts, arguments.write)
            if not arguments.no_engine:
                engine.shutdown(finish=False)


def part(language: str, count: int, data: Path | None, ours: Ours, show: int) -> tuple[str, Tallies, str]:
    """The measurements of one language: its name, the tallies, and its tables."""
    files = samples(language, count, trained=False, data=data)
    damaged = [case for one in files for case in cases(one, SEED)]
    print(f"{language}: {len(files)} files, {len(damaged)} damages", file=sys.stderr, flush=True)
    tallies: Tallies = {}
    with peers(language) as others:
        for case in damaged:
            results: dict[str, tuple[str | None, float]] = {FORMATTING: ours.by_formatting(case)}
            if ours.engine is not None:
                results[ENGINE] = ours.with_engine(case)
            for name, (_, peer) in others.items():
                started = time.monotonic()
                text = peer(case.text)
                results[name] = text, 1000 * (time.monotonic() - started)
            for name, (text, ms) in results.items():
                one = tallies.setdefault((case.kind, case.sample.group, name), Tally())
                one.judged.append(judge(case, text))
                one.ms.append(ms)
                if name == FORMATTING and show and text and one.judged[-1].edited and not one.judged[-1].value:
                    show -= 1
                    print_wrong(case, text)
        programs = {name: f"{name} {version}" for name, (version, _) in others.items()}
    text = f"{table_of(tallies, programs)}\n\n{summary(files, tallies, programs, ours)}"
    return language, tallies, f"{len(files)} files, {len(damaged)} damages.\n\n{text}"


def table_of(tallies: Tallies, programs: Mapping[str, str]) -> str:
    """What each program makes of each damage: same value or page, and in brackets the same bytes, in per cent."""
    columns = [name for name in (FORMATTING, ENGINE, *programs) if any(key[2] == name for key in tallies)]
    rows = []
    for kind, group in dict.fromkeys((kind, group) for kind, group, _ in sorted(tallies, key=_order)):
        found = [tallies[kind, group, name] for name in columns]
        shares = [f"{one.value:.1f} ({one.same:.1f})" for one in found]
        rows.append([f"{kind}{', ' + group if group else ''}", str(len(found[0].judged)), *shares])
    groups = list(dict.fromkeys(group for _, group, _ in tallies))
    if any(kind in SINGLE for kind, _, _ in tallies):
        for group in sorted(groups):
            found = [joined(tallies, SINGLE, group, name) for name in columns]
            shares = [f"**{one.value:.1f}** ({one.same:.1f})" for one in found]
            rows.append([f"**any one of the five, {group}**", str(len(found[0].judged)), *shares])
    return table(["deleted", "n", *(programs.get(name, name) for name in columns)], rows)


def summary(files: list[Sample], tallies: Tallies, programs: Mapping[str, str], ours: Ours) -> str:
    """What is the same for all damages: parses, right when it edits, clean files, characters elsewhere, time."""
    rows = []
    for name in (FORMATTING, ENGINE, *programs):
        own = [one for key, one in tallies.items() if key[2] == name]
        if not own:
            continue
        all_ = Tally([one for some in own for one in some.judged], [ms for some in own for ms in some.ms])
        outside = sum(one.outside for one in all_.judged if one.edited)
        clean = str(ours.clean_changed(files)) if name == FORMATTING else "" if name == ENGINE else "-"
        spread = Spread.of(all_.ms)
        rows.append(
            [
                programs.get(name, name),
                f"{all_.parses:.1f}",
                f"{all_.edited:.1f}",
                f"{all_.right:.1f}",
                clean,
                str(outside),
                f"{spread.p50:.1f}",
                f"{spread.p95:.1f}",
            ]
        )
    header = ["", "parses %", "edited %", "right when it edits %", f"clean files changed, of {len(files)}"]
    return table([*header, "characters changed off the damaged lines", "ms p50", "ms p95"], rows)


def joined(tallies: Tallies, kinds: tuple[str, ...], group: str, name: str) -> Tally:
    total = Tally()
    for kind in kinds:
        total = total.joined(tallies.get((kind, group, name), Tally()))
    return total


def _order(key: tuple[str, str, str]) -> tuple[str, int]:
    kinds = list(dict.fromkeys(SINGLE))
    return key[1], kinds.index(key[0]) if key[0] in kinds else len(kinds)


def print_wrong(case: Case, text: str) -> None:
    print(f"--- {case.sample.name} ({case.sample.group}): {case.kind}, line {case.lines[0] + 1}", file=sys.stderr)
    for name, one in (("whole", case.sample.text), ("damaged", case.text), ("repaired", text)):
        lines = one.splitlines()[max(0, case.lines[0] - 2) : case.lines[0] + 3]
        print(f"{name}:", *(f"    {line[:160]}" for line in lines), sep="\n", file=sys.stderr)


def report(parts: list[tuple[str, Tallies, str]], write: bool) -> None:
    """On the terminal, and between the marks of the page."""
    texts = {language: text for language, _, text in parts}
    for language, text in texts.items():
        print(f"\n## {language}\n\n{text}")
    if not write:
        return
    page = PAGE.read_text(encoding="utf-8")
    texts["machine"] = machine()
    for name, text in texts.items():
        mark = re.compile(rf"(<!-- {name}: by the bench -->\n).*?(<!-- end -->)", re.DOTALL)
        page = mark.sub(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", page)
    PAGE.write_text(page, encoding="utf-8")
    picture({language: tallies for language, tallies, _ in parts}, PICTURE)


if __name__ == "__main__":
    main()
