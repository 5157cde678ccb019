"""Places in a file as options name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dgemma_lsp.files import SourceFile


def offset_of(source: SourceFile, option: str, spec: str) -> int:
    """The offset of `LINE:COL`. Raises `PositionError` that names the option."""
    from dgemma_lsp.files import shown
    from dgemma_lsp.text.lines import PositionError, offset_at, parse_position

    position = parse_position(spec)
    try:
        return offset_at(source.text, position)
    except PositionError as error:
        raise PositionError(f"{option} {position} is outside of {shown(source.path)}: {error}") from None


def range_of(source: SourceFile, option: str, spec: str) -> tuple[int, int]:
    """The offsets of `LINE:COL-LINE:COL`. Raises `PositionError` that names the option."""
    from dgemma_lsp.text.lines import PositionError

    first, dash, last = spec.partition("-")
    if not dash:
        raise PositionError(f"{option} {spec} is no range; write LINE:COL-LINE:COL, such as 3:1-8:1")
    start, end = offset_of(source, option, first), offset_of(source, option, last)
    if end < start:
        raise PositionError(f"{option} {spec} ends before it begins; swap its ends")
    if start == end:
        raise PositionError(f"{option} {spec} is empty; its end is the place behind the last character")
    return start, end
