"""A round or two of every scenario of `bench.soak`: the real daemon is killed, starved, lied to and raced."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import attrs
import pytest

from bench.soak.nest import Nest
from bench.soak.scenario import Scenario, end, play
from bench.soak.scenarios import SCENARIOS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the soak looks at processes the way Linux shows them")

LONG = ("forgotten", "frozen", "greedy", "socket-replaced", "unwritable-log")
"""For the soak command: ten seconds and more of waiting, or of computing, or the like of another that is here."""
ROUNDS = {"start-stop-kill": 3, "killed-while-starting": 2, "two-daemons": 2, "garbage": 2, "oversized": 2}


@attrs.frozen
class Soak:
    """One nest for all scenarios: the daemon that one leaves is the next one's."""

    nest: Nest
    loop: asyncio.AbstractEventLoop

    def failures(self, scenario: Scenario) -> list[str]:
        played = play(scenario, self.nest, ROUNDS.get(scenario.name, 1))
        return self.loop.run_until_complete(played).failures


@pytest.fixture(scope="module")
def soak() -> Iterator[Soak]:
    loop = asyncio.new_event_loop()
    with Nest.built() as nest:
        yield Soak(nest, loop)
        loop.run_until_complete(end(nest))
        assert nest.left() == []
    loop.close()


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in LONG])
def test_promises_are_kept(soak, name):
    assert soak.failures(SCENARIOS[name]) == []
