"""`fill --trace`: one HTML page that shows a fill pass by pass and needs nothing but a browser, not even a network."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from string import Template
from typing import Any

import attrs

from dgemma_engine.wire import Cell, Draft, Filled

SCRIPTS = ("text.js", "stage.js", "inspector.js", "heatmap.js", "figures.js", "main.js")
"""Parts of the page's one script, in order."""

LINES_AROUND = 20
CHARS_AROUND = 4_000
"""What is kept of the document on either side of the hole, whichever is less; the page says what was left out."""

CHOICE_CELLS = 100_000
"""Rows times passes whose likeliest tokens are kept, some 6 MB; beyond, those of every n-th pass are, and the page
says so."""

FILLER = "<|filler|>"
STATES = {"pinned": "p", "accepted": "a", "noise": "n"}


def trace_page(
    title: str, before: str, after: str, drafts: Sequence[Draft], filled: Filled, texts: Sequence[str]
) -> str:
    """The page, as text to be written in UTF-8.

    `before` and `after` are all of the document on either side of the hole (lines are counted in them), `drafts` those
    of a fill with `trace`, the last one the canvas that was chosen, as it is offered. `texts` are the replacements of
    `filled.candidates`, in their order. Nothing in any of them can become markup or script.
    """
    style = _read("page.css")
    script = "\n".join(_read(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    trace = _trace(title, before, after, drafts, filled, texts)
    return Template(_read("page.html")).substitute(policy=policy, style=style, script=script, trace=_inert_json(trace))


def _read(name: str) -> str:
    return (resources.files("dgemma_lsp") / "trace_page" / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """The one inline element that a Content-Security-Policy allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inert_json(value: object) -> str:
    """JSON in ASCII without a character that HTML reads: no `</script>`, no `<!--`, no entity."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _trace(
    title: str, before: str, after: str, drafts: Sequence[Draft], filled: Filled, texts: Sequence[str]
) -> dict[str, Any]:
    strings, rounds = Strings(), _rounds(drafts)
    before, after = (text.replace("\r\n", "\n").replace("\r", "\n") for text in (before, after))
    shown_before, shown_after = _end(before), _start(after)
    traced = sum(bool(cell.choices) for draft in drafts for cell in draft.cells)
    every = max(1, math.ceil(traced / CHOICE_CELLS))
    canvases = [
        _canvas([draft for draft in drafts if draft.canvas == number], turn, strings, every)
        | _on_canvas(next(draft for draft in drafts if draft.canvas == number).cells, shown_before, shown_after)
        for number, turn in rounds.items()
    ]
    return {
        "title": title,
        "before": {"text": shown_before, "line": before.count("\n") - shown_before.count("\n") + 1}
        | _left_out(before, shown_before),
        "after": {"text": shown_after} | _left_out(after, shown_after),
        "canvases": canvases,
        "chosen": list(rounds).index(drafts[-1].canvas) if drafts else 0,
        "every": every,
        "passes": list(_pass_times(drafts, rounds, filled)),
        "candidates": [
            {"text": text, "score": _number(one.score), "passes": one.passes, "finish": one.finish}
            for text, one in zip(texts, filled.candidates, strict=True)
        ],
        "ms": {stage: _number(ms) for stage, ms in filled.ms.items()},
        "tokens": filled.tokens,
        "strings": strings.all,
    }


@attrs.define
class Strings:
    """Every text once: the same few tokens stand in the cells and choices of every pass."""

    _places: dict[str, int] = attrs.field(factory=dict)

    def __call__(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    @property
    def all(self) -> list[str]:
        return list(self._places)


def _canvas(drafts: Sequence[Draft], turn: int, strings: Strings, every: int) -> dict[str, Any]:
    return {
        "rows": max(sum(cell.state != "pinned" for cell in draft.cells) for draft in drafts),
        "turn": turn,
        "written": _written(drafts) if turn else "",
        "frames": [_frame(draft, strings, (draft.pass_index - 1) % every == 0) for draft in drafts],
    }


def _frame(draft: Draft, strings: Strings, with_choices: bool) -> dict[str, Any]:
    """One draft, a list per property: the names of properties would be most of the file."""
    cells = _hole_cells(draft.cells)
    frame: dict[str, Any] = {
        "pass": 0 if _offered(draft) else draft.pass_index,
        "of": draft.passes,
        "ms": _number(draft.ms),
        "reads": [strings(text) for text in draft.texts],
        "cells": [strings(cell.text) for cell in cells],
        "states": "".join(STATES[cell.state] for cell in cells),
        "entropy": [_number(cell.entropy) for cell in cells],
    }
    if with_choices and any(cell.choices for cell in cells):
        frame["choices"] = [
            [part for choice in cell.choices for part in (strings(choice.text), _number(choice.probability))]
            for cell in cells
        ]
    return frame


def _hole_cells(cells: Sequence[Cell]) -> Sequence[Cell]:
    """From the first free one to the last; the document is drawn around them."""
    free = [index for index, cell in enumerate(cells) if cell.state != "pinned"]
    return cells[free[0] : free[-1] + 1] if free else ()


def _offered(draft: Draft) -> bool:
    """Whether the draft shows a canvas as it was chosen: the model did not read it."""
    return all(cell.entropy is None and cell.state != "noise" for cell in draft.cells)


def _on_canvas(cells: Sequence[Cell], before: str, after: str) -> dict[str, int]:
    """How many characters next to the hole are pinned on the canvas, not only known by the prefix or not at all."""
    head = cells[0].text if cells and cells[0].state == "pinned" else ""
    tail = cells[-1].text if cells and cells[-1].state == "pinned" else ""
    return {"head": _alike(reversed(head), reversed(before)), "tail": _alike(tail, after)}


def _alike(one: Iterable[str], other: Iterable[str]) -> int:
    """Characters that two texts have in common at their start."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _rounds(drafts: Sequence[Draft]) -> dict[int, int]:
    """Which canvases ran side by side: a canvas that comes when others have gone on is of the next round."""
    rounds: dict[int, int] = {}
    current, gone_on = 0, False
    for draft in drafts:
        if draft.canvas in rounds:
            gone_on = True
        else:
            current, gone_on = current + gone_on, False
            rounds[draft.canvas] = current
    return rounds


def _written(drafts: Sequence[Draft]) -> str | None:
    """What earlier canvases have written of the hole, or None when the passes do not tell.

    The text of a draft is that and the likeliest tokens of the pass: up to the first filler where the hole may
    shrink, else of all rows, fillers left out. Of the two it is the one on which all passes agree.
    """
    for own in (_likeliest, _likeliest_to_filler):
        found = {
            draft.texts[0][: len(draft.texts[0]) - len(text)]
            for draft in drafts
            if len(draft.texts) == 1 and (text := own(draft)) is not None and draft.texts[0].endswith(text)
        }
        if len(found) == 1:
            return found.pop()
    return None


def _likeliest(draft: Draft) -> str | None:
    rows = [[choice.text for choice in cell.choices if choice.text != FILLER] for cell in draft.cells if cell.choices]
    return "".join(row[0] for row in rows) if rows and all(rows) else None


def _likeliest_to_filler(draft: Draft) -> str | None:
    best = [cell.choices[0].text for cell in draft.cells if cell.choices]
    return "".join(best[: best.index(FILLER)] if FILLER in best else best) if best else None


def _pass_times(drafts: Sequence[Draft], rounds: dict[int, int], filled: Filled) -> Iterator[dict[str, Any]]:
    """Every pass with the canvases in it and how long it took in ms, as far as that is known.

    A draft tells only when a pass was over; the first one's start follows from the sum of all.
    """
    ends: dict[tuple[int, int], tuple[float, int]] = {}
    for draft in drafts:
        if not _offered(draft):
            key = rounds[draft.canvas], draft.pass_index
            ends[key] = draft.ms, ends.get(key, (0.0, 0))[1] + 1
    took = {(turn, index): ms - ends[turn, index - 1][0] for (turn, index), (ms, _) in ends.items() if index > 1}
    if len({turn for turn, _ in ends}) == 1 and filled.ms.get("passes", 0) > sum(took.values()):
        took[next(iter(ends))] = filled.ms["passes"] - sum(took.values())
    for (turn, index), (_, canvases) in ends.items():
        yield {"turn": turn, "pass": index, "canvases": canvases, "took": _number(took.get((turn, index)))}


def _end(text: str) -> str:
    """The last lines."""
    return "\n".join(text[-CHARS_AROUND:].split("\n")[-LINES_AROUND - 1 :])


def _start(text: str) -> str:
    return "\n".join(text[:CHARS_AROUND].split("\n")[: LINES_AROUND + 1])


def _left_out(text: str, shown: str) -> dict[str, int]:
    return {"lines": text.count("\n") - shown.count("\n"), "chars": len(text) - len(shown)}


def _number(value: float | None) -> float | None:
    """Short, and nothing that JSON has no word for."""
    return None if value is None or not math.isfinite(value) else round(value, 4)
