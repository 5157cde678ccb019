"""Keywords of the shell without their partners, which its grammar takes for commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dgemma_lsp.syntax.faults import Fault
from dgemma_lsp.syntax.trees import Parsed

_RESERVED = re.compile(rb"(?:^|[;&|\n])[ \t]*(then|elif|else|fi|do|done|esac)(?=[\s;&|)]|\Z)")


def bash_faults(parsed: Parsed, start: int, stop: int) -> Iterator[Fault]:
    """Reserved words that stand as commands from the line of `start` on."""
    data = parsed.source.data
    for word in _RESERVED.finditer(data, data.rfind(b"\n", 0, start) + 1):
        node = parsed.root.descendant_for_byte_range(word.start(1), word.end(1) - 1)
        if node is not None and node.type == "word" and node.byte_range == word.span(1):
            yield Fault(f"`{word[1].decode()}` without its partner", *word.span(1))
