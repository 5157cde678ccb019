"""Screens of a terminal as an SVG that shows one after the other."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

CELL, LINE = 8.4, 18
"""Pixels of a character, for fonts of 14 pixels."""
FOREGROUND, BACKGROUND = "#e0e2ea", "#14161b"
SGR = re.compile(r"\x1b\[([\d;:]*)m|\x1b[()][0B]|([\x0e\x0f])")
"""What sets colours, in what tmux captures."""

Frame = tuple[str, int]
"""A screen, and for how many milliseconds it is seen."""


def svg(frames: Sequence[Frame], columns: int, rows: int) -> str:
    """Screens with their colours as a drawing, one after the other; where nothing moves, the one before the last."""
    total, start, parts = sum(ms for _, ms in frames), 0, []
    for number, (shown, ms) in enumerate(frames):
        times = {0: "none", start / total: "inline", (start + ms) / total: "none"}
        times.pop(1, None)
        start += ms
        values, at = ";".join(times.values()), ";".join(f"{time:.4f}".rstrip("0").rstrip(".") for time in times)
        moves = f'<animate attributeName="display" values="{values}" keyTimes="{at}" calcMode="discrete"'
        moves += f' dur="{total}ms" repeatCount="indefinite"/>\n'
        hidden = "" if number == max(len(frames) - 2, 0) else ' display="none"'
        parts.append(f"<g{hidden}>\n{moves if len(frames) > 1 else ''}{_drawing(shown)}\n</g>")
    width, height = columns * CELL + 16, rows * LINE + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-size="14"'
        ' font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" xml:space="preserve">\n'
        f'<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>\n<g transform="translate(8 8)">\n'
        + "\n".join(parts)
        + "\n</g>\n</svg>\n"
    )


def _drawing(shown: str) -> str:
    rows, boxes, texts = shown.rstrip("\n").split("\n"), [], []
    style: dict[str, object] = {}
    for row, line in enumerate(rows):
        column = 0
        for piece, codes in _runs(line):
            style = _styled(style, codes)
            ink, paper = style.get("fg", FOREGROUND), style.get("bg", BACKGROUND)
            if style.get("reverse"):
                ink, paper = paper, ink
            x, y, width = column * CELL, row * LINE, len(piece) * CELL
            if paper != BACKGROUND:
                boxes.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{LINE}" fill="{paper}"/>')
            if piece.strip():
                weight = ' font-weight="bold"' if style.get("bold") else ""
                place = f'x="{x:.1f}" y="{y + 13}" textLength="{width:.1f}"'
                # Blanks that are not would be left out at the ends, and then the rest is stretched.
                said = html.escape(piece).replace(" ", "\u00a0")
                texts.append(f'<text {place} fill="{ink}"{weight}>{said}</text>')
            column += len(piece)
    return "\n".join([*boxes, *texts])


def _runs(line: str) -> list[tuple[str, list[int]]]:
    """Pieces of text, each with the codes before it."""
    runs, codes, at = [], [], 0
    for found in SGR.finditer(line):
        if found.start() > at:
            runs.append((line[at : found.start()], codes))
            codes = []
        if found[1] is not None:
            codes = [*codes, *(int(code or 0) for code in re.split("[;:]", found[1]))]
        at = found.end()
    return [*runs, (line[at:], codes)]


def _styled(style: dict[str, object], codes: list[int]) -> dict[str, object]:
    style, codes = dict(style), list(codes)
    while codes:
        code = codes.pop(0)
        if code == 0:
            style = {}
        elif code in (1, 7):
            style["bold" if code == 1 else "reverse"] = True
        elif code in (38, 48) and codes[:1] == [2]:
            red, green, blue = codes[-3:] if len(codes) == 5 else codes[1:4]
            del codes[:4]
            style["fg" if code == 38 else "bg"] = f"#{red:02x}{green:02x}{blue:02x}"
        elif code in (39, 49):
            style.pop("fg" if code == 39 else "bg", None)
        elif code == 27:
            style.pop("reverse", None)
    return style
