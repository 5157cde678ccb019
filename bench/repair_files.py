"""Real json and markdown files for the bench of repairs: of packages that nano was not trained on, or was."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from bench.gate_files import members
from dgemma_engine.train.corpus import family, split_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).parent.parent
LISTED = tomllib.loads((ROOT / "engine" / "dgemma_engine" / "train" / "sources.toml").read_text(encoding="utf-8"))

UNREAD = (
    "npm:@schematics/angular", "npm:commander", "npm:express", "npm:got", "npm:i18n-iso-countries", "npm:mdn-data",
    "npm:nodemailer", "npm:npm", "npm:pm2", "npm:release-it", "npm:semantic-release", "npm:sinon", "npm:socket.io",
    "npm:winston", "npm:yargs",
)  # fmt: skip
"""Packages that the corpus never reads, of families that it does not read either."""

LARGEST = 100_000
"""Bytes of a file, at most."""

SMALLEST = 60

SHARE = 40
"""Files of a package and language at most: many of them are alike."""

ENDINGS = {"json": (".json", ".webmanifest"), "markdown": (".md", ".markdown")}


@frozen
class Sample:
    """A file as it is; `group` is how it is written: indented, by hand or minified for json."""

    name: str
    language: str
    group: str
    text: str


def packages(trained: bool) -> list[str]:
    """The packages that nano was trained on, or those that it was not."""
    listed = [f"{kind}:{name}" for kind in ("npm", "pypi") for name in LISTED[kind]]
    read = [source for source in listed if (split_of(source) == "train") == trained]
    families = {family(source) for source in listed}
    return read if trained else [*read, *(source for source in UNREAD if family(source) not in families)]


def samples(language: str, count: int, trained: bool, data: Path | None = None) -> list[Sample]:
    """At most `count` files in an order that is always the same, no two alike, evenly from the packages.

    Minified json is rare in packages: a third of the indented and handwritten files comes again without spaces.
    """
    rng = random.Random(f"{language} {trained}")
    found: list[Sample] = []
    seen: set[str] = set()
    places: list[Path | str] = [*packages(trained), *([data] if data else [])]
    for place in places:
        own = [one for one in _usable(language, members(place, ENDINGS[language])) if one.text not in seen]
        rng.shuffle(own)
        # A folder that was named is meant as a whole.
        found += own[: SHARE if isinstance(place, str) else None]
        seen.update(one.text for one in own)
    rng.shuffle(found)
    if language == "json":
        found = [again for number, one in enumerate(found) for again in (one, *_minified(one, number))]
    return found[:count]


def _usable(language: str, files: Iterable[tuple[str, bytes]]) -> Iterator[Sample]:
    for name, raw in files:
        try:
            text = raw.decode("utf-8")
            value = json.loads(text) if language == "json" else None
        except (ValueError, RecursionError):
            continue
        if SMALLEST <= len(raw) <= LARGEST and (language != "json" or isinstance(value, dict | list)):
            yield Sample(name, language, group_of(text, value) if language == "json" else "", text)


def group_of(text: str, value: object) -> str:
    """How a json text is written, by what would write it to the byte."""
    bare = text.strip()
    if "\n" not in bare:
        return "minified"
    for indent in (2, 4, "\t", 1, 3, 8):
        if any(json.dumps(value, indent=indent, ensure_ascii=ascii_) == bare for ascii_ in (False, True)):
            return "indented"
    return "by hand"


def _minified(one: Sample, number: int) -> list[Sample]:
    if number % 3 or one.group == "minified":
        return []
    text = json.dumps(json.loads(one.text), separators=(",", ":"), ensure_ascii=False)
    return [Sample(f"{one.name} minified", one.language, "minified", text)]
