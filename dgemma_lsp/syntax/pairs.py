"""What a text opens and closes: brackets, quotes, tags and the keywords that come in pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs
import tree_sitter

from dgemma_lsp.syntax.faults import error_nodes, touching
from dgemma_lsp.syntax.markup_rules import VOID
from dgemma_lsp.syntax.trees import Parsed

_BRACKETS = {
    "(": ")", "[": "]", "{": "}", "${": "}", "$(": ")", "#{": "}", "[[": "]]", "((": "))", "<(": ")", ">(": ")",
    "#[": "]", "#![": "]", "<": ">",
}  # fmt: skip
_CLOSERS = frozenset(_BRACKETS.values())
_QUOTES = frozenset(('"', "'", "`", '"""', "'''"))
_DIRECTIVES = frozenset(("#if", "#ifdef", "#ifndef"))
_KEYWORDS = {"bash": {"if": "\nfi\n", "case": "\nesac\n", "do": "\ndone\n"}}
_LIFETIMES = frozenset(("lifetime", "label", "loop_label"))
_TAG = re.compile(r"</?\s*([^\s/>]*)")
_TAGS = frozenset(("start_tag", "end_tag", "jsx_opening_element", "jsx_closing_element"))
_STRING_PREFIX = "rRbBfFuUtT"


@attrs.frozen
class Opener:
    """Something opened and not closed: at the byte `at`, what was written, and what closes it."""

    at: int
    text: str
    closer: str


@attrs.define
class _Stack:
    """Pairs openers with closers in the order of the text."""

    parsed: Parsed
    open: list[Opener] = attrs.field(factory=list)
    surplus: list[int] = attrs.field(factory=list)

    def take(self, node: tree_sitter.Node) -> bool:
        """Whether the node is an opener or closer by itself, so that what is in it does not matter."""
        kind, grammar = node.type, self.parsed.grammar.name
        keywords = _KEYWORDS.get(grammar, {})
        if node.is_missing:
            return True
        if kind in _TAGS:
            name = _TAG.match(self._text(node))
            closer = f"</{name[1] if name else ''}>"
            if kind in ("end_tag", "jsx_closing_element"):
                self._close(closer, node)
            elif not (grammar == "html" and name and name[1].lower() in VOID):
                self._push(node, closer)
            return kind not in ("start_tag", "jsx_opening_element") or not node.has_error
        if kind == "string_start":
            self._push(node, self._text(node).lstrip(_STRING_PREFIX))
        elif kind == "string_end":
            self._close(self._text(node), node)
        elif kind in _QUOTES:
            self._quote(kind, node)
        elif kind in _CLOSERS:
            if not _is_operator(node):
                self._close(kind, node)
        elif kind in _BRACKETS:
            if not _is_operator(node):
                self._push(node, _BRACKETS[kind])
        elif kind in keywords and not node.is_named:
            self._push(node, keywords[kind])
        elif f"\n{kind}\n" in keywords.values() and not node.is_named:
            self._close(f"\n{kind}\n", node)
        elif kind in _DIRECTIVES:
            self._push(node, "\n#endif\n")
        elif kind == "#endif":
            self._close("\n#endif\n", node)
        else:
            return False
        return True

    def _quote(self, kind: str, node: tree_sitter.Node) -> None:
        around = node.parent
        if around is None or around.type in _LIFETIMES:
            return
        if around.is_error:
            closes = bool(self.open) and self.open[-1].closer == kind
        else:
            closes = node.start_byte > around.start_byte
        if closes:
            self._close(kind, node)
        else:
            self._push(node, kind)

    def _push(self, node: tree_sitter.Node, closer: str) -> None:
        self.open.append(Opener(node.start_byte, self._text(node), closer))

    def _close(self, closer: str, node: tree_sitter.Node) -> None:
        for depth in range(len(self.open) - 1, -1, -1):
            if self.open[depth].closer == closer:
                del self.open[depth:]
                return
            if self.open[depth].closer != ">":
                break
        if closer != ">":
            self.surplus.append(node.start_byte)

    def _text(self, node: tree_sitter.Node) -> str:
        end = min(node.end_byte, node.start_byte + 80)
        return self.parsed.source.data[node.start_byte : end].decode(errors="replace")


def _is_operator(node: tree_sitter.Node) -> bool:
    """Less-than and greater-than are no brackets, and the parenthesis after a pattern of a `case` has no partner."""
    return node.parent is not None and node.parent.type in ("binary_expression", "case_item", "test_operator")


def pairs(prefix: Parsed, since: int) -> tuple[list[Opener], list[int]]:
    """Of a text from the byte `since` to its end: what it leaves open, outermost first, and the bytes of closers of
    what was open before."""
    stack = _Stack(prefix)
    done = since
    for node in touching(prefix.root, since, len(prefix.source.data)):
        if node.start_byte >= done and stack.take(node):
            done = max(done, node.end_byte)
    return stack.open, stack.surplus


def openers(prefix: Parsed, since: int) -> list[Opener]:
    """What is open at the end of a text, outermost first, as far as it matters after the byte `since`.

    At an unexpected end the parser makes one flat error node of all that it holds unfinished, or puts what it
    misses.
    """
    found: list[Opener] = []
    for node in error_nodes(prefix.root):
        if node.end_byte < since:
            continue
        if node.is_missing:
            found.extend(_met_by(node))
            continue
        stack = _Stack(prefix)
        for child in node.children:
            stack.take(child)
        found.extend(stack.open)
    return sorted(set(found), key=lambda opener: opener.at)


def _met_by(missing: tree_sitter.Node) -> Iterator[Opener]:
    """The opener beside a closer that the parser puts."""
    if missing.type in _CLOSERS and missing.parent is not None:
        for sibling in missing.parent.children:
            if _BRACKETS.get(sibling.type) == missing.type:
                yield Opener(sibling.start_byte, sibling.type, missing.type)
                return


def closing(opened: list[Opener]) -> str:
    """What closes everything that is open."""
    return "".join(opener.closer for opener in reversed(opened))
