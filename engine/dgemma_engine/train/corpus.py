"""Build the training corpus from permissively licensed packages.

``python -m dgemma_engine.train.corpus --out build/corpus`` writes ``train.jsonl``, ``heldout.jsonl`` and
``SOURCES.md``. Downloads are cached beside ``--out`` in ``downloads``, so a second run fetches only what
is missing. The split is by package family, so near-copies of one text never lie on both sides.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .filters import KINDS, Dedup, is_permissive, select
from .packages import READ_ERRORS, Package, fetch, installed, read_npm, read_wheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

log = logging.getLogger(__name__)

HELDOUT_SHARE = 0.06
# Chosen by package lists alone, so that the held-out side has several packages of each larger kind.
SPLIT_SALT = "s266"


@dataclass
class Report:
    """What was taken (one entry per package) and what was skipped, with the reason."""

    rows: list[tuple[Package, str, Counter[str], Counter[str]]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def family(source: str) -> str:
    """The key that decides the split: the scope or first word of the name, without the registry."""
    name = source.split(":", 1)[1].lower().replace("_", "-")
    return name.split("/")[0].lstrip("@").split("-")[0]


def split_of(source: str, heldout: Collection[str] = ()) -> str:
    """``heldout`` or ``train``, the same in every run and for the whole family; ``heldout`` names more families."""
    if family(source) in heldout:
        return "heldout"
    digest = hashlib.sha256(f"{SPLIT_SALT}:{family(source)}".encode()).digest()
    return "heldout" if int.from_bytes(digest[:8], "big") / 2**64 < HELDOUT_SHARE else "train"


def downloaded(config: dict, cache: Path, report: Report) -> Iterator[Package]:
    """The named packages in the order of the list; failures are listed in the report."""
    jobs = [(kind, name) for kind in ("npm", "pypi") for name in config[kind]]
    with ThreadPoolExecutor(4) as pool:
        for (kind, name), path in zip(jobs, pool.map(lambda job: fetch(job[0], job[1], cache), jobs), strict=True):
            try:
                if path is None:
                    raise ValueError("download failed")
                yield read_wheel(path) if kind == "pypi" else read_npm(path)
            except READ_ERRORS as error:
                report.skipped.append((f"{kind}:{name}", f"{error}"))


def write(packages: Iterable[Package], config: dict, out: Path, report: Report) -> None:
    """Filter, deduplicate and write the two JSONL files; both are replaced only when complete."""
    out.mkdir(parents=True, exist_ok=True)
    dedup, done = Dedup(), set()
    sides = {side: (out / f"{side}.jsonl.part").open("w", encoding="utf-8") for side in ("train", "heldout")}
    for package in packages:
        if package.source in done or package.source.split(":")[1] in config["exclude"]:
            continue
        done.add(package.source)
        if not is_permissive(package.license):
            report.skipped.append((package.source, f"licence: {package.license[:80] or 'none stated'}"))
            continue
        side, files, chars = split_of(package.source, config["heldout"]), Counter(), Counter()
        for path, kind, text in select(package.source, package.files, config["caps"], dedup):
            row = {"source": package.source, "version": package.version, "license": package.license}
            row |= {"path": path, "kind": kind, "text": text}
            sides[side].write(json.dumps(row, ensure_ascii=False) + "\n")
            files[kind] += 1
            chars[kind] += len(text)
        package.files = ()
        report.rows.append((package, side, files, chars))
        log.info("%s %s: %s", side, package.source, dict(chars))
    for side, handle in sides.items():
        handle.close()
        (out / f"{side}.jsonl.part").replace(out / f"{side}.jsonl")


def sources_table(report: Report) -> str:
    """SOURCES.md: one row a package, with files / thousands of characters per kind, then totals."""
    kinds = list(dict.fromkeys(KINDS.values()))
    rows = ["# Corpus sources", "", "Each kind: files / thousands of characters.", ""]
    head = ["package", "version", "licence", "split", *kinds]
    rows += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for package, side, files, chars in sorted(report.rows, key=lambda r: r[0].source):
        if not files:
            continue
        cells = [f"{files[k]} / {chars[k] / 1e3:.0f}" if files[k] else "" for k in kinds]
        rows.append(f"| {' | '.join([package.source, package.version, package.license, side, *cells])} |")
    for side in ("train", "heldout"):
        got = [r for r in report.rows if r[1] == side and r[2]]
        cells = [f"{sum(r[2][k] for r in got)} / {sum(r[3][k] for r in got) / 1e3:.0f}" for k in kinds]
        rows.append(f"| total {side} | {len(got)} packages | | {side} | {' | '.join(cells)} |")
    rows += ["", "## Skipped", "", *(f"- {name}: {why}" for name, why in sorted(report.skipped)), ""]
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0, also where single packages failed (they are listed in SOURCES.md)."""
    parser = argparse.ArgumentParser(description="Build the training corpus.")
    parser.add_argument("--out", type=Path, default=Path("build/corpus"))
    parser.add_argument("--no-download", action="store_true", help="use installed packages only")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = tomllib.loads((Path(__file__).parent / "sources.toml").read_text("utf-8"))
    report = Report()

    def packages() -> Iterator[Package]:
        if not args.no_download:
            yield from downloaded(config, args.out.parent / "downloads", report)
        yield from installed()

    write(packages(), config, args.out, report)
    (args.out / "SOURCES.md").write_text(sources_table(report), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
