"""Files that are never read."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from .documents import file_name, path_of


def is_secret(uri: str, patterns: Iterable[str]) -> bool:
    """Whether a file looks like secrets; upper and lower case alike.

    A pattern is for the file's name; one with a `/` is for the end of its path.
    """
    name, path = file_name(uri).lower(), path_of(uri).lower()
    return any(
        fnmatchcase(path, f"*/{pattern.lower()}") if "/" in pattern else fnmatchcase(name, pattern.lower())
        for pattern in patterns
    )
