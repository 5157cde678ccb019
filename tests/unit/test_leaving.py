"""The daemon leaves when it is asked to or nobody needs it, and stands in nobody's way."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from dgemma_engine import connection, daemon, wire
from dgemma_engine.door import Door

from .house import TEXT, TRANSPORTS, House, Stage, failed


@pytest.fixture(params=TRANSPORTS)
def stage(request, runtime, monkeypatch) -> Stage:
    return Stage(request.param, runtime, monkeypatch)


def test_a_shutdown_frees_the_place_and_lets_running_requests_end(stage):
    async def scene(house: House) -> None:
        old, idle, busy = await house.peer(), await house.peer(), await house.peer()
        busy.send(wire.Fill(1, TEXT))
        job = await house.job()
        assert await old.ask(wire.Shutdown(9, finish=True)) == wire.Done(9)
        following = Door.claim(stage.endpoint)
        assert following is not None
        assert await old.is_sent_away()
        assert await idle.is_sent_away()
        assert house.scheduler.stops == [True]
        assert isinstance(await busy.ask(wire.Status(2)), wire.Report)
        house.scheduler.answer(job)
        assert isinstance(await busy.next(), wire.Filled)
        assert await busy.is_sent_away()
        await house.running
        assert following.stands
        following.close()

    stage.play(scene)


@pytest.mark.parametrize("why", ["shutdown", "too long"])
def test_what_runs_is_cancelled_when_nobody_wants_to_wait(stage, monkeypatch, why):
    if why == "too long":
        monkeypatch.setattr(daemon, "FINISH_S", 0.1)

    async def scene(house: House) -> None:
        old, busy = await house.peer(), await house.peer()
        busy.send(wire.Fill(1, TEXT))
        await house.job()
        assert await old.ask(wire.Shutdown(9, finish=why == "too long")) == wire.Done(9)
        assert failed(await busy.next()) == (1, "closing")
        assert await busy.is_sent_away()
        await house.running
        assert house.scheduler.stops[-1] is False

    stage.play(scene)


def test_a_scheduler_that_does_not_stop_is_not_waited_for(stage, monkeypatch):
    monkeypatch.setattr(daemon, "CANCEL_S", 0.1)

    async def scene(house: House) -> None:
        monkeypatch.setattr(house.scheduler, "stop", lambda finish, done: None)
        peer = await house.peer()
        peer.send(wire.Fill(1, TEXT))
        await house.job()
        house.daemon.leave("test", finish=False)
        assert failed(await peer.next()) == (1, "closing")
        assert await peer.is_sent_away()
        await house.running

    stage.play(scene)


def test_the_daemon_stays_for_a_client_or_a_model_and_leaves_without(stage):
    async def scene(house: House) -> None:
        peer = await house.peer()
        await asyncio.sleep(0.3)
        peer.writer.close()
        house.scheduler.empty = False
        await house.scheduler.dropped.get()
        await asyncio.sleep(0.3)
        peer = await house.peer()
        house.scheduler.empty = True
        await asyncio.sleep(0.3)
        assert isinstance(await peer.ask(wire.Status(1)), wire.Report)
        peer.writer.close()
        await house.running

    stage.play(scene, linger=0.1)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_daemon_whose_door_has_gone_serves_whom_it_has_and_leaves(stage, how):
    async def scene(house: House) -> None:
        peer = await house.peer()
        stage.endpoint.door.unlink()
        if how == "replaced":
            stage.endpoint.door.write_text("of another daemon")
        await house.until(lambda: not stage.endpoint.lock.exists())
        assert isinstance(await peer.ask(wire.Status(1)), wire.Report)
        peer.writer.close()
        await house.running
        if how == "replaced":
            assert stage.endpoint.door.read_text() == "of another daemon"
            stage.endpoint.door.unlink()

    stage.play(scene)


def test_a_scheduler_that_fails_ends_the_daemon(stage):
    """Its requests were answered by it; whoever asks next starts another daemon."""

    async def scene(house: House) -> None:
        peer = await house.peer()
        threading.Thread(target=house.scheduler.crashed).start()
        assert await peer.is_sent_away()
        await house.running

    stage.play(scene)


def test_the_last_words_to_somebody_who_does_not_read_do_not_keep_the_daemon(stage, monkeypatch):
    monkeypatch.setattr(connection, "GOODBYE_S", 0.1)

    async def scene(house: House) -> None:
        stuck = await house.peer()
        stuck.writer.transport.pause_reading()  # type: ignore[attr-defined]
        stuck.send(wire.Fill(1, TEXT))
        house.scheduler.answer(await house.job(), wire.Failed(1, "internal", "x" * 4_000_000))
        house.daemon.leave("test", finish=True)
        await house.running

    stage.play(scene)


def test_two_daemons_cannot_have_one_place(runtime):
    first = Door.claim(runtime)
    assert first is not None
    assert Door.claim(runtime) is None
    first.close()
    assert list(Path(runtime.folder).iterdir()) == []
