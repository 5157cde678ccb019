"""`python bench/engine.py`: what the daemon costs over the engine alone, and how fast it lets go.

Uses a daemon of its own; nothing else should be running. Prints a markdown table and writes it to
build/bench/engine.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.measure import Spread, machine, table
from bench.reach import HOLE, PASSES, SETTLE, Row, holes
from dgemma_engine import wire
from dgemma_engine.engine import Engine
from dgemma_lsp.engine_client import EngineClient, EngineError

CLIENTS = 8
FILLS_EACH = 6


async def cold_row(rounds: int) -> Row:
    """From no daemon at all to the first fill."""
    sample = []
    before, after = holes(1)[0]
    for _ in range(rounds):
        client = EngineClient()
        started = time.perf_counter()
        await client.fill(wire.MaskedText((before, wire.Hole(HOLE), after)), passes=PASSES)
        sample.append(1000 * (time.perf_counter() - started))
        await client.shutdown()
        await client.close()
    return "no daemon to the first fill", "≤ 6 s", f"{Spread.of(sample)} ms"


async def round_trip_row(client: EngineClient, rounds: int) -> Row:
    sample = [await _timed(client.status()) for _ in range(SETTLE + rounds)]
    return "round trip without a fill (status)", "p95 ≤ 2 ms", f"{Spread.of(sample[SETTLE:])} ms"


async def overhead_rows(client: EngineClient, model: str, rounds: int) -> list[Row]:
    """The same keystrokes through the daemon and through the engine in this process, in turn; prefixes warm in both."""
    engine = Engine.load(model)
    through, alone, differences = [], [], []
    for number, (before, after) in enumerate(holes(rounds)):
        for typed in range(3):
            text = wire.MaskedText((before[: len(before) - 2 + typed], wire.Hole(HOLE), after))
            options = {"passes": PASSES, "length": "exact"}
            ours = await _timed(client.fill(text, model=model, document=f"{number % 4}", **options))
            started = time.perf_counter()
            engine.fill(text, **options)
            theirs = 1000 * (time.perf_counter() - started)
            if typed:
                through.append(ours)
                alone.append(theirs)
                differences.append(ours - theirs)
    target = f"within 10 ms of the engine alone, {Spread.of(alone)} ms"
    report = await client.status()
    hits = f"hit rate {report.cache.hit_rate:.2f}, {report.cache.tokens_saved} tokens saved"
    return [
        ("warm fill through the daemon, length given", target, f"{Spread.of(through)} ms"),
        ("its difference, fill by fill", "≤ 10 ms", f"{Spread.of(differences)} ms; {hits}"),
    ]


async def cancel_row(client: EngineClient, rounds: int) -> Row:
    """From the cancel of a fill that is in its passes until the daemon has nothing to do."""
    before, after = holes(1)[0]
    sample = []
    for number in range(rounds):
        drafts: asyncio.Queue[wire.Draft] = asyncio.Queue()
        text = wire.MaskedText((before, wire.Hole(2048), after))
        fill = asyncio.ensure_future(client.fill(text, length="exact", on_draft=drafts.put_nowait))
        for _ in range(1 + number % 5):
            await drafts.get()
        started = time.perf_counter()
        fill.cancel()
        while (queue := (await client.status()).queue).running or queue.waiting:
            pass
        sample.append(1000 * (time.perf_counter() - started))
    return "cancel to idle", "≤ one pass, p95 ≤ 40 ms", f"{Spread.of(sample)} ms"


async def crowd_row() -> Row:
    """Several clients at once, each with its next request as soon as the last is answered."""

    async def one(number: int) -> tuple[list[float], int]:
        client, sample, refused = EngineClient(name=f"bench {number}"), [], 0
        for before, after in holes(FILLS_EACH, seed=number):
            text = wire.MaskedText((before, wire.Hole(HOLE), after))
            try:
                sample.append(await _timed(client.fill(text, passes=PASSES, document="file")))
            except EngineError:
                refused += 1
        await client.close()
        return sample, refused

    found = await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    medians = [Spread.of(sample).p50 for sample, _ in found]
    answers = sum(len(sample) for sample, _ in found)
    refused = sum(refused for _, refused in found)
    worst = max(max(sample) for sample, _ in found)
    return (
        f"{CLIENTS} clients at once, {FILLS_EACH} fills each",
        "each gets its answer or a refusal",
        f"{answers} answers, {refused} refusals; median by client {min(medians):.0f} to {max(medians):.0f} ms, "
        f"longest {worst:.0f} ms",
    )


async def second_client_row(client: EngineClient) -> Row:
    """Another window on the same file, at the same place."""
    before, after = holes(1, seed=9)[0]
    text = wire.MaskedText((before, wire.Hole(HOLE), after))
    await client.fill(text, passes=PASSES, document="shared")
    other = EngineClient(name="bench, second window")
    found = await other.fill(text, passes=PASSES, document="shared")
    await other.close()
    reused, prefix = found.tokens["reused"], found.tokens["prefix"]
    return "a second client on the same file", "re-uses the prefix", f"{reused} of {prefix} tokens re-used"


async def _timed(call: Awaitable[object]) -> float:
    started = time.perf_counter()
    await call
    return 1000 * (time.perf_counter() - started)


async def measure(model: str, rounds: int) -> list[Row]:
    rows = [await cold_row(max(3, rounds // 10))]
    client = EngineClient(name="bench")
    await client.lease(model)
    rows.append(await round_trip_row(client, 10 * rounds))
    rows += await overhead_rows(client, model, rounds)
    rows.append(await cancel_row(client, rounds))
    rows.append(await second_client_row(client))
    rows.append(await crowd_row())
    await client.shutdown()
    await client.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python bench/engine.py", description=__doc__)
    parser.add_argument("--model", default="nano", help="nano, or a folder")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dgemma-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        rows = asyncio.run(measure(arguments.model, arguments.rounds))
    text = f"{machine()}\n\n{table(('what', 'target', 'measured: median (p5 to p95)'), rows)}\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "engine.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
