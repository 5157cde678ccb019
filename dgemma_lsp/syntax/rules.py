"""What each language asks for beyond its grammar."""

from __future__ import annotations

import attrs

from dgemma_lsp.syntax import bash_rules, json_rules, markup_rules, python_rules
from dgemma_lsp.syntax.faults import Check
from dgemma_lsp.syntax.readings import Reading, plain, without_macros, without_queries, without_trailing_commas


@attrs.frozen
class Rules:
    """`checks` find what the grammar lets pass. An edit that is clean in one of the `readings` is clean.

    `lagging`: the grammar lags so far behind the language that an error whose like is found elsewhere in the document
    says nothing. `strict`: a text without errors must also be strict JSON, if it was before.
    """

    checks: tuple[Check, ...] = ()
    readings: tuple[Reading, ...] = (plain,)
    lagging: bool = False
    strict: bool = False


_PLAIN = Rules()
_MACROS = Rules(readings=(plain, without_macros), lagging=True)
_JSX = Rules(checks=(markup_rules.jsx_faults,))

_RULES = {
    "c": _MACROS,
    "cpp": _MACROS,
    "css": Rules(readings=(plain, without_queries), lagging=True),
    "html": Rules(checks=(markup_rules.html_faults,), lagging=True),
    "javascript": _JSX,
    "javascriptreact": _JSX,
    "json": Rules(checks=(json_rules.json_faults,), strict=True),
    "jsonc": Rules(readings=(without_trailing_commas,)),
    "python": Rules(checks=(python_rules.python_faults,)),
    "shellscript": Rules(checks=(bash_rules.bash_faults,)),
    "typescript": Rules(lagging=True),
    "typescriptreact": Rules(checks=(markup_rules.jsx_faults,), lagging=True),
}


def rules_of(language: str) -> Rules:
    """By language id."""
    return _RULES.get(language, _PLAIN)
