"""Denoising beside writing token by token, as the engine measured it: a table and a picture."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from typing import Any

import attrs

from dgemma_lsp.engine_tool import ask

TOOL = "dgemma_engine.compare"


@attrs.frozen
class Arm:
    """One way of decoding with `batch` requests at once: `ms` for `tokens` tokens of each, in `passes` passes.

    No passes are given where they depend on what is written.
    """

    name: str
    batch: int
    tokens: int
    passes: int
    ms: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.ms)

    @property
    def tokens_a_second(self) -> float:
        """Of all requests together."""
        return 1000 * self.batch * self.tokens / self.median


def measure(model: str, rival: str | None, engine_python: str | None) -> Iterator[Arm | dict[str, Any]]:
    """The arms as they are measured, at last what they were measured on. Raises `UserError`."""
    for event in ask(engine_python or sys.executable, TOOL, [model, *([rival] if rival else [])]):
        if event.get("event") == "arm":
            yield Arm(event["arm"], event["batch"], event["tokens"], event["passes"], tuple(event["ms"]))
        elif event.get("event") == "compared":
            yield event


def table(arms: list[Arm], about: dict[str, Any]) -> str:
    """Markdown: medians with the range, and how much faster denoising is than the same weights token by token."""
    machine = about["machine"]
    lines = [
        f"{about['model']}, {arms[0].tokens} tokens behind {about['prefix']} on {machine['device']} "
        f"({machine['threads']} threads, torch {machine['torch']}), {len(arms[0].ms)} rounds.",
        "",
        "| requests at once | how | passes | ms (least to most) | tokens/s | against token by token |",
        "|---|---|---|---|---|---|",
    ]
    for arm in arms:
        base = next(one for one in arms if one.batch == arm.batch and one.name == "token by token")
        faster = "" if arm is base else f"{base.median / arm.median:.1f}×"
        spread = f"{arm.median:.0f} ({min(arm.ms):.0f} to {max(arm.ms):.0f})"
        lines.append(
            f"| {arm.batch} | {arm.name} | {arm.passes or ''} | {spread} | {arm.tokens_a_second:.0f} | {faster} |"
        )
    return "\n".join(lines) + "\n"


def picture(arms: list[Arm]) -> str:
    """An SVG: a bar for each arm, as long as it took, with the range as a line."""
    width, left, right, tall = 760, 250, 110, 20
    most = max(max(arm.ms) for arm in arms)
    height = 40 + (tall + 4) * len(arms)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="10" y="20">ms for {arms[0].tokens} tokens of each request</text>',
    ]
    for place, arm in enumerate(arms):
        y = 34 + place * (tall + 4)
        scale = (width - left - right) / most
        colour = "#4a7ebb" if arm.name.startswith("diffusion") else "#999"
        low, high = (left + scale * one for one in (min(arm.ms), max(arm.ms)))
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{arm.batch} × {_escaped(arm.name)}</text>',
            f'<rect x="{left}" y="{y}" width="{scale * arm.median:.1f}" height="{tall}" fill="{colour}"/>',
            f'<path d="M{low:.1f} {y + tall / 2}H{high:.1f}" stroke="#333"/>',
            f'<text x="{high + 6:.1f}" y="{y + 14}">{arm.median:.0f} ms</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
