"""Daemons come and go, and whoever asks need not know."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient, EngineError, EngineUnavailable
from dgemma_lsp.engine_client import dial as engine_dial
from dgemma_lsp.engine_client import link as engine_link
from tests.client_help import TEXT, in_a_loop
from tests.fake_engine import FakeEngine, interpreter

pytestmark = pytest.mark.usefixtures("runtime", "nothing_is_lost")


@in_a_loop
async def test_a_daemon_that_went_between_two_requests_is_not_missed(starts):
    started = starts("good", "good")
    client = EngineClient()
    first = await client.fill(TEXT, document="a.py")
    await started.engines[0].close()
    second = await client.fill(TEXT, document="a.py")
    assert first.id != second.id
    assert len(started.engines) == 2
    await client.close()
    await started.close()


@in_a_loop
async def test_a_daemon_that_is_leaving_finishes_what_it_has_and_another_gets_the_rest(starts):
    started = starts("waits", "good")
    client = EngineClient()
    old = asyncio.ensure_future(client.fill(TEXT))
    while not started.engines:
        await asyncio.sleep(0.01)
    await started.engines[0].wait_for(wire.Fill)
    started.engines[0].behaviour = "leaving"
    assert (await client.fill(TEXT)).candidates
    assert not old.done()
    assert isinstance(started.engines[1].received[-1], wire.Fill)
    await client.close()
    with pytest.raises(EngineUnavailable):
        await old
    await started.close()


@pytest.mark.parametrize("behaviour", ["leaving", "leaving at once"])
@in_a_loop
async def test_a_request_that_a_leaving_daemon_has_not_begun_is_for_the_next(starts, behaviour):
    started = starts(behaviour, "good")
    client = EngineClient()
    assert (await client.fill(TEXT)).candidates
    assert len(started.engines) == 2
    await client.close()
    await started.close()


@in_a_loop
async def test_a_request_is_not_carried_from_daemon_to_daemon_for_ever(starts):
    started = starts(*["leaving"] * 9)
    client = EngineClient()
    with pytest.raises(EngineUnavailable, match="the engine is leaving, and so did those before it; ask again"):
        await client.fill(TEXT)
    assert len(started.engines) == 3
    await client.close()
    await started.close()


@pytest.fixture
def ours_is_a_version(monkeypatch):
    """Uninstalled, as in a checkout, it is none."""
    monkeypatch.setattr(wire, "package_version", lambda: "0.5")


@pytest.mark.usefixtures("ours_is_a_version")
@pytest.mark.parametrize("behaviour", ["older", "older protocol"])
@in_a_loop
async def test_an_older_daemon_makes_room(starts, behaviour):
    started = starts("good")
    async with FakeEngine(behaviour) as older:
        client = EngineClient()
        assert (await client.fill(TEXT)).candidates
        assert [type(message) for message in older.received] == [wire.Hello, wire.Shutdown]
        assert isinstance(older.received[-1], wire.Shutdown)
        assert older.received[-1].finish
        assert len(started.engines) == 1
        await client.close()
    await started.close()


@pytest.mark.usefixtures("quick", "ours_is_a_version")
@in_a_loop
async def test_an_older_daemon_that_stays_is_an_error(starts):
    starts()
    async with FakeEngine("stubborn"):
        client = EngineClient()
        with pytest.raises(EngineUnavailable, match=r"was told to leave and did not within 0 s; end"):
            await client.fill(TEXT)
        await client.close()


@pytest.mark.usefixtures("ours_is_a_version")
@in_a_loop
async def test_what_our_own_interpreter_starts_is_used_though_it_is_older(starts):
    started = starts("older", "good")
    client = EngineClient()
    assert (await client.fill(TEXT)).candidates
    assert len(started.engines) == 1
    await client.close()
    await started.close()


@in_a_loop
async def test_an_interpreter_of_another_protocol_is_an_error(starts):
    started = starts("older protocol", "good")
    client = EngineClient("/opt/python")
    with pytest.raises(
        EngineError, match=r"the engine of /opt/python is .* speaks protocol 1, this is .* and speaks 2"
    ):
        await client.fill(TEXT)
    assert len(started.engines) == 1
    await client.close()
    await started.close()


@pytest.mark.parametrize("behaviour", ["older", "older protocol", "newer", "newer protocol"])
@in_a_loop
async def test_without_leave_to_start_one_any_version_is_used(behaviour):
    async with FakeEngine(behaviour):
        client = EngineClient(start=False)
        await client.status()
        assert await client.shutdown() == os.getpid()
        await client.close()


@in_a_loop
async def test_a_newer_package_is_used_and_a_newer_protocol_is_the_users_to_solve():
    async with FakeEngine("newer") as engine:
        client = EngineClient()
        assert (await client.fill(TEXT)).candidates
        engine.behaviour = "newer protocol"
        engine.hang_up()
        with pytest.raises(
            EngineError, match=r"speaks protocol 99, this is .* speaks 2; .*, or restart the editor"
        ) as caught:
            await client.fill(TEXT)
        assert caught.value.code == "protocol"
        await client.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("behaviours", "complaint"),
    [
        (["short-lived"] * 9, "the engine starts and is gone at once; its log: "),
        ([], "and takes no clients (no engine is running; start one with: dgemma-lsp engine start); end it with: "),
    ],
)
@in_a_loop
async def test_starting_again_and_again_has_an_end(starts, behaviours, complaint):
    starts(*behaviours)
    client = EngineClient()
    with pytest.raises(EngineUnavailable) as caught:
        await client.fill(TEXT)
    assert complaint in str(caught.value)
    await client.close()


@pytest.mark.parametrize(
    ("version", "than", "older"),
    [
        ("0.1.0", "0.2.0", True),
        ("0.9", "0.10", True),
        ("0.2.0", "0.2", False),
        ("0.2.0rc1", "0.2.0", True),
        ("0.2.0.dev3", "0.2.0", True),
        ("0.2.0+local", "0.2.0", False),
        ("0.2.0", "0.2.0rc1", False),
        ("unknown", "0.2.0", False),
        ("0.2.0", "unknown", False),
    ],
)
def test_versions_are_compared_as_numbers(version, than, older):
    assert engine_link.is_older(version, than) is older


@in_a_loop
async def test_several_clients_at_once_start_one(runtime, tmp_path):
    python = interpreter(tmp_path, "good")
    clients = [EngineClient(python) for _ in range(4)]
    reports = await asyncio.gather(*(client.status() for client in clients for _ in range(2)))
    assert {report.pid for report in reports} == {engine_dial.daemon_pid(runtime)}
    for client in clients:
        await client.close()


@in_a_loop
async def test_one_that_was_killed_is_replaced(runtime, tmp_path):
    client = EngineClient(interpreter(tmp_path, "good"))
    first = await client.status()
    os.kill(first.pid, signal.SIGKILL)
    # Its socket and lock are still there.
    assert runtime.socket.exists()
    assert (await client.status()).pid != first.pid
    await client.close()


@pytest.mark.usefixtures("runtime")
@in_a_loop
async def test_one_that_is_killed_by_a_request_is_an_error_and_the_next_starts_another(tmp_path):
    client = EngineClient(interpreter(tmp_path, "killed"))
    first = await client.status()
    with pytest.raises(EngineUnavailable, match=rf"the engine \(pid {first.pid}\) went away in the middle"):
        await client.fill(TEXT)
    assert (await client.status()).pid != first.pid
    await client.close()


@pytest.mark.usefixtures("runtime")
@in_a_loop
async def test_one_that_cannot_start_is_an_error_every_time(tmp_path):
    client = EngineClient(interpreter(tmp_path, "broken"))
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="No module named 'msgpack'"):
            await client.status()
    await client.close()
