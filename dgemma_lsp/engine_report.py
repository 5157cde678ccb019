"""A daemon's report for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dgemma_engine.wire import ModelReport, Report
from dgemma_lsp.models import megabytes
from dgemma_lsp.terminal import glyphs


def table(report: Report) -> str:
    """Lines of a name and a value, and below them one per model."""
    rows = list(_rows(report))
    lines = [f"{name:<9} {glyphs(value)}" for name, value in rows]
    if not report.models:
        return "\n".join([*lines, f"{'models':<9} none; a request loads the one it needs"])
    models = [("model", "state", "device", "dtype", "size", "unused", "unloads"), *map(_model, report.models)]
    widths = [max(map(len, column)) for column in zip(*models, strict=True)]
    return "\n".join([*lines, "", *(_line(row, widths) for row in models)])


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    queue, cache = report.queue, report.cache
    yield "engine", f"pid {report.pid}, up {duration(report.uptime_s)}, {_count(report.clients, 'client')}"
    yield "version", f"dgemma-lsp {report.package}, protocol {report.protocol}"
    yield "python", report.python
    yield "memory", megabytes(report.memory)
    yield "endpoint", report.endpoint
    yield "log", report.log
    ended = ", ".join(f"{count} {how}" for how, count in sorted(queue.ended.items()) if count)
    yield "requests", f"{queue.running} running, {queue.waiting} waiting; ended: {ended or 'none'}"
    yield "work", f"{queue.passes} passes, {queue.chunks} prefill chunks"
    yield (
        "cache",
        f"{_count(cache.entries, 'prefix', 'prefixes')}, {cache.tokens} tokens, {megabytes(cache.size)}; "
        f"hit rate {cache.hit_rate:.0%}, {cache.tokens_saved} tokens saved, {cache.tokens_encoded} encoded",
    )


def _model(model: ModelReport) -> tuple[str, ...]:
    share = "" if model.fraction is None else f" {model.fraction:.0%}"
    unloads = f"after {duration(model.unload_s)}" if model.unload_s else "never"
    size, unused = megabytes(model.size), duration(model.idle_s)
    return glyphs(model.name), f"{model.state}{share}", model.device, model.dtype, size, unused, unloads


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{value:<{width}}" for value, width in zip(row, widths, strict=True)).rstrip()


def duration(seconds: float) -> str:
    """The one or two largest units: 4 s, 12 min, 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
