"""Files that are never read."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def looks_secret(path: str, patterns: Iterable[str]) -> bool:
    """Whether a file looks like secrets, by its path with `/` between the parts; upper and lower case alike.

    A pattern is for the file's name; one with a `/` is for the end of its path.
    """
    path = path.lower()
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return any(
        fnmatchcase(path if path.startswith("/") else f"/{path}", f"*/{pattern.lower()}")
        if "/" in pattern
        else fnmatchcase(name, pattern.lower())
        for pattern in patterns
    )
