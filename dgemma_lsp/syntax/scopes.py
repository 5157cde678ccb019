"""What a place in a document is: code, comment, string or prose, for the rules that say where to offer text."""

from __future__ import annotations

import enum
import time

import tree_sitter

from dgemma_lsp.syntax import languages
from dgemma_lsp.syntax.markdown_blocks import blocks
from dgemma_lsp.syntax.pairs import openers
from dgemma_lsp.syntax.rules import rules_of
from dgemma_lsp.syntax.source import Source
from dgemma_lsp.syntax.trees import Parsed, ParseTimeoutError, Trees


class Scope(enum.Enum):
    CODE = "code"
    COMMENT = "comment"
    STRING = "string"
    """Between the quotes of a string or a character; docstrings and here documents are strings, what is
    interpolated is code."""
    PROSE = "prose"
    """The text of markdown, HTML and JSX."""


_CODE = frozenset(("interpolation", "template_substitution", "expansion", "command_substitution", "jsx_expression"))
_PROSE = frozenset(("text", "jsx_text"))
_STRINGS = frozenset(
    (
        "attribute_value", "block_scalar", "char_literal", "character_literal", "double_quote_scalar",
        "heredoc_body", "quoted_attribute_value", "rune_literal", "single_quote_scalar", "system_lib_string",
    )
)  # fmt: skip
_QUOTES = ('"', "'", "`")


def scope_at(trees: Trees, language: str, document: str, offset: int, seconds: float = 0.2) -> Scope | None:
    """What is at a character offset of a document; None where nobody can tell: no grammar, no time, too large.

    A place at the end of a line comment belongs to it, one outside of a string's quotes does not belong to the
    string.
    """
    language = languages.known_as(language)
    grammar = languages.grammar_of(language)
    if grammar is None:
        return None
    if grammar.name == "markdown":
        return _markdown(document, offset)
    source = Source.of(rules_of(language).readings[0](document))
    deadline = time.monotonic() + seconds
    try:
        parsed = trees.parse(grammar, source, deadline)
        if parsed is None:
            return None
        at = source.to_byte(offset)
        found = _inside(parsed, at)
        if found is Scope.CODE and parsed.root.has_error:
            return _unclosed(trees, parsed, document[:offset], at, deadline)
    except ParseTimeoutError:
        return None
    return found


def _inside(parsed: Parsed, at: int) -> Scope:
    # What the place is in reaches to it from the left and, unless it is the end of a line comment, beyond it.
    node = parsed.root.descendant_for_byte_range(max(0, at - 1), at)
    while node is not None:
        kind = _kind(node, parsed, at)
        if kind is not None:
            return kind
        node = node.parent
    return Scope.CODE


def _kind(node: tree_sitter.Node, parsed: Parsed, at: int) -> Scope | None:
    within = node.start_byte < at < node.end_byte
    if "comment" in node.type:
        open_ended = at == node.end_byte and not parsed.source.data[node.start_byte : at].endswith((b"*/", b"-->"))
        return Scope.COMMENT if within or open_ended else None
    if not within:
        return None
    if node.type in _CODE:
        return Scope.CODE
    if node.type in _PROSE:
        return Scope.PROSE
    if node.type in _STRINGS or "string" in node.type:
        return Scope.STRING
    return None


def _unclosed(trees: Trees, parsed: Parsed, before: str, at: int, deadline: float) -> Scope:
    """What a place is where the text has errors: a string that is being typed has no node yet."""
    prefix = trees.variant(parsed, Source.of(before), deadline)
    opened = openers(prefix, 0)
    if not opened or not opened[-1].closer.startswith(_QUOTES):
        return Scope.CODE
    opener = opened[-1]
    over_lines = len(opener.closer) > 1 or opener.closer == "`"
    return Scope.STRING if over_lines or b"\n" not in prefix.source.data[opener.at : at] else Scope.CODE


def _markdown(document: str, offset: int) -> Scope:
    for block in blocks(document):
        if block.content <= offset < block.stop or (offset == block.stop and not block.closed):
            return Scope.COMMENT if block.kind == "comment" else Scope.CODE
    return Scope.PROSE
