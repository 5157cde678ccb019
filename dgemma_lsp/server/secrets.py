"""Documents that are never read."""

from __future__ import annotations

from collections.abc import Iterable

from dgemma_lsp.secret_files import looks_secret

from .documents import path_of


def is_secret(uri: str, patterns: Iterable[str]) -> bool:
    """Whether a document looks like secrets, by the patterns of `looks_secret`."""
    return looks_secret(path_of(uri), patterns)
