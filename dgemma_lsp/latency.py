"""How long ghost text takes in an editor: a server of its own is typed at, and every answer is timed."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

LINES = 10_000
URI = "file:///bench/latency.py"
STARTS = 5
WARM_UP = 3
LOAD_S = 120.0


class Typist:
    """A language client that does one thing after the other; times are seconds."""

    def __init__(self, **options: Any) -> None:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dgemma_lsp.cli"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._ids = itertools.count(1)
        self.state = ""
        self._version = 0
        hello = {"processId": os.getpid(), "rootUri": None, "capabilities": {}, "initializationOptions": options}
        self.request("initialize", hello)
        self.start = time.perf_counter() - began
        self.notify("initialized", {})

    def wait_until_ready(self) -> None:
        limit = time.monotonic() + LOAD_S
        while self.state != "ready":
            if self.state == "down" or time.monotonic() > limit:
                raise RuntimeError(f"the engine is {self.state or 'not there'}; see: dgemma-lsp doctor")
            # The answer comes behind whatever the server has said by then.
            self.request("workspace/executeCommand", {"command": "dgemma.status"})
            time.sleep(0.05)

    def open(self, text: str) -> None:
        item = {"uri": URI, "languageId": "python", "version": self._version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def replace(self, line: int, start: int, end: int, text: str) -> None:
        """Characters [start, end) of a line of ASCII."""
        self._version += 1
        span = {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}
        document = {"uri": URI, "version": self._version}
        params = {"textDocument": document, "contentChanges": [{"range": span, "text": text}]}
        self.notify("textDocument/didChange", params)

    def ghost(self, line: int, character: int) -> list[dict[str, Any]]:
        position = {"line": line, "character": character}
        params = {"textDocument": {"uri": URI}, "position": position, "context": {"triggerKind": 2}}
        return (self.request("textDocument/inlineCompletion", params) or {"items": []})["items"]

    def last(self) -> dict[str, Any]:
        """The outcome of the last request."""
        return self.request("workspace/executeCommand", {"command": "dgemma.explainLast"})

    def close(self) -> None:
        self.request("shutdown", None)
        self.notify("exit", None)
        self._process.wait()

    def notify(self, method: str, params: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def request(self, method: str, params: Any) -> Any:
        number = next(self._ids)
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        while True:
            message = self._read()
            if message.get("method") == "dgemma/status":
                self.state = message["params"]["state"]
            elif message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message.get("result")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps(message).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while header := self._process.stdout.readline().strip():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise RuntimeError("the server has ended")
        return json.loads(self._process.stdout.read(length))


@attrs.define
class Times:
    """Milliseconds, one a round."""

    start: list[float] = attrs.Factory(list)
    """From the start of the process to the answer to `initialize`."""
    answer: list[float] = attrs.Factory(list)
    """From a keystroke to the answer, as the editor sees it."""
    overhead: list[float] = attrs.Factory(list)
    """Of that, what the server took beyond the engine."""
    along: list[float] = attrs.Factory(list)
    """From a keystroke to the answer, when it is the next letter of what is shown."""
    outcomes: dict[str, int] = attrs.Factory(dict)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        spreads = {
            name: {"p50": share(values, 0.5), "p95": share(values, 0.95), "n": len(values)}
            for name in ("start", "answer", "overhead", "along")
            if (values := getattr(self, name))
        }
        return {**spreads, "outcomes": self.outcomes}


def measure(rounds: int, file: Path | None) -> Times:
    """Types at `rounds` places of a file, or of 10 000 lines of the standard library."""
    times = Times()
    for _ in range(STARTS):
        typist = Typist(debounce=0)
        times.start.append(1000 * typist.start)
        typist.close()
    text = file.read_text(encoding="utf-8") if file else library()
    lines = text.splitlines()
    typist = Typist(debounce=0)
    typist.open(text)
    typist.wait_until_ready()
    drawn = places(lines)
    # The first requests find nothing warm: not what a keystroke finds.
    for line, cut in itertools.islice(drawn, WARM_UP):
        round_(typist, Times(), line, cut, lines[line])
    for line, cut in itertools.islice(drawn, rounds):
        round_(typist, times, line, cut, lines[line])
    typist.close()
    return times


def round_(typist: Typist, times: Times, line: int, cut: int, whole: str) -> None:
    """Forget the end of a line, type one letter of it, and look at what comes; then put it back."""
    typist.replace(line, cut - 1, len(whole), "")
    began = time.perf_counter()
    typist.replace(line, cut - 1, cut - 1, whole[cut - 1])
    items = typist.ghost(line, cut)
    took = 1000 * (time.perf_counter() - began)
    outcome = typist.last()
    times.answer.append(took)
    if outcome["engine_ms"]:
        times.overhead.append(outcome["ms"] - outcome["engine_ms"])
    times.outcomes[outcome["outcome"]] = times.outcomes.get(outcome["outcome"], 0) + 1
    now = whole[:cut]
    if items:
        insert, start = items[0]["insertText"], items[0]["range"]["start"]["character"]
        letter = insert[cut - start : cut - start + 1]
        if letter.strip() and letter.isascii() and insert[cut - start + 1 :].strip():
            began = time.perf_counter()
            typist.replace(line, cut, cut, letter)
            typist.ghost(line, cut + 1)
            took = 1000 * (time.perf_counter() - began)
            now += letter
            if typist.last()["cached"]:
                times.along.append(took)
    typist.replace(line, 0, len(now), whole)


def places(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Places within lines of ASCII, drawn with a fixed seed."""
    draws = random.Random(0)
    fit = [number for number, line in enumerate(lines) if line.isascii() and len(line.strip()) > 8]
    if not fit:
        raise ValueError("the file has no line to type at")
    while True:
        line = draws.choice(fit)
        text = lines[line]
        indent = len(text) - len(text.lstrip())
        yield line, draws.randint(indent + 2, len(text.rstrip()) - 1)


def library() -> str:
    """10 000 lines of the standard library."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    lines: list[str] = []
    for path in sorted(folder.glob("*.py")):
        if len(lines) < LINES:
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[:LINES]) + "\n"


def share(values: Sequence[float], part: float) -> float:
    """The value below which that part of the values lies."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, round(part * (len(ranked) - 1)))]


ROWS = (
    ("start", "start to `initialize`", "≤ 600"),
    ("answer", "keystroke to answer, a file of 10 000 lines, debounce 0", "p50 ≤ 200, p95 ≤ 400"),
    ("overhead", "of that, beyond the engine", "p95 ≤ 10"),
    ("along", "keystroke to answer, typing along what is shown", "p95 ≤ 5"),
)


def table(times: Times) -> str:
    """Markdown."""
    lines = ["| milliseconds | target | p50 | p95 | n |", "|---|---|---|---|---|"]
    for name, what, target in ROWS:
        values = getattr(times, name)
        if values:
            half, most = share(values, 0.5), share(values, 0.95)
            lines.append(f"| {what} | {target} | {half:.1f} | {most:.1f} | {len(values)} |")
    ended = ", ".join(f"{name} {count}" for name, count in sorted(times.outcomes.items(), key=lambda item: -item[1]))
    return "\n".join([*lines, "", f"The requests ended as: {ended}."])


def picture(values: Sequence[float], bars: int = 40) -> str:
    """The distribution of the answers as an SVG: a histogram, with the median and the 95th percentile marked."""
    width, height, left, top, base = 720, 260, 20, 30, 220
    most = max(share(values, 0.99) * 1.05, 1.0)
    counts = [0] * bars
    for value in values:
        counts[min(bars - 1, int(value / most * bars))] += 1
    step = (width - 2 * left) / bars
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left}" y="18">Keystroke to answer, ms ({len(values)} requests; the last bar holds the rest)</text>',
    ]
    for index, count in enumerate(counts):
        tall = (base - top - 20) * count / max(counts)
        x, y = left + index * step, base - tall
        parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{step - 1:.1f}" height="{tall:.1f}" fill="#4a7ebb"/>')
    for part, name in ((0.5, "p50"), (0.95, "p95")):
        value = share(values, part)
        x = left + (width - 2 * left) * min(1.0, value / most)
        parts.append(f'<path d="M{x:.1f} {top + 8}V{base}" stroke="#b33" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{x:.1f}" y="{top + 5}" text-anchor="middle" fill="#b33">{name} {value:.0f}</text>')
    for tick in range(5):
        x = left + (width - 2 * left) * tick / 4
        parts.append(f'<text x="{x:.1f}" y="{base + 18}" text-anchor="middle">{most * tick / 4:.0f}</text>')
    return "\n".join([*parts, "</svg>", ""])
