"""Clients that talk nonsense, stall, flood, do not read or vanish: they are dropped and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest

from dgemma_engine import connection, daemon, wire

from .house import FILLED, TEXT, TRANSPORTS, House, Stage, big_draft, failed, frame


@pytest.fixture(params=TRANSPORTS)
def stage(request, runtime, monkeypatch) -> Stage:
    return Stage(request.param, runtime, monkeypatch)


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (wire.encode(wire.Status(1)), "the first message must be hello, not status"),
        (frame(b"\x81\xa4type\xa4nope"), "the first message must be hello: unknown message type 'nope'"),
        (b"GET / HTTP/1.1\r\n\r\n", "a frame of 1195725856 bytes is too large"),
        (b"\0\0", "the stream ended after 2 of the 4 bytes of a frame's header"),
        (b"\0\0\0\x09abc", "the stream ended after 3 of the 9 bytes of a frame's payload"),
    ],
    ids=["no hello", "unknown", "http", "half header", "half frame"],
)
def test_who_does_not_speak_the_protocol_is_told_so_and_nobody_else_notices(stage, first, complaint):
    async def scene(house: House) -> None:
        good, bad = await house.peer(), await house.connect()
        bad.writer.write(first)
        bad.writer.write_eof()
        answer = await bad.next()
        assert failed(answer) == (None, "request")
        assert complaint in answer.message
        assert await bad.ends()
        assert isinstance(await good.ask(wire.Status(1)), wire.Report)

    stage.play(scene)


def test_a_bad_message_gets_an_error_and_the_next_one_is_read(stage):
    async def scene(house: House) -> None:
        peer = await house.peer()
        peer.writer.write(frame(b"\x81\xa4type\xa4nope") + frame(b"\xc1"))
        peer.send(wire.Welcome(1, "x"), wire.Filled(1, FILLED, {}, {}), wire.Hello(wire.PROTOCOL, "x"))
        complaints = [await peer.next() for _ in range(5)]
        assert [failed(complaint) for complaint in complaints] == [(None, "request")] * 5
        assert [complaint.message[:30] for complaint in complaints[2:]] == [
            "welcome is a message of the en",
            "filled is a message of the eng",
            "hello is the first message, an",
        ]
        assert isinstance(await peer.ask(wire.Status(1)), wire.Report)

    stage.play(scene)


def test_one_client_too_many_is_refused_until_another_goes(stage, monkeypatch):
    monkeypatch.setattr(daemon, "MAX_CLIENTS", 3)

    async def scene(house: House) -> None:
        peers = [await house.peer() for _ in range(3)]
        late = await house.connect()
        assert failed(await late.next()) == (None, "busy")
        assert await late.ends()
        peers[0].writer.close()
        await house.scheduler.dropped.get()
        assert isinstance(await (await house.peer()).ask(wire.Status(1)), wire.Report)

    stage.play(scene)


@pytest.mark.parametrize("how", ["close", "reset", "half frame"])
def test_the_jobs_of_a_client_that_goes_are_dropped(stage, how):
    async def scene(house: House) -> None:
        peer, other = await house.peer(), await house.peer()
        peer.send(wire.Fill(1, TEXT), wire.Fill(2, TEXT))
        job = await house.job()
        other.send(wire.Fill(1, TEXT))
        if how == "half frame":
            peer.writer.write(b"\0\0\0\x09abc")
        peer.writer.transport.abort() if how == "reset" else peer.writer.close()
        assert await house.scheduler.dropped.get() == job.client
        await house.until(lambda: len(house.scheduler.open) == 1)
        house.scheduler.answer(next(iter(house.scheduler.open.values())))
        assert isinstance(await other.next(), wire.Filled)

    stage.play(scene)


@pytest.mark.parametrize(
    ("limit", "begin", "complaint"),
    [
        ("HANDSHAKE_S", b"", "no hello came within 0.1 s"),
        ("HANDSHAKE_S", b"\0\0", "no hello came within 0.1 s"),
        ("FRAME_S", b"\0", "a frame was not whole after 0.1 s"),
        ("FRAME_S", b"\0\0\1\0", "a frame was not whole after 0.1 s"),
        ("FRAME_S", wire.encode(wire.Cancel(1)) + b"\0\0\1\0abc", "a frame was not whole after 0.1 s"),
    ],
)
def test_who_keeps_the_daemon_waiting_is_dropped(stage, monkeypatch, limit, begin, complaint):
    monkeypatch.setattr(connection, limit, 0.1)

    async def scene(house: House) -> None:
        slow = await (house.connect() if limit == "HANDSHAKE_S" else house.peer())
        slow.writer.write(begin)
        answer = await slow.next()
        assert failed(answer) == (None, "request")
        assert answer.message == complaint
        assert await slow.ends()

    stage.play(scene)


def test_who_has_nothing_to_say_may_stay(stage, monkeypatch):
    monkeypatch.setattr(connection, "HANDSHAKE_S", 0.05)
    monkeypatch.setattr(connection, "FRAME_S", 0.05)

    async def scene(house: House) -> None:
        peer = await house.peer()
        await asyncio.sleep(0.3)
        assert isinstance(await peer.ask(wire.Status(1)), wire.Report)

    stage.play(scene)


def test_who_does_not_read_gets_fewer_drafts_but_his_answer(stage, monkeypatch):
    monkeypatch.setattr(connection, "SLOW_BYTES", 100_000)

    async def scene(house: House) -> None:
        slow, good = await house.peer(), await house.peer()
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        slow.send(wire.Fill(1, TEXT, drafts=True))
        job = await house.job()
        for number in range(1, 401):
            job.send(big_draft(1, number))
        house.scheduler.answer(job)
        assert isinstance(await good.ask(wire.Status(1)), wire.Report)
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen = []
        while isinstance(message := await slow.next(), wire.Draft):
            seen.append(message.pass_index)
        assert isinstance(message, wire.Filled)
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < 400

    stage.play(scene)


def test_who_does_not_read_at_all_is_dropped(stage, monkeypatch):
    monkeypatch.setattr(connection, "STUCK_BYTES", 500_000)

    async def scene(house: House) -> None:
        stuck, good = await house.peer(), await house.peer()
        stuck.writer.transport.pause_reading()  # type: ignore[attr-defined]
        stuck.send(*(wire.Fill(number, TEXT) for number in range(30)))
        jobs = [await house.job() for _ in range(30)]
        for job in jobs:
            house.scheduler.answer(job, wire.Failed(job.request.id, "internal", "x" * 500_000))
        assert await house.scheduler.dropped.get() == jobs[0].client
        assert isinstance(await good.ask(wire.Status(1)), wire.Report)

    stage.play(scene)


def test_a_flood_of_requests_holds_nobody_up_and_loses_nothing(stage, monkeypatch):
    """Who does not read his answers is not listened to: his own socket fills up, and not the daemon's memory."""
    monkeypatch.setattr(connection, "SLOW_BYTES", 100_000)
    monkeypatch.setattr(connection, "STUCK_BYTES", 200_000)

    async def scene(house: House) -> None:
        flood, good = await house.peer(), await house.peer()
        flood.writer.transport.pause_reading()  # type: ignore[attr-defined]
        flood.send(*(wire.Status(number) for number in range(4000)))
        for number in range(50):
            assert isinstance(await good.ask(wire.Status(number)), wire.Report)
        flood.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert [(await flood.next()).id for _ in range(4000)] == list(range(4000))

    stage.play(scene)
