"""One scenario, its rounds, and what has to hold after each of them and after the last."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import attrs

from dgemma_engine import wire
from dgemma_lsp.engine_client.errors import EngineError, EngineUnavailable

from .fills import SECRET, Bystander, right_fill, until_report
from .nest import Nest
from .waiting import Broken, end_of, until, within

Round = Callable[[Nest, int], Awaitable[None]]
Setting = Callable[[Nest], AbstractContextManager[None]]


@attrs.frozen
class Scenario:
    """`play` does one round, given its number, and raises when a promise is broken.

    `unharmed`: somebody else fills meanwhile and must not notice. Without `fills` no model is needed at all. `setting`
    is around all the rounds. Only `share` of the rounds asked for are played, for what takes its time.
    """

    play: Round
    unharmed: bool = False
    fills: bool = True
    share: float = 1.0
    setting: Setting | None = None

    @property
    def name(self) -> str:
        return self.play.__name__.replace("_", "-")

    @property
    def about(self) -> str:
        return " ".join((self.play.__doc__ or "").split("\n\n")[0].split())


def scenario(
    *, unharmed: bool = False, fills: bool = True, share: float = 1.0, setting: Setting | None = None
) -> Callable[[Round], Scenario]:
    return lambda play: Scenario(play, unharmed, fills, share, setting)


@attrs.define
class Result:
    """What came of the rounds: `ms` of each, what went wrong, and what was left at the end."""

    scenario: Scenario
    ms: list[float] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)
    left: list[str] = attrs.field(factory=list)

    @property
    def good(self) -> bool:
        return not self.failures and not self.left

    @property
    def row(self) -> tuple[str, ...]:
        left = ", ".join(self.left) or "none"
        return (
            self.scenario.name,
            str(len(self.ms)),
            str(len(self.failures)),
            f"{median(self.ms):.0f}",
            f"{max(self.ms):.0f}",
            left,
        )


async def soak(scenario: Scenario, nest: Nest, rounds: int) -> Result:
    """Plays the rounds in an empty nest and ends the last daemon; nothing may be left then."""
    result = await play(scenario, nest, rounds)
    await _ended(result, nest)
    result.left = nest.left()
    nest.clear()
    return result


async def play(scenario: Scenario, nest: Nest, rounds: int) -> Result:
    """Rounds one after the other; a failed one is followed by a clean start."""
    result = Result(scenario)
    if scenario.setting is None:
        await _play(result, nest, rounds)
        return result
    await _ended(result, nest)
    with scenario.setting(nest):
        await _play(result, nest, rounds)
        await _ended(result, nest)
    return result


async def end(nest: Nest) -> None:
    """The daemon leaves at a word, and well. Raises `Broken`."""
    try:
        pid = await within(nest.regular.shutdown(), "a shutdown")
    except (EngineError, EngineUnavailable) as error:
        raise Broken(f"the last daemon does not leave: {error}") from None
    finally:
        await nest.change_regular()
    if pid is not None:
        await nest.processes.gone(pid)
    # One that was sent away before may still finish what it does.
    await until(lambda: not nest.processes.daemons(), lambda: f"daemons {nest.processes.daemons()} do not leave")
    nest.processes.collect()
    if SECRET in nest.log():
        raise Broken("the log holds source text")


async def _ended(result: Result, nest: Nest) -> None:
    try:
        await end(nest)
    except Exception as error:
        result.failures.append(_told(error, f"{result.scenario.name}, at the end", nest))


async def _play(result: Result, nest: Nest, rounds: int) -> None:
    strange: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: strange.append(_worded(context)))
    for number in range(max(1, round(rounds * result.scenario.share))):
        started = time.perf_counter()
        try:
            strange.clear()
            await _round(result.scenario, nest, number)
            if strange:
                raise Broken(f"nobody caught: {strange[0]}")
        except Exception as error:
            result.failures.append(_told(error, f"{result.scenario.name}, round {number}", nest))
            await end_of(nest.send_guests_off())
            nest.clear()
        result.ms.append(1000 * (time.perf_counter() - started))


async def _round(scenario: Scenario, nest: Nest, number: int) -> None:
    if scenario.unharmed:
        async with Bystander.filling(nest):
            await scenario.play(nest, number)
    else:
        await scenario.play(nest, number)
    await nest.send_guests_off()
    if scenario.fills:
        await right_fill(nest.regular, "the next fill")
    report = await until_report(nest.regular, _is_quiet, "going back to quiet")
    await nest.processes.alone(report.pid)
    nest.processes.collect()
    if (files := nest.files()) != sorted((nest.place.door.name, nest.place.lock.name)):
        raise Broken(f"beside a living daemon lie {files}")
    if bugs := nest.bugs():
        raise Broken(f"the log tells of a bug: {bugs[0]}")


def _is_quiet(report: wire.Report) -> bool:
    return (report.clients, report.queue.waiting, report.queue.running) == (1, 0, 0)


def _worded(context: dict[str, Any]) -> str:
    return f"{context['message']}: {context.get('exception')!r}"


def _told(error: Exception, where: str, nest: Nest) -> str:
    """One line; whoever looks on is told all that is known."""
    line = f"{where}: {error if isinstance(error, Broken) else repr(error)}"
    trace = "" if isinstance(error, Broken) else "".join(traceback.format_exception(error))
    log = "\n".join(f"  {said}" for said in nest.log().splitlines()[-15:])
    print(f"{line}\n{trace}{log}\n", file=sys.stderr, flush=True)
    return line
