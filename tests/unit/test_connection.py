"""What a client may say and what it hears: one answer for every request, and a word about every mistake."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time

import pytest

from dgemma_engine import connection, wire

from .house import TEXT, TRANSPORTS, House, Stage, big_draft, failed, frame


@pytest.fixture(params=TRANSPORTS)
def stage(request, runtime, monkeypatch) -> Stage:
    return Stage(request.param, runtime, monkeypatch)


def test_a_status_tells_about_the_daemon(stage):
    async def scene(house: House) -> None:
        peer, _ = await house.peer(), await house.peer()
        report = await peer.ask(wire.Status(7))
        assert isinstance(report, wire.Report)
        assert (report.id, report.pid, report.clients, report.protocol) == (7, os.getpid(), 2, wire.PROTOCOL)
        assert report.endpoint == str(house.endpoint.door)
        assert report.models[0].state == "loading"
        assert report.memory > 0

    stage.play(scene)


def test_a_request_is_answered_once_with_its_events_before_it(stage):
    async def scene(house: House) -> None:
        peer = await house.peer()
        before = time.monotonic()
        peer.send(wire.Fill(5, TEXT, passes=3, drafts=True))
        job = await house.job()
        assert job.request == wire.Fill(5, TEXT, passes=3, drafts=True)
        assert before <= job.received <= time.monotonic()

        def work() -> None:
            for number in range(1, 301):
                job.send(wire.Draft(5, number, 300, 1.0, (), (str(number),)))
            house.scheduler.answer(job)
            job.send(wire.Progress(5, "late"))
            job.send(wire.Failed(5, "late", "a second answer"))

        threading.Thread(target=work).start()
        drafts = [await peer.next() for _ in range(300)]
        assert [draft.pass_index for draft in drafts] == list(range(1, 301))
        assert isinstance(await peer.next(), wire.Filled)
        assert isinstance(await peer.ask(wire.Status(6)), wire.Report)

    stage.play(scene)


def test_an_id_in_use_is_refused_and_free_again_after_the_answer(stage):
    async def scene(house: House) -> None:
        peer, other = await house.peer(), await house.peer()
        peer.send(wire.Fill(1, TEXT))
        first = await house.job()
        assert failed(await peer.ask(wire.Warm(1, TEXT))) == (1, "request")
        other.send(wire.Fill(1, TEXT))
        assert (await house.job()).client != first.client
        house.scheduler.answer(first)
        assert isinstance(await peer.next(), wire.Filled)
        peer.send(wire.Score(1, "a", ("b",)))
        again = await house.job()
        first.send(wire.Progress(1, "an event of the first one, too late"))
        house.scheduler.answer(again, wire.Scored(1, (-1.0,)))
        assert await peer.next() == wire.Scored(1, (-1.0,))

    stage.play(scene)


def test_a_cancel_goes_to_the_open_request_of_its_own_client(stage):
    async def scene(house: House) -> None:
        peer, other = await house.peer(), await house.peer()
        peer.send(wire.Fill(3, TEXT))
        job = await house.job()
        other.send(wire.Cancel(3))
        peer.send(wire.Cancel(77), wire.Cancel(3), wire.Cancel(3))
        assert failed(await peer.next()) == (3, "cancelled")
        assert isinstance(await other.ask(wire.Status(1)), wire.Report)
        assert house.scheduler.cancelled == [(job.client, 3)]

    stage.play(scene)


def test_texts_may_come_as_deltas_and_every_connection_has_its_own(stage):
    async def scene(house: House) -> None:
        peer, other = await house.peer(), await house.peer()
        change = wire.TextDelta(1, 3, 3, "d", (wire.Place(4, wire.Hole(2)),))
        peer.send(wire.Warm(1, TEXT, document="a.py"), wire.Fill(2, change, document="a.py"))
        await house.job()
        assert (await house.job()).request.text == wire.MaskedText(("abcd", wire.Hole(2)))  # type: ignore[union-attr]
        assert failed(await other.ask(wire.Fill(2, change, document="a.py"))) == (2, "text-unknown")

    stage.play(scene)


def test_unload_answers_when_the_memory_is_back(stage):
    async def scene(house: House) -> None:
        peer = await house.peer()
        peer.send(wire.Unload(1, "nano"))
        await house.until(lambda: house.scheduler.unloads)
        assert isinstance(await peer.ask(wire.Status(2)), wire.Report)
        model, done = house.scheduler.unloads[0]
        assert model == "nano"
        threading.Thread(target=done).start()
        assert await peer.next() == wire.Done(1)

    stage.play(scene)


def test_a_bug_of_the_engine_is_an_answer(stage, monkeypatch, caplog):
    async def scene(house: House) -> None:
        monkeypatch.setattr(house.scheduler, "submit", lambda job: {}[job.request.id])
        peer = await house.peer()
        answer = await peer.ask(wire.Fill(1, TEXT))
        assert failed(answer) == (1, "internal")
        assert answer.message.splitlines()[0] == "KeyError: 1"
        assert isinstance(await peer.ask(wire.Status(2)), wire.Report)

    stage.play(scene)
    assert "fill 1" in caplog.text


def test_an_answer_that_cannot_be_sent_is_replaced_by_one_that_can(stage):
    async def scene(house: House) -> None:
        peer = await house.peer()
        peer.send(wire.Fill(1, TEXT))
        job = await house.job()
        job.send(wire.Progress(1, "\ud800"))
        house.scheduler.answer(job, wire.Failed(1, "checkpoint", "\ud800"))
        answer = await peer.next()
        assert failed(answer) == (1, "internal")
        assert "lone surrogate" in answer.message

    stage.play(scene)


@pytest.mark.parametrize("protocol", [1, 99])
def test_another_protocol_is_welcomed_but_may_only_end_the_daemon(stage, protocol):
    async def scene(house: House) -> None:
        peer = await house.peer(protocol)
        for request in (wire.Fill(1, TEXT), wire.Status(2), wire.Lease(3), wire.Unload(4)):
            refusal = await peer.ask(request)
            assert failed(refusal) == (request.id, "protocol")
            assert f"the client (dgemma-lsp 0.1) speaks {protocol}; install the same version" in refusal.message
        assert house.scheduler.jobs.empty()
        assert await peer.ask(wire.Shutdown(5)) == wire.Done(5)

    stage.play(scene)


def test_only_a_port_asks_for_the_token(stage):
    async def scene(house: House) -> None:
        for token in ("", "wrong", "ü"):
            peer = await house.connect()
            answer = await peer.ask(wire.Hello(wire.PROTOCOL, "0.1", token))
            if stage.endpoint.tcp:
                assert failed(answer) == (None, "request")
                assert await peer.ends()
            else:
                assert isinstance(answer, wire.Welcome)

    stage.play(scene)


def test_a_frame_may_come_in_pieces(stage):
    async def scene(house: House) -> None:
        peer = await house.peer()
        for byte in wire.encode(wire.Status(1)) + wire.encode(wire.Status(2)):
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert [(await peer.next()).id, (await peer.next()).id] == [1, 2]

    stage.play(scene)


def test_a_trace_is_sent_whole(stage, monkeypatch):
    monkeypatch.setattr(connection, "SLOW_BYTES", 100_000)

    async def scene(house: House) -> None:
        peer = await house.peer()
        peer.send(wire.Fill(1, TEXT, trace=True))
        job = await house.job()
        for number in range(1, 201):
            job.send(big_draft(1, number))
        assert [(await peer.next()).pass_index for _ in range(200)] == list(range(1, 201))

    stage.play(scene)


def test_the_log_counts_clients_and_quotes_nobody(stage, caplog):
    caplog.set_level(logging.INFO)

    async def scene(house: House) -> None:
        peer, bad = await house.peer(), await house.connect()
        marked = wire.MaskedText(("MARKER text", wire.Hole(2)))
        peer.send(wire.Fill(1, marked, document="MARKER.py", model="MARKER"))
        house.scheduler.answer(await house.job(), wire.Failed(1, "checkpoint", "MARKER"))
        assert failed(await peer.next()) == (1, "checkpoint")
        delta = wire.TextDelta(9, 0, 0, "MARKER", (wire.Place(0, wire.Hole(1)),))
        assert failed(await peer.ask(wire.Fill(2, delta, document="MARKER"))) == (2, "text-unknown")
        bad.writer.write(frame(b"\x81\xa4type\xa6MARKER"))
        assert "MARKER" in (await bad.next()).message
        assert await bad.ends()

    stage.play(scene)
    assert "client 1 opened, 1 now" in caplog.text
    assert "client 2 closed, 1 now: refused: the first message must be hello" in caplog.text
    assert "leaving: the scene is over" in caplog.text
    assert "MARKER" not in caplog.text
