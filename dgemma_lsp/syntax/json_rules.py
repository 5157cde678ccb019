"""Strict JSON (RFC 8259), which the grammar is laxer than."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from dgemma_lsp.syntax.faults import Fault, touching
from dgemma_lsp.syntax.trees import Parsed

_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')


def json_faults(parsed: Parsed, start: int, stop: int) -> Iterator[Fault]:
    """What the grammar accepts around or in [start, stop) and JSON does not."""
    values = 0
    for node in parsed.root.named_children:
        if node.type not in ("comment", "ERROR"):
            values += 1
            if values > 1:
                yield Fault("a second value", node.start_byte, node.end_byte)
        if values > 8:
            break
    if not values and not parsed.root.has_error:
        yield Fault("no value at all", 0, len(parsed.source.data), unfinished=True)
    for node in touching(parsed.root, start, stop):
        if node.is_missing:
            continue
        text = parsed.source.data[node.start_byte : node.end_byte]
        if node.type == "comment":
            yield Fault("a comment", node.start_byte, node.end_byte)
        elif (node.type == "number" and not _NUMBER.fullmatch(text)) or (
            node.type == "string" and not node.has_error and not _STRING.fullmatch(text)
        ):
            yield Fault(f"a malformed {node.type}", node.start_byte, node.end_byte)


def strict_error(text: str) -> int | None:
    """The character offset where a text stops being JSON; None when it is JSON, or nested too deeply to tell."""
    try:
        json.loads(text, parse_constant=_refuse, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        return error.pos
    except RecursionError:
        return None
    except _RefusedError:
        return 0
    return None


class _RefusedError(Exception):
    pass


def _refuse(constant: str) -> None:
    raise _RefusedError(constant)
