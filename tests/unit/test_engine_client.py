"""Requests to a daemon that behaves: each has its answer, each can be cancelled."""

from __future__ import annotations

import asyncio
import os

import pytest

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient, EngineError, EngineUnavailable, resolve_model
from dgemma_lsp.engine_client import link as engine_link
from tests.client_help import TEXT, in_a_loop
from tests.fake_engine import FILLED, FakeEngine

pytestmark = pytest.mark.usefixtures("runtime", "nothing_is_lost")


@in_a_loop
async def test_a_fill_with_its_drafts():
    drafts, stages = [], []
    async with FakeEngine() as engine:
        client = EngineClient(name="test", start=False)
        filled = await client.fill(
            TEXT, candidates=2, seed=7, passes=3, on_draft=drafts.append, on_progress=stages.append
        )
        await client.close()
    assert [candidate.texts for candidate in filled.candidates] == [(FILLED,), (f"{FILLED}1",)]
    assert filled.tokens == {"hole": 4, "seed": 7, "passes": 3}
    assert [(draft.pass_index, draft.texts) for draft in drafts] == [(1, ("draft 1",)), (2, ("draft 2",))]
    assert [stage.stage for stage in stages] == ["loading"]
    assert engine.received[0] == wire.Hello(wire.PROTOCOL, wire.package_version(), "", "test")


@in_a_loop
async def test_every_request_has_its_answer(tmp_path):
    async with FakeEngine() as engine:
        client = EngineClient(start=False)
        stages = []
        assert (await client.lease(str(tmp_path), on_progress=stages.append)).model == str(tmp_path)
        assert [stage.fraction for stage in stages] == [0.5]
        assert await client.score("a", ["b", "cc"]) == (-1.0, -2.0)
        assert (await client.warm(TEXT, document="a.py")).tokens == {"prefix": 7, "reused": 0}
        assert (await client.status()).pid == os.getpid()
        filled = await client.fill(TEXT)
        assert (await client.refine(filled, [wire.Span(0, 1, 2)])).candidates[0].texts == (FILLED,)
        await client.refine(filled.id, [wire.Span(0, 1, 2)], seed=3)
        await client.unload("nano")
        assert await client.shutdown(finish=False) == os.getpid()
        await client.close()
    refined = [message for message in engine.received if isinstance(message, wire.Refine)]
    assert [(one.fill, one.spans, one.seed) for one in refined] == [
        (filled.id, (wire.Span(0, 1, 2),), None),
        (filled.id, (wire.Span(0, 1, 2),), 3),
    ]
    ends = [message for message in engine.received if isinstance(message, wire.Unload | wire.Shutdown)]
    assert [(type(end), getattr(end, "model", None)) for end in ends] == [
        (wire.Unload, "nano"),
        (wire.Shutdown, None),
    ]


@in_a_loop
async def test_many_at_once_share_one_connection_and_get_their_own_answers():
    async with FakeEngine() as engine:
        client = EngineClient(start=False)
        scores = await asyncio.gather(*(client.score("", ["x" * size]) for size in range(1, 30)))
        await client.close()
    assert scores == [(-float(size),) for size in range(1, 30)]
    assert engine.clients == 1


@in_a_loop
async def test_text_that_cannot_be_sent_is_an_error_and_nobody_else_notices():
    async with FakeEngine() as engine:
        client = EngineClient(start=False)
        with pytest.raises(EngineError, match="lone surrogate"):
            await client.fill(wire.MaskedText(("\ud800" * 90, wire.Hole(1))), document="a.py")
        filled = await client.fill(wire.MaskedText(("x" * 90, wire.Hole(1))), document="a.py")
        assert (filled.candidates[0].texts, engine.clients) == ((FILLED,), 1)
        await client.close()


@in_a_loop
async def test_an_answer_that_nobody_waits_for_is_dropped():
    async with FakeEngine("late"):
        client = EngineClient(start=False)
        assert (await client.fill(TEXT)).candidates[0].texts == (FILLED,)
        await client.close()


@in_a_loop
async def test_a_callback_that_fails_ends_its_own_request_only():
    def fail(_: wire.Draft) -> None:
        raise KeyError("mine")

    async with FakeEngine() as engine:
        client = EngineClient(start=False)
        drafts = []
        broken, sound = await asyncio.gather(
            client.fill(TEXT, on_draft=fail), client.fill(TEXT, on_draft=drafts.append), return_exceptions=True
        )
        await client.status()
        await client.close()
    assert isinstance(broken, KeyError)
    assert isinstance(sound, wire.Filled)
    assert [draft.pass_index for draft in drafts] == [1, 2]
    assert wire.Cancel(1) in engine.received


@in_a_loop
async def test_cancelling_the_task_cancels_the_request():
    async with FakeEngine("waits") as engine:
        client = EngineClient(start=False)
        begun = asyncio.Event()
        filling = asyncio.ensure_future(client.fill(TEXT, on_progress=lambda _: begun.set()))
        await begun.wait()
        filling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await filling
        await engine.wait_for(wire.Cancel)
        engine.behaviour = "good"
        # The answer to what was cancelled comes first, and is dropped.
        assert (await client.fill(TEXT)).candidates[0].texts == (FILLED,)
        assert engine.clients == 1
        await client.close()


@in_a_loop
async def test_one_who_gives_up_while_connecting_does_not_stop_the_others(starts):
    started = starts("good")
    client = EngineClient()
    impatient, patient = (asyncio.ensure_future(client.fill(TEXT)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).candidates
    assert impatient.cancelled()
    assert [len(engine.received) for engine in started.engines] == [2]
    await client.close()
    await started.close()


@pytest.mark.usefixtures("quick")
@in_a_loop
async def test_close_ends_what_is_open_and_what_comes_later():
    async with FakeEngine("silent") as engine:
        client = EngineClient(start=False)
        filling = asyncio.ensure_future(client.fill(TEXT))
        await engine.wait_for(wire.Fill)
        await client.close()
        with pytest.raises(EngineUnavailable, match="was closed"):
            await filling
        with pytest.raises(EngineUnavailable, match="is closed"):
            await client.status()
        await client.close()


@in_a_loop
async def test_close_while_connecting(monkeypatch):
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def start(*_: object) -> None:
        asked.set()
        await let_go.wait()

    monkeypatch.setattr(engine_link, "_in_thread", start)
    client = EngineClient()
    filling = asyncio.ensure_future(client.fill(TEXT))
    await asked.wait()
    await client.close()
    with pytest.raises(EngineUnavailable, match="was closed"):
        await filling


def test_a_folder_is_named_absolutely_and_a_name_stays(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model("nano") == "nano"
    assert resolve_model("") == "nano"
    assert resolve_model("google/diffusiongemma-26B-A4B-it@fp8") == "google/diffusiongemma-26B-A4B-it@fp8"
    assert resolve_model("mine@int4") == f"{tmp_path / 'mine'}@int4"
    assert resolve_model("mine@auto") == str(tmp_path / "mine")
    assert resolve_model("mine") == str(tmp_path / "mine")
    assert resolve_model("./missing") == str(tmp_path / "missing")
    assert resolve_model(str(tmp_path)) == str(tmp_path)
