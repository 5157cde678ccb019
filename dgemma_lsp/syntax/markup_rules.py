"""Tags that do not match, which the grammars of HTML and JSX let pass."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import tree_sitter

from dgemma_lsp.syntax.faults import Fault, touching
from dgemma_lsp.syntax.trees import Parsed

VOID = frozenset(
    (
        "area", "base", "basefont", "bgsound", "br", "col", "command", "embed", "frame", "hr", "image", "img", "input",
        "keygen", "link", "meta", "nextid", "param", "source", "track", "wbr",
    )
)  # fmt: skip
"""HTML elements without an end tag (13.1.2 of the standard, and the old ones that the grammar knows)."""

_MAY_STAY_OPEN = VOID | frozenset(
    (
        "body", "caption", "colgroup", "dd", "dt", "head", "html", "li", "optgroup", "option", "p", "rp", "rt", "tbody",
        "td", "tfoot", "th", "thead", "tr",
    )
)  # fmt: skip
"""Void elements, and those whose end tag may be left out (13.1.2.4)."""


def html_faults(parsed: Parsed, start: int, stop: int) -> Iterator[Fault]:
    """End tags without a start from `start` on, and elements around or in [start, stop) that are never closed."""
    cursor = tree_sitter.QueryCursor(_stray(parsed.tree.language))
    cursor.set_byte_range(start, len(parsed.source.data))
    for node in cursor.captures(parsed.root).get("end", []):
        yield Fault("an end tag without its start", node.start_byte, node.end_byte)
    for node in touching(parsed.root, start, stop):
        if node.type == "element" and node.child_count and not _may_stay_open(node):
            yield Fault("a start tag without its end", node.children[0].start_byte, node.end_byte, unfinished=True)


def _may_stay_open(element: tree_sitter.Node) -> bool:
    first, last = element.children[0], element.children[-1]
    name = _name(first).decode(errors="replace").lower()
    return first.type != "start_tag" or last.type == "end_tag" or name in _MAY_STAY_OPEN


@functools.cache
def _stray(language: tree_sitter.Language) -> tree_sitter.Query:
    return tree_sitter.Query(language, "(erroneous_end_tag) @end")


def jsx_faults(parsed: Parsed, start: int, stop: int) -> Iterator[Fault]:
    """Elements around or in [start, stop) that are closed by another's name."""
    for node in touching(parsed.root, start, stop):
        if node.type == "jsx_element":
            opened, closed = node.children[0], node.children[-1]
            if closed.type == "jsx_closing_element" and _name(opened) != _name(closed):
                yield Fault("tags that do not match", closed.start_byte, closed.end_byte)


def _name(tag: tree_sitter.Node) -> bytes:
    for child in tag.named_children:
        if child.type in ("tag_name", "identifier", "member_expression", "jsx_namespace_name", "nested_identifier"):
            return child.text or b""
    return b""
