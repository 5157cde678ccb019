"""Whether a text is JSON, or JSON with comments and trailing commas, as the strictest reader sees it."""

from __future__ import annotations

import json
import re

from dgemma_lsp.syntax.json_rules import strict_error

_STRING = r'"(?:[^"\\\n\r]|\\[^\n\r])*"'
_COMMENT = re.compile(_STRING + r"|(?P<drop>//[^\n\r]*|/\*(?:(?!\*/)[\s\S])*\*/)")
# A comma with no value before it is no trailing one.
_COMMA = re.compile(_STRING + r"|[\[{,:][ \t\n\r]*,|(?P<drop>,)(?=[ \t\n\r]*[}\]])")


def error_at(document: str, comments: bool) -> int | None:
    """The character where a text stops being JSON; None when it is, or is nested too deeply to tell.

    A byte-order mark at the start is no error; `comments` allows them and trailing commas.
    """
    return strict_error(_plain(document, comments))


def is_too_deep(document: str, comments: bool) -> bool:
    """Whether the strict parser gives up on a text for its nesting."""
    try:
        json.loads(_plain(document, comments))
    except RecursionError:
        return True
    except ValueError:
        pass
    return False


def repeated_keys(document: str, comments: bool) -> int:
    """How many members of a valid text have the key of an earlier one beside them."""
    repeated = 0

    def count(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated += len(pairs) - len({key for key, _ in pairs})

    json.loads(_plain(document, comments), object_pairs_hook=count, parse_int=str, parse_float=str)
    return repeated


def comment_spans(document: str) -> list[tuple[int, int]]:
    """Where the comments of a text stand."""
    return [match.span() for match in _COMMENT.finditer(document) if match["drop"]]


def _plain(document: str, comments: bool) -> str:
    """The text without byte-order mark, comments and trailing commas, every other character where it was."""
    if document.startswith("\ufeff"):
        document = " " + document[1:]
    return _COMMA.sub(_blank, _COMMENT.sub(_blank, document)) if comments else document


def _blank(match: re.Match[str]) -> str:
    return match[0] if match["drop"] is None else re.sub(r"[^\n\r]", " ", match[0])
