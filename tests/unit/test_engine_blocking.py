"""The engine without an event loop: the same requests, and Ctrl-C reaches the daemon."""

from __future__ import annotations

import inspect
import os
import signal
import threading

import pytest

from dgemma_engine import wire
from dgemma_lsp.engine_client import EngineClient
from dgemma_lsp.engine_client.blocking import BlockingEngine
from dgemma_lsp.engine_client.errors import EngineUnavailable
from tests.fake_engine import FILLED, interpreter

TEXT = wire.MaskedText(("before", wire.Hole(4), "after"))

pytestmark = pytest.mark.usefixtures("runtime")


def test_it_has_every_request_of_the_client():
    asked = [name for name, _ in inspect.getmembers(EngineClient, inspect.iscoroutinefunction) if name[0] != "_"]
    assert [name for name in asked if inspect.getdoc(getattr(BlockingEngine, name, None)) is None] == []


def test_the_daemon_outlives_the_block(tmp_path):
    drafts, pids = [], []
    for _ in range(2):
        with BlockingEngine(interpreter(tmp_path, "good")) as engine:
            assert engine.fill(TEXT, on_draft=drafts.append).candidates[0].texts == (FILLED,)
            pids.append(engine.status().pid)
    assert len(drafts) == 4
    assert pids[0] == pids[1]


def test_a_daemon_that_went_while_nobody_listened_is_not_missed(tmp_path):
    with BlockingEngine(interpreter(tmp_path, "good")) as engine:
        first = engine.status().pid
        os.kill(first, signal.SIGKILL)
        assert engine.status().pid != first
        # What it said before it went is still in the pipe, unread.
        engine.shutdown()
        assert engine.fill(TEXT).candidates


def test_ctrl_c_cancels_and_raises(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with BlockingEngine(interpreter(tmp_path, "waits")) as engine:
        with pytest.raises(KeyboardInterrupt):
            engine.fill(TEXT, on_progress=lambda _: signal.raise_signal(signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) is before
        # The connection is sound, and the answer to what was cancelled disturbs nobody.
        assert engine.score("", ["a"]) == (-1.0,)


def test_ctrl_c_twice_does_not_wait(tmp_path):
    def press(_: wire.Progress) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with BlockingEngine(interpreter(tmp_path, "waits")) as engine, pytest.raises(KeyboardInterrupt):
        engine.fill(TEXT, on_progress=press)


def test_ctrl_c_is_the_programs_where_it_wants_it(tmp_path):
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append("own"))
    try:
        with BlockingEngine(interpreter(tmp_path, "good")) as engine:
            filled = engine.fill(
                TEXT, on_draft=lambda _: None, on_progress=lambda _: signal.raise_signal(signal.SIGINT)
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert (filled.candidates[0].texts, pressed) == ((FILLED,), ["own"])


def test_any_thread_may_use_one(tmp_path):
    found = []

    def work() -> None:
        with BlockingEngine(interpreter(tmp_path, "good")) as engine:
            found.append(engine.score("", ["abc"]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert found == [(-3.0,)]


def test_after_the_block_there_is_nothing(tmp_path):
    with (
        pytest.raises(EngineUnavailable, match="No module named 'msgpack'"),
        BlockingEngine(interpreter(tmp_path, "broken")) as engine,
    ):
        engine.status()
    engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        engine.status()
