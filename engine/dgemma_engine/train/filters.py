"""What the corpus takes of a package: kinds of files, quality, licences, no text twice."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from pathlib import PurePosixPath

KINDS = {
    ".py": "python", ".json": "json", ".jsonc": "json", ".md": "markdown", ".markdown": "markdown",
    ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascript", ".ts": "typescript",
    ".tsx": "typescript", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".sh": "shell", ".bash": "shell",
}  # fmt: skip
MIN_BYTES, MAX_BYTES = 200, 200_000
# Longest and mean line (characters). Prose is often not wrapped, and JSON descriptions are long.
LINE_LIMITS = {"markdown": (3000, 600), "json": (1000, 120)}
DEFAULT_LINE_LIMITS = (400, 120)
LOCK_FILES = {"package-lock.json", "npm-shrinkwrap.json", "composer.lock", "pnpm-lock.yaml", "yarn.lock"}
BAD_PATH = re.compile(
    r"(^|/)(node_modules|_?vendor(ed)?|third_party|compiled|fixtures?|snapshots|site-packages|test_json)/"
    r"|json-?_?schema-?_?test|jsontestsuite|commonmark|human_?eval|edit_?eval|\.min\.|\.map$|[.-]lock\.(json|ya?ml)$",
    re.IGNORECASE,
)
# Lines of evaluation problems, should a file quote them.
EVAL_MARK = re.compile(r"has_close_elements|openai_humaneval|METADATA = \{\s*'author': 'jt'")
GENERATED = re.compile(r"generated (by|from)|auto-?generated|do not edit|@generated", re.IGNORECASE)
PERMISSIVE = {
    "mit", "mit-0", "mit-cmu", "isc", "bsd", "bsd-2-clause", "bsd-3-clause", "0bsd", "apache-2.0", "psf-2.0",
    "python-2.0", "unlicense", "cc0-1.0", "zlib", "hpnd", "apache 2.0", "apache license 2.0", "mit license",
    "apache license, version 2.0", "bsd license", "new bsd license", "apache software license", "new bsd",
    "isc license (iscl)", "python software foundation license", "the unlicense (unlicense)", "apache2",
    "bsd 3-clause", "bsd-3-clause license", "modified bsd license", "bsd 3-clause license", "psf", "psfl",
    "apache-2.0 license", "apache license", "apache license version 2.0", "the mit license", "apache 2.0 license",
}  # fmt: skip


def is_permissive(text: str) -> bool:
    """Whether an SPDX expression or a licence name is on the allow list; unknown names are not."""

    def term(part: str) -> bool:
        return part.strip(" ()").lower() in PERMISSIVE or part.strip().lower() in PERMISSIVE

    if not text or len(text) > 300:
        return False
    if term(text):
        return True
    sums = re.split(r"\s+AND\s+", text.replace("/", " OR "))
    return all(any(map(term, re.split(r"\s+OR\s+", part))) for part in sums)


def python_license(meta: str) -> str:
    """The licence that wheel METADATA states: the expression, else the classifiers, else the field."""
    head = HeaderParser().parsestr(meta)
    if head["License-Expression"]:
        return head["License-Expression"]
    found = [c.split(" :: ")[-1] for c in head.get_all("Classifier", []) if c.startswith("License :: ")]
    found = [c for c in found if c != "OSI Approved"]
    # Several classifiers may mean a choice or a sum: all must be permissive, as in a sum.
    return " AND ".join(found) if found else (head["License"] or "").strip().split("\n")[0]


def kind_of(path: str) -> str | None:
    """The kind of a path, or None where the corpus has no use for it."""
    pure = PurePosixPath(path)
    if pure.name in LOCK_FILES or BAD_PATH.search(path):
        return None
    return KINDS.get(pure.suffix.lower())


def clean_text(kind: str, raw: bytes) -> str | None:
    """The file's text with LF line ends, or None where a quality filter drops it."""
    if not MIN_BYTES <= len(raw) <= MAX_BYTES or b"\0" in raw:
        return None
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
        lines = text.splitlines() or [""]
        longest, mean = LINE_LIMITS.get(kind, DEFAULT_LINE_LIMITS)
        if max(map(len, lines)) > longest or len(text) / len(lines) > mean:
            return None
        if GENERATED.search("\n".join(lines[:5])) or EVAL_MARK.search(text):
            return None
        if kind == "json":
            json.loads(text)
        elif kind == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(text)
    except (UnicodeDecodeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return text


class Dedup:
    """Remembers texts by exact and by whitespace-free hash, over all packages."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, text: str) -> bool:
        """True the first time a text (up to white space) is given."""
        key = hashlib.sha256("".join(text.split()).encode()).digest()[:16]
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def select(
    source: str, files: Iterable[tuple[str, bytes]], caps: dict[str, dict[str, float]], dedup: Dedup
) -> Iterator[tuple[str, str, str]]:
    """Yield (path, kind, text) of a package's `files`, ordered by a hash of the path: a cap takes a fair sample."""
    limits = {**caps["default"], **caps.get(source, {})}
    used: Counter[str] = Counter()
    known = [(p, k, raw) for p, raw in files if (k := kind_of(p))]
    for path, kind, raw in sorted(known, key=lambda f: hashlib.md5(f[0].encode()).digest()):
        if used[kind] + len(raw) > limits[kind] * 1e6:
            continue
        text = clean_text(kind, raw)
        if text is not None and dedup.is_new(text):
            used[kind] += len(text)
            yield path, kind, text


def is_wanted(path: str, size: int) -> bool:
    """Whether a file is worth reading, by its path and its size in bytes."""
    return MIN_BYTES <= size <= MAX_BYTES and kind_of(path) is not None
