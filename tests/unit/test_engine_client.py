"""Whatever an engine process does, a request ends: in its answer or in an error that says what happened."""

from __future__ import annotations

import os
import sys

import pytest

from dgemma_engine import wire
from dgemma_lsp import engine_client, engine_process
from dgemma_lsp.engine_client import EngineClient, EngineError, resolve_model
from dgemma_lsp.engine_process import EngineUnavailable
from tests.fake_engine import FILLED, interpreter

TEXT = wire.MaskedText(("before", wire.Hole(4), "after"))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(engine_client, "START_TIMEOUT", 0.5)
    monkeypatch.setattr(engine_process, "STOP_TIMEOUT", 0.3)
    monkeypatch.setattr(engine_process, "_POLL", 0.1)


def test_a_fill_with_its_drafts(tmp_path):
    drafts, stages = [], []
    with EngineClient(interpreter(tmp_path, "good")) as engine:
        assert engine.welcome == wire.Welcome(wire.PROTOCOL, "9.9")
        filled = engine.fill(TEXT, candidates=2, seed=7, passes=3, on_draft=drafts.append, on_progress=stages.append)
        assert engine.score("a", ["b", "cc"]) == (-1.0, -2.0)
    assert [candidate.texts for candidate in filled.candidates] == [(FILLED,), (f"{FILLED}1",)]
    assert filled.tokens == {"hole": 4, "seed": 7, "passes": 3}
    assert [(draft.pass_index, draft.texts) for draft in drafts] == [(1, ("draft 1",)), (2, ("draft 2",))]
    assert [stage.stage for stage in stages] == ["loading"]


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ("dies", "ended with status 3; its last words: RuntimeError: out of luck; see: dgemma-lsp doctor"),
        ("killed", "was killed (by the system when memory ran out, most often)"),
        ("half-frame", "sent something that is no frame: the stream ended after 3 of the 16 bytes"),
        ("garbage", "sent something that is no frame: a frame of 1416782179 bytes is too large"),
        ("missing", "No module named 'torch'; install it with: pip install 'dgemma-lsp[engine]'"),
    ],
)
def test_an_engine_that_fails_in_a_fill(tmp_path, behaviour, complaint):
    with (
        EngineClient(interpreter(tmp_path, behaviour)) as engine,
        pytest.raises(EngineUnavailable) as caught,
    ):
        engine.fill(TEXT)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ("silent", "did not answer within"),
        ("broken", "ended with status 1; its last words: ModuleNotFoundError: No module named 'msgpack'"),
        ("newer", "speaks protocol 99, this is 1; install the same version of both"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_an_engine_that_fails_at_the_start(tmp_path, behaviour, complaint):
    with pytest.raises(EngineUnavailable) as caught, EngineClient(interpreter(tmp_path, behaviour)):
        pass
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("python", "complaint"),
    [
        ("no-such-python", "no-such-python does not exist or cannot be run; name another one"),
        ("/", "does not exist or cannot be run"),
        ("false", "(false -m dgemma_engine) ended with status 1"),
        ("echo", "echo -m dgemma_engine sent something that is no frame"),
    ],
)
def test_an_interpreter_that_is_none(python, complaint):
    with pytest.raises(EngineUnavailable) as caught, EngineClient(python):
        pass
    assert complaint in str(caught.value)


def test_an_interpreter_without_the_package(tmp_path):
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    path.chmod(0o755)
    with pytest.raises(EngineUnavailable, match="has no engine; install it there with: pip install"):
        EngineClient(str(path)).__enter__()


@pytest.mark.parametrize(
    ("behaviour", "code", "line", "details"),
    [
        ("refuses", "checkpoint", "there is no model of that name", ""),
        ("buggy", "internal", "KeyError: 3", "Traceback: here"),
    ],
)
def test_an_engine_that_says_no(tmp_path, behaviour, code, line, details):
    with EngineClient(interpreter(tmp_path, behaviour)) as engine, pytest.raises(EngineError) as caught:
        engine.fill(TEXT)
    assert (caught.value.code, str(caught.value), caught.value.details) == (code, line, details)


def test_text_that_cannot_be_sent_is_an_error_and_the_engine_lives(tmp_path):
    with EngineClient(interpreter(tmp_path, "good")) as engine:
        with pytest.raises(EngineError, match="lone surrogate"):
            engine.fill(wire.MaskedText(("\ud800", wire.Hole(1))))
        assert engine.fill(TEXT).candidates[0].texts == (FILLED,)


def test_a_cancelled_fill_ends_and_the_engine_lives(tmp_path):
    with EngineClient(interpreter(tmp_path, "waits")) as engine:
        with pytest.raises(EngineError) as caught:
            engine.fill(TEXT, on_progress=lambda _: engine.cancel())
        assert caught.value.code == "cancelled"
        assert engine.score("", ["a"]) == (-1.0,)


def test_an_answer_to_an_abandoned_request_is_dropped(tmp_path):
    with EngineClient(interpreter(tmp_path, "late")) as engine:
        assert engine.fill(TEXT).candidates[0].texts == (FILLED,)


def test_a_callback_that_fails_does_not_confuse_the_next_fill(tmp_path):
    def fail(_: wire.Draft) -> None:
        raise KeyError

    with EngineClient(interpreter(tmp_path, "good")) as engine:
        with pytest.raises(KeyError):
            engine.fill(TEXT, on_draft=fail)
        drafts = []
        engine.fill(TEXT, on_draft=drafts.append)
        assert [draft.pass_index for draft in drafts] == [1, 2]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("behaviour", ["good", "stubborn"])
def test_no_child_outlives_the_block(tmp_path, behaviour):
    with EngineClient(interpreter(tmp_path, behaviour)) as engine:
        process = engine._process
        assert process is not None
        os.kill(process.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    with pytest.raises(EngineUnavailable, match="not running"):
        engine.fill(TEXT)
    engine.close()


def test_a_folder_is_named_absolutely_and_a_name_stays(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model("nano") == "nano"
    assert resolve_model("mine") == str(tmp_path / "mine")
    assert resolve_model("./missing") == str(tmp_path / "missing")
    assert resolve_model(str(tmp_path)) == str(tmp_path)
