"""What Python refuses and its grammar for tree-sitter lets pass: empty blocks, odd indentation, a lonely `try`, and
lines that end in the middle of a statement."""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter

from dgemma_lsp.syntax.faults import Fault, children_touching, touching
from dgemma_lsp.syntax.trees import Parsed

_HANDLERS = frozenset(("except_clause", "except_group_clause", "finally_clause", "ERROR"))
_SIMPLE = frozenset(
    (
        "assert_statement", "break_statement", "continue_statement", "decorator", "delete_statement", "exec_statement",
        "expression_statement", "future_import_statement", "global_statement", "import_from_statement",
        "import_statement", "nonlocal_statement", "print_statement", "raise_statement", "return_statement",
        "type_alias_statement",
    )
)  # fmt: skip
_CLAUSED = frozenset(("if_statement", "for_statement", "while_statement", "try_statement"))
_CLAUSES = frozenset(("elif_clause", "else_clause", "except_clause", "except_group_clause", "finally_clause"))
_OVER_LINES = frozenset(("string", "comment", "ERROR"))


def python_faults(parsed: Parsed, start: int, stop: int) -> Iterator[Fault]:
    """Faults of the statements on the lines of [start, stop) and on the next line that holds something."""
    data = parsed.source.data
    first = data.rfind(b"\n", 0, start) + 1
    last = _next_line_end(data, stop)
    for node in touching(parsed.root, first, last):
        if node.type in ("block", "module"):
            head = _first_statement(node)
            if head is None and node.type == "block":
                yield Fault("a block without a statement", node.start_byte, node.end_byte, unfinished=True)
            elif head is not None:
                yield from _misplaced(data, node, head, first, last)
        elif node.type == "try_statement" and not _HANDLERS.intersection(child.type for child in node.children):
            yield Fault("a `try` without `except`", node.start_byte, node.end_byte, unfinished=True)
        for clause in node.children if node.type in _CLAUSED else ():
            if clause.type in _CLAUSES and first <= clause.start_byte <= last:
                outer, inner = _indent(data, node), _indent(data, clause)
                if None not in (outer, inner) and outer != inner:
                    yield Fault("odd indentation", clause.start_byte, clause.start_byte)
        yield from _broken_lines(data, node, first, last)


def _first_statement(block: tree_sitter.Node) -> tree_sitter.Node | None:
    child = block.named_child(0) if block.named_child_count else None
    while child is not None and child.type == "comment":
        child = child.next_named_sibling
    return child


def _next_line_end(data: bytes, byte: int) -> int:
    """The end of the first line after this one that is not blank."""
    end = data.find(b"\n", byte)
    while end >= 0:
        following = data.find(b"\n", end + 1)
        if data[end + 1 : following if following >= 0 else len(data)].strip():
            return following if following >= 0 else len(data)
        end = following
    return len(data)


def _misplaced(data: bytes, block: tree_sitter.Node, head: tree_sitter.Node, first: int, last: int) -> Iterator[Fault]:
    """Statements of the lines [first, last) that begin further in or out than the first one of their block."""
    expected = b"" if block.type == "module" else _indent(data, head)
    for statement in children_touching(block, first, last):
        indent = _indent(data, statement)
        if statement.is_named and statement.type not in ("comment", "ERROR") and indent is not None:
            if expected is None:
                expected = indent
            elif indent != expected and statement.start_byte >= first:
                yield Fault("odd indentation", statement.start_byte, statement.start_byte)


def _indent(data: bytes, statement: tree_sitter.Node) -> bytes | None:
    """The white space before a statement; None when something else stands before it on its line."""
    line = data.rfind(b"\n", 0, statement.start_byte) + 1
    indent = data[line : statement.start_byte].replace(b"\x0c", b"")
    return None if indent.strip(b" \t") else indent


def _broken_lines(data: bytes, node: tree_sitter.Node, first: int, last: int) -> Iterator[Fault]:
    """Line ends in a simple statement, or before the colon of a compound one, without a bracket around or a backslash.

    Where a statement cannot end yet, the grammar takes a line end for a space.
    """
    end = node.end_byte
    if node.type not in _SIMPLE:
        colon = next((child for child in node.children if child.type == ":"), None)
        if colon is None or not any(child.type in ("block", "case_block") for child in node.children):
            return
        end = colon.start_byte
    at = data.find(b"\n", max(node.start_byte, first), min(end, last))
    while at >= 0:
        if not data[max(0, at - 2) : at].endswith((b"\\", b"\\\r")) and not _may_break(node, at):
            yield Fault("a line that ends too early", at, at)
        at = data.find(b"\n", at + 1, min(end, last))


def _may_break(statement: tree_sitter.Node, at: int) -> bool:
    node = statement.descendant_for_byte_range(at, at)
    while node is not None:
        children = node.children
        if node.type in _OVER_LINES or (
            any(child.type in ("(", "[", "{") and child.end_byte <= at for child in children)
            and any(child.type in (")", "]", "}") and child.start_byte >= at for child in children)
        ):
            return True
        if node == statement:
            return False
        node = node.parent
    return False
