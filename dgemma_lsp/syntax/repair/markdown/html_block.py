"""How HTML blocks begin and end (CommonMark 4.6)."""

from __future__ import annotations

import re

_TYPES = (
    (
        re.compile(r"<(?:script|pre|style|textarea)(?:[\s>]|\Z)", re.I),
        re.compile(r"</(?:script|pre|style|textarea)>", re.I),
    ),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
)
_BLOCK_TAG = re.compile(
    r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|"
    r"dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|"
    r"main|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|"
    r"title|tr|track|ul)(?:[\s>]|/>|\Z)",
    re.I,
)
_ANY_TAG = re.compile(
    r"(?:<[A-Za-z][A-Za-z0-9-]*(?:\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*(?:[^\s\"'=<>`]+|'[^']*'|\"[^\"]*\"))?)*\s*/?>|"
    r"</[A-Za-z][A-Za-z0-9-]*\s*>)\s*\Z"
)


def html_block(text: str, begin: int, end: int, paragraph: bool) -> tuple[str, re.Pattern[str] | None]:
    """What the line [begin, end) begins, comment, html or nothing, and what ends it; None is a blank line.

    A tag that is no block's does not interrupt a `paragraph`.
    """
    for opener, closer in _TYPES:
        if opener.match(text, begin, end):
            return "comment" if opener.pattern == "<!--" else "html", closer
    if _BLOCK_TAG.match(text, begin, end) or (not paragraph and _ANY_TAG.match(text, begin, end)):
        return "html", None
    return "", None
