"""Syntax trees of texts, parsed anew only where a text differs from one that was parsed before."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import attrs
import tree_sitter

from dgemma_lsp.syntax import languages
from dgemma_lsp.syntax.source import Source, Splice

_PARSE = tree_sitter.LogType.PARSE

CHUNK = 1 << 16
"""Bytes that the parser reads at a time."""

LEAST_SHARED = 0.5
"""Texts that share less than this of their bytes are parsed apart."""


class ParseTimeoutError(Exception):
    """The parser did not finish in the time it was given."""


@attrs.frozen
class Parsed:
    """A tree and the source it was made from."""

    grammar: languages.Grammar
    source: Source
    tree: tree_sitter.Tree

    @property
    def root(self) -> tree_sitter.Node:
        return self.tree.root_node


class Trees:
    """Parsers, one a grammar, and the trees of the last texts, at most `remembered` a grammar.

    Safe from several threads: a lock lets one parse at a time (the parser holds the interpreter's lock anyway).
    Trees are never changed once they are handed out.
    """

    def __init__(self, remembered: int = 6) -> None:
        self._remembered = remembered
        self._parsers: dict[languages.Grammar, tree_sitter.Parser] = {}
        self._known: dict[languages.Grammar, OrderedDict[bytes, Parsed]] = {}
        self._lock = threading.RLock()

    def parse(self, grammar: languages.Grammar, source: Source, deadline: float) -> Parsed | None:
        """The tree of a document, remembered for the next text that is like it; None without the grammar.

        `deadline` is a `time.monotonic` instant; past it ParseTimeoutError is raised.
        """
        with self._lock:
            known = self._known.setdefault(grammar, OrderedDict())
            if source.data in known:
                known.move_to_end(source.data)
                return known[source.data]
            parsed = self._parse(grammar, source, self._nearest(known, source.data), deadline)
            if parsed is not None:
                known[source.data] = parsed
                while len(known) > self._remembered:
                    known.popitem(last=False)
            return parsed

    def variant(self, near: Parsed, source: Source, deadline: float) -> Parsed:
        """The tree of a text that differs a little from a parsed one; it is not remembered."""
        with self._lock:
            parser = self._parsers[near.grammar]
            return Parsed(near.grammar, source, _run(parser, source, near, lambda: time.monotonic() > deadline))

    def listen(self, near: Parsed, source: Source, heard: Callable[[str], None], done: Callable[[], bool]) -> None:
        """Parse a text that differs a little from a parsed one and hear the log, but for the lexer's part of it, until
        `done` says so.

        The log of a long parse is slow: `done` must come soon.
        """
        with self._lock:
            parser = self._parsers[near.grammar]
            # Most messages are the lexer's, one a character.
            parser.logger = lambda kind, message: kind is _PARSE and heard(message)  # pyright: ignore[reportAttributeAccessIssue]
            try:
                _run(parser, source, near, done)
            except ParseTimeoutError:
                return
            finally:
                del parser.logger

    def _nearest(self, known: OrderedDict[bytes, Parsed], data: bytes) -> Parsed | None:
        best, shared = None, int(LEAST_SHARED * len(data))
        for parsed in reversed(known.values()):
            splice = Splice.between(parsed.source.data, data)
            same = len(data) - (splice.stop - splice.start)
            if same > shared:
                best, shared = parsed, same
        return best

    def _parse(self, grammar: languages.Grammar, source: Source, near: Parsed | None, deadline: float) -> Parsed | None:
        parser = self._parsers.get(grammar)
        if parser is None:
            language = languages.load(grammar)
            if language is None:
                return None
            parser = self._parsers[grammar] = tree_sitter.Parser(language)
        return Parsed(grammar, source, _run(parser, source, near, lambda: time.monotonic() > deadline))


def _run(parser: tree_sitter.Parser, source: Source, near: Parsed | None, stop: Callable[[], bool]) -> tree_sitter.Tree:
    data = source.data
    try:
        return parser.parse(
            lambda offset, point: data[offset : offset + CHUNK],
            # True stops the parser.
            progress_callback=lambda offset, has_error: stop(),
            **_against(near, source),
        )
    except ValueError as error:
        parser.reset()
        raise ParseTimeoutError("the parser was stopped") from error


def _against(near: Parsed | None, source: Source) -> dict[str, Any]:
    """The tree to begin with, as an argument: the parser takes no None."""
    return {} if near is None else {"old_tree": _edited(near, source)}


def _edited(near: Parsed, source: Source) -> tree_sitter.Tree:
    splice = Splice.between(near.source.data, source.data)
    tree = near.tree.copy()
    tree.edit(
        splice.start,
        splice.end,
        splice.stop,
        near.source.point(splice.start),
        near.source.point(splice.end),
        source.point(splice.stop),
    )
    return tree
