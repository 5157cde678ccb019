"""What a fill looks like on a terminal: the canvas as it settles, and the change."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.status import Status
from rich.text import Text

from dgemma_engine.wire import Candidate, Cell, Draft, Filled, MaskedText, Progress

STYLES = {"pinned": "dim", "accepted": "green", "noise": "red"}

FRAME = 0.08
"""Seconds a pass stays on the screen at least: nano's are over before an eye has seen them."""

LINES_BEFORE, LINES_AFTER = 4, 3
"""Pinned lines shown around the holes."""

CHARS_AROUND = 400
"""Pinned characters shown on either side, should the lines be long: the hole must not leave the screen."""

NOISE = "░"
"""A noise cell where there are no colours."""

UNUSED = {"": "·", "<|filler|>": "·"}
"""How a cell shows that an elastic hole does not need."""

_JOINERS = "\u200c\u200d"


def glyphs(text: str, newline: str = "⏎") -> str:
    """`text` without anything a terminal would obey: control characters become pictures of themselves."""
    return "".join(_glyph(char, newline) for char in text)


def _glyph(char: str, newline: str) -> str:
    if char == "\n":
        return newline
    if char == "\t":
        return "    "
    if char.isprintable() or char in _JOINERS:
        return char
    return chr(0x2400 + ord(char)) if ord(char) < 0x20 else "·"


def canvas(draft: Draft, before: str, after: str) -> Text:
    """The cells from the first hole to the last in the colours of their states, amid some of the document.

    `before` and `after` are the document's text around the holes; the canvas itself holds less of it.
    """
    above = "\n".join(before[-CHARS_AROUND:].split("\n")[-LINES_BEFORE:])
    below = "\n".join(after[:CHARS_AROUND].split("\n")[:LINES_AFTER])
    return Text.assemble(
        (glyphs(above, "\n"), STYLES["pinned"]),
        *((_cell_text(cell), STYLES[cell.state]) for cell in _hole_cells(draft)),
        (glyphs(below, "\n"), STYLES["pinned"]),
    )


def trace_line(draft: Draft) -> str:
    """A pass on one line: its number, its time, the cells of the holes and what they would read now."""
    width = len(str(draft.passes))
    cells = "".join(
        NOISE if cell.state == "noise" else glyphs(UNUSED.get(cell.text, cell.text)) for cell in _hole_cells(draft)
    )
    texts = " | ".join(glyphs(text) for text in draft.texts)
    return f"pass {draft.pass_index:{width}}/{draft.passes} {draft.ms:6.0f} ms  {cells}  {texts}".rstrip()


def _hole_cells(draft: Draft) -> Sequence[Cell]:
    """From the first cell of a hole to the last, pinned ones between them included."""
    free = [index for index, cell in enumerate(draft.cells) if cell.state != "pinned"]
    return draft.cells[free[0] : free[-1] + 1] if free else ()


def _cell_text(cell: Cell) -> str:
    """Settled line ends break the line; those of the noise would only make it jump."""
    broken = {"pinned": "\n", "accepted": "⏎\n", "noise": "⏎"}[cell.state]
    return UNUSED.get(cell.text) or glyphs(cell.text, broken)


class CanvasView:
    """A live region for the length of one fill of a hole in a text; it leaves no trace when it closes."""

    def __init__(self, console: Console, text: MaskedText) -> None:
        first, last = text.parts[0], text.parts[-1]
        self._before = first if isinstance(first, str) else ""
        self._after = last if isinstance(last, str) else ""
        self._live = Live(
            Spinner("dots", "waiting for the engine"), console=console, transient=True, refresh_per_second=25
        )
        self._last = 0.0

    def __enter__(self) -> CanvasView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self._live.stop()

    def progress(self, progress: Progress) -> None:
        self._live.update(Spinner("dots", _stage(progress)), refresh=True)

    def draft(self, draft: Draft) -> None:
        head = Text(f"pass {draft.pass_index}/{draft.passes}  {draft.ms:.0f} ms   ")
        head.append("known ", STYLES["pinned"]).append("accepted ", STYLES["accepted"])
        head.append("noise", STYLES["noise"])
        self._wait()
        self._live.update(Group(head, canvas(draft, self._before, self._after)), refresh=True)
        self._last = time.monotonic()

    def _wait(self) -> None:
        """Until the pass on the screen has had its time."""
        time.sleep(max(0.0, self._last + FRAME - time.monotonic()))


class LoadingView:
    """What the engine does before it can do anything: a live line on a terminal, else a line per stage on stderr."""

    def __init__(self, silent: bool = False) -> None:
        self._console = Console(stderr=True, quiet=silent)
        live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._status = self._console.status("waiting for the engine") if live else contextlib.nullcontext()
        self._told: str | None = None

    def __enter__(self) -> LoadingView:
        self._status.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._status.__exit__(*error)

    def progress(self, progress: Progress) -> None:
        if isinstance(self._status, Status):
            self._status.update(_stage(progress))
        elif progress.stage != self._told:
            self._told = progress.stage
            _print(self._console, Text(glyphs(progress.stage)))


def _stage(progress: Progress) -> str:
    share = "" if progress.fraction is None else f" {progress.fraction:.0%}"
    return f"{glyphs(progress.stage)}{share}"


def print_diff(console: Console, diff: Iterable[str]) -> None:
    """A diff in colours, its lines made safe."""
    styles = {"---": "bold", "+++": "bold", "@@ ": "cyan", "-": "red", "+": "green", "\\": "dim"}
    for line in diff:
        style = next((style for mark, style in styles.items() if line.startswith(mark)), "")
        _print(console, Text(glyphs(line.rstrip("\r\n")), style))


def print_summary(console: Console, filled: Filled, note: str) -> None:
    """The run in one line, and the candidates that were not taken."""
    best = filled.candidates[0]
    times = ", ".join(
        f"{stage} {filled.ms[stage]:.0f}" for stage in ("queue", "load", "prefill", "passes") if filled.ms.get(stage)
    )
    _print(console, Text(f"{best.passes} passes, {_finish(best)}; ms: {times}; {note}", "dim"))
    for number, candidate in enumerate(filled.candidates[1:], 2):
        score = "" if candidate.score is None else f" ({candidate.score:.2f})"
        _print(console, Text(f"candidate {number}{score}: {_joined(candidate.texts)}", "dim"))


def _finish(candidate: Candidate) -> str:
    return {"converged": "settled", "passes": "pass budget spent", "deadline": "deadline reached"}[candidate.finish]


def _joined(texts: Sequence[str]) -> str:
    return " | ".join(glyphs(text) for text in texts)


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True, highlight=False)
