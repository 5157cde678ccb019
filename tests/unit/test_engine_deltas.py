"""A document's text is sent once, its changes after that, and nobody has to know."""

from __future__ import annotations

import pytest

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient
from tests.client_help import in_a_loop
from tests.fake_engine import FILLED, FakeEngine

pytestmark = pytest.mark.usefixtures("runtime", "nothing_is_lost")

LONG = "".join(f"line {number}\n" for number in range(20))


def texts(engine: FakeEngine) -> list[wire.MaskedText | wire.TextDelta]:
    return [message.text for message in engine.received if isinstance(message, wire.Fill | wire.Warm)]


@in_a_loop
async def test_the_second_request_sends_the_change():
    async with FakeEngine() as engine:
        client = EngineClient(start=False)
        await client.warm(wire.MaskedText((LONG, wire.Hole(4))), document="a.py")
        await client.fill(wire.MaskedText((LONG, "x", wire.Hole(5), "\n")), document="a.py")
        await client.fill(wire.MaskedText((LONG, "x", wire.Hole(5), "\n")))
        await client.close()
    whole = wire.MaskedText((LONG, "x", wire.Hole(5), "\n"))
    changed = wire.TextDelta(1, len(LONG), len(LONG), "x\n", (wire.Place(len(LONG) + 1, wire.Hole(5)),))
    assert texts(engine)[1:] == [changed, whole]
    assert engine.texts["a.py"] == (2, LONG + "x\n")


@in_a_loop
async def test_a_daemon_that_forgot_is_sent_all_of_it():
    async with FakeEngine("forgetful") as engine:
        client = EngineClient(start=False)
        for insert in ("a", "b"):
            filled = await client.fill(wire.MaskedText((LONG, insert, wire.Hole(4))), document="a.py")
            assert filled.candidates[0].texts == (FILLED,)
        await client.close()
    assert [type(text) for text in texts(engine)] == [wire.MaskedText, wire.TextDelta, wire.MaskedText]


@in_a_loop
async def test_another_daemon_knows_nothing_of_it(starts):
    started = starts("good", "good")
    client = EngineClient()
    for engine in (0, 1):
        await client.fill(wire.MaskedText((LONG, wire.Hole(4))), document="a.py")
        await started.engines[engine].close()
    assert [type(text) for text in texts(started.engines[1])] == [wire.MaskedText]
    await client.close()
