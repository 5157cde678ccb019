"""Other ways to read a text, for languages that their grammars do not know well enough.

A reading has the length of the text in characters, so that offsets hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Reading = Callable[[str], str]

_DIRECTIVE = re.compile(
    r"^[ \t]*#[ \t]*(?:if|ifdef|ifndef|elif|elifdef|elifndef|else|endif)\b(?:[^\\\r\n]|\\\r?\n|\\.)*", re.MULTILINE
)
_CONDITIONAL = re.compile(r"^[ \t]*#[ \t]*(?:(if)|(endif))", re.MULTILINE)
_ATTRIBUTE = re.compile(
    r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*\b(?:\([^()\r\n]*\)(?=[ \t]*[\r\n])|(?=[ \t]*[\r\n]|[ \t]+[\w~]))"
    r"|\b__[a-z]+\b(?=[ \t]+\w)"
)
_QUERY = re.compile(r"@(?:container|media|supports|layer|scope|starting-style)\b[^{};]*(?=\{)")
_TRAILING_COMMA = re.compile(
    r"""("(?:[^"\\\r\n]|\\.)*"|//[^\r\n]*|/\*.*?\*/)|,(?=(?:\s|//[^\r\n]*(?=[\r\n])|/\*.*?\*/)*[\]}])""", re.DOTALL
)


def plain(text: str) -> str:
    """The text as it is."""
    return text


def without_macros(text: str) -> str:
    """C or C++ without conditional directives and without the names that stand like attributes.

    Both branches of a conditional remain, and so does a macro that stands where a value may.
    """
    return _ATTRIBUTE.sub(_blank, _DIRECTIVE.sub(_blank, text))


def same_conditionals(old: str, new: str) -> bool:
    """Whether two pieces of C open and close as many conditional directives: if not, they are to be looked at."""
    return _depth(old) == _depth(new)


def _depth(text: str) -> int:
    return sum(1 if found[1] else -1 for found in _CONDITIONAL.finditer(text))


def without_queries(text: str) -> str:
    """CSS whose conditions, which grow faster than the grammar, all read `@media all`."""
    return _QUERY.sub(lambda query: "@media all".ljust(len(query[0])) if len(query[0]) >= 10 else query[0], text)


def without_trailing_commas(text: str) -> str:
    """JSON with comments as the grammar takes it: a comma before a closing bracket becomes a space."""
    return _TRAILING_COMMA.sub(lambda found: found[1] or " ", text)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\r\n]", " ", found[0])
