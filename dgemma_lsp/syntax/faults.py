"""What is wrong with a text: where the parser needed recovery, and what a lenient grammar lets pass."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import attrs
import tree_sitter

from dgemma_lsp.syntax.trees import Parsed

MOST = 400
"""Error nodes that are looked at; a text with more is judged by the first ones."""


@attrs.frozen
class Fault:
    """One fault at [start, stop) of a source, in bytes but for markdown; something missing is empty.

    `kind` is for people, but for the parser's own "error" and "missing TOKEN". An `unfinished` fault is an opener that
    waits for more text, and harms nobody while its author goes on typing. Errors of one `shape` consist of the same.
    """

    kind: str
    start: int
    stop: int
    unfinished: bool = attrs.field(default=False, eq=False)
    shape: str = attrs.field(default="", eq=False)


Check = Callable[[Parsed, int, int], Iterable[Fault]]
"""Finds faults that concern the bytes [start, stop) of a source; it may report others as well."""


def parser_faults(parsed: Parsed) -> list[Fault]:
    """The ERROR and MISSING nodes, outer ones before inner ones."""
    return [
        Fault(
            f"missing {node.type}" if node.is_missing else "error", node.start_byte, node.end_byte, shape=_shape(node)
        )
        for node in error_nodes(parsed.root)
    ]


def _shape(node: tree_sitter.Node) -> str:
    """What errors of one kind have in common: the node around it and what it consists of."""
    around = node.parent.type if node.parent else ""
    if node.is_missing:
        previous = node.prev_sibling
        return f"{around}/{previous.type if previous else ''}/{node.type}"
    return f"{around}/{' '.join(child.type for child in node.children[:8])}"


def error_nodes(root: tree_sitter.Node) -> list[tree_sitter.Node]:
    """At most MOST of them, in the order of the text."""
    found: list[tree_sitter.Node] = []
    waiting = [root] if root.has_error else []
    while waiting and len(found) < MOST:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            found.append(node)
        if node.has_error:
            waiting.extend(child for child in reversed(node.children) if child.has_error or child.is_missing)
    return found


def touching(root: tree_sitter.Node, start: int, stop: int) -> Iterator[tree_sitter.Node]:
    """The nodes that overlap or touch the bytes [start, stop], in the order of the text, outer ones first."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if node.child_count:
            waiting.extend(reversed(children_touching(node, start, stop)))


def children_touching(node: tree_sitter.Node, start: int, stop: int) -> list[tree_sitter.Node]:
    """The children of a node that overlap or touch the bytes [start, stop].

    tree-sitter's own way to a child by its byte passes over some behind tokens that a grammar hides, and ends the
    process at a byte past the node's end.
    """
    children = node.children
    first = bisect.bisect_left(children, start, key=lambda child: child.end_byte)
    last = bisect.bisect_right(children, stop, key=lambda child: child.start_byte)
    return children[first:last]


Place = tuple[str, int]
Placed = tuple[str, Place, Place]


@attrs.frozen
class Frame:
    """Coordinates that hold for every text made of the same beginning, any middle, and the same end.

    The middle is [start, stop) of a source of `length`, in the unit of the faults.
    """

    start: int
    stop: int
    length: int

    def placed(self, fault: Fault) -> Placed:
        return fault.kind, self._place(fault.start), self._place(fault.stop)

    def _place(self, byte: int) -> Place:
        if byte < self.start:
            return "before", byte
        return ("after", self.length - byte) if byte > self.stop else ("middle", byte - self.start)


def fresh(faults: list[Fault], frame: Frame, known: Iterable[Placed]) -> list[Fault]:
    """The faults that are not among the known ones, those of a text with another middle.

    A fault that begins or ends at the middle or in it is never a known one.
    """
    left = Counter(known)
    found = []
    for fault in faults:
        placed = frame.placed(fault)
        if "middle" not in (placed[1][0], placed[2][0]) and left[placed] > 0:
            left[placed] -= 1
        else:
            found.append(fault)
    return found
