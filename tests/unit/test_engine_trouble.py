"""Whatever a daemon does, a request ends: in its answer or in an error that says what happened and what to do."""

from __future__ import annotations

import asyncio
import os

import pytest

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient, EngineError, EngineUnavailable
from dgemma_lsp.engine_client.errors import EngineNotRunning
from tests.client_help import TEXT, in_a_loop
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.usefixtures("runtime", "nothing_is_lost")


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ("dies", "went away in the middle of this; its log: "),
        ("half frame", "sent something that is no frame: the stream ended after 3 of the 16 bytes"),
        ("garbage", "sent something that is no frame: a frame of 1416782179 bytes is too large"),
        ("unreadable", "sent a message that cannot be read: unknown message type 'riddl'"),
        ("astray", "answered a fill with a done"),
        ("missing", "cannot run the engine: No module named 'torch'; install it with: pip install"),
    ],
)
@in_a_loop
async def test_a_request_that_gets_no_answer_says_why(behaviour, complaint):
    async with FakeEngine(behaviour) as engine:
        client = EngineClient(start=False)
        with pytest.raises(EngineUnavailable) as caught:
            await client.fill(TEXT)
        assert complaint in str(caught.value)
        if behaviour != "missing":
            assert "engine.log" in str(caught.value)
            assert "see: dgemma-lsp doctor" in str(caught.value)
        engine.behaviour = "good"
        assert (await client.fill(TEXT)).candidates
        await client.close()


@pytest.mark.parametrize(
    ("behaviour", "code", "line", "details"),
    [
        ("refuses", "checkpoint", "there is no model of that name", ""),
        ("buggy", "internal", "KeyError: 3", "Traceback: here"),
        ("busy", "busy", "8 requests wait already; try again", ""),
        ("complains", "request", "fill.candidates must be a number", ""),
        ("crowded", "busy", "64 clients are here already; close some", ""),
    ],
)
@in_a_loop
async def test_an_engine_that_says_no(behaviour, code, line, details):
    async with FakeEngine(behaviour):
        client = EngineClient(start=False)
        with pytest.raises(EngineError) as caught:
            await client.fill(TEXT)
        assert (caught.value.code, str(caught.value), caught.value.details) == (code, line, details)
        await client.close()


@pytest.mark.parametrize("behaviour", ["mute", "deaf"])
@pytest.mark.usefixtures("quick")
@in_a_loop
async def test_one_that_does_not_greet_is_given_up(runtime, behaviour, starts):
    runtime.lock.write_text("4242\n")
    starts()
    async with FakeEngine(behaviour) as engine:
        client = EngineClient()
        with pytest.raises(EngineUnavailable) as caught:
            await client.fill(TEXT)
        engine.done.set()
        await client.close()
    assert "the engine (pid 4242) takes no clients: it said nothing for 0 s" in str(caught.value)
    assert "dgemma-lsp engine stop --force" in str(caught.value)


@pytest.mark.usefixtures("quick")
@in_a_loop
async def test_one_that_goes_silent_is_asked_and_then_given_up():
    async with FakeEngine("silent") as engine:
        client = EngineClient(start=False)
        results = await asyncio.gather(client.fill(TEXT), client.fill(TEXT), return_exceptions=True)
        await client.close()
    assert sum(isinstance(message, wire.Status) for message in engine.received) == 1
    for result in results:
        assert isinstance(result, EngineUnavailable)
        assert f"the engine (pid {os.getpid()}) has not answered for 0 s" in str(result)
        assert "end it with: dgemma-lsp engine stop --force" in str(result)


@pytest.mark.usefixtures("quick")
@in_a_loop
async def test_one_that_is_slow_but_lives_is_waited_for():
    async with FakeEngine("waits") as engine:
        client = EngineClient(start=False)
        filling = asyncio.ensure_future(client.fill(TEXT))
        await engine.wait_for(wire.Status, 4)
        assert not filling.done()
        await client.close()
        with pytest.raises(EngineUnavailable, match="was closed"):
            await filling


@in_a_loop
async def test_one_that_is_not_there_is_not_waited_for(runtime):
    client = EngineClient(start=False)
    for leave in (None, runtime.socket.touch):
        if leave is not None:
            leave()
        with pytest.raises(EngineNotRunning, match="no engine is running; start one with: dgemma-lsp engine start"):
            await client.status()
        assert await client.shutdown() is None
        await client.unload()
    await client.close()


@in_a_loop
async def test_one_that_hangs_up_is_an_error():
    async with FakeEngine("hangs up"):
        client = EngineClient(start=False)
        with pytest.raises(EngineUnavailable, match="hung up without a greeting; its log: "):
            await client.fill(TEXT)
        await client.close()


@in_a_loop
async def test_a_folder_that_others_may_enter_is_refused(runtime):
    runtime.folder.chmod(0o755)
    client = EngineClient()
    with pytest.raises(EngineUnavailable, match=r"is open to other users \(mode 755\); chmod 700 "):
        await client.fill(TEXT)
    await client.close()
