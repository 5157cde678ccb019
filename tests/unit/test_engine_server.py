"""The engine process: one answer for every request, cancels seen while it works, errors as answers."""

from __future__ import annotations

import os
import queue
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import attrs
import pytest

from dgemma_engine import __main__ as server
from dgemma_engine import wire
from dgemma_engine.errors import EngineError

TEXT = wire.MaskedText((wire.Hole(2),))


class FakeEngine:
    """Stands for the engine; the first pinned text of a fill says how to behave."""

    loaded: list[str]

    @classmethod
    def load(cls, model: str) -> FakeEngine:
        if model == "broken":
            raise EngineError("checkpoint", "broken has no config.json")
        if model == "large":
            raise MemoryError
        if model == "buggy":
            raise KeyError("tensor")
        cls.loaded.append(model)
        return cls()

    def fill(
        self,
        text: wire.MaskedText,
        *,
        deadline_ms: float | None,
        on_draft: Callable[[wire.Draft], None] | None,
        cancelled: Callable[[], bool],
        **options: object,
    ) -> wire.Filled:
        if text.parts[0] == "wait":
            while not cancelled():
                time.sleep(0.005)
            raise EngineError("cancelled", "the request was cancelled")
        if text.parts[0] == "sleep":
            time.sleep(0.2)
        if on_draft:
            on_draft(wire.Draft(0, 1, 1, 1.0, (), ("x",)))
        given = {name: value for name, value in options.items() if isinstance(value, int)}
        ms = {"prefill": 2.0, "total": 3.0} | ({} if deadline_ms is None else {"deadline": deadline_ms})
        return wire.Filled(0, (wire.Candidate(("x",), None, 1, "passes"),), ms, given)

    def score(self, prefix: str, candidates: tuple[str, ...], suffix: str) -> list[float]:
        return [-float(len(prefix + text + suffix)) for text in candidates]


class Peer:
    """The client's end of a running server."""

    def __init__(self) -> None:
        (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
        self.out = os.fdopen(our_out, "wb")
        self._received: queue.Queue[wire.Message | None] = queue.Queue()
        incoming, outgoing = os.fdopen(their_in, "rb"), os.fdopen(their_out, "wb")
        running = server.Server(incoming, outgoing)

        def run() -> None:
            running.run()
            outgoing.close()

        def read() -> None:
            with os.fdopen(our_in, "rb") as stream:
                while (message := wire.read_frame(stream)) is not None:
                    self._received.put(message)
            self._received.put(None)

        self._threads = [threading.Thread(target=target, daemon=True) for target in (run, read)]
        for thread in self._threads:
            thread.start()

    def send(self, *messages: wire.Message) -> None:
        for message in messages:
            wire.write_frame(self.out, message)

    def next(self) -> wire.Message | None:
        return self._received.get(timeout=5)

    def close(self) -> None:
        self.out.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()


@pytest.fixture
def peer(monkeypatch) -> Iterator[Peer]:
    FakeEngine.loaded = []
    monkeypatch.setattr(server, "_engine_class", lambda: FakeEngine)
    made = Peer()
    yield made
    made.close()


def failed(message: wire.Message | None) -> tuple[int | None, str]:
    assert isinstance(message, wire.Failed)
    return message.id, message.code


def test_a_greeting_is_answered_or_refused(peer):
    peer.send(wire.Hello(wire.PROTOCOL, "0.1"), wire.Hello(99, "9.9"))
    assert peer.next() == wire.Welcome(wire.PROTOCOL, wire.package_version())
    refusal = peer.next()
    assert failed(refusal) == (None, "protocol")
    assert "the client (dgemma-lsp 9.9) speaks 99; install the same version of both" in refusal.message


def test_a_model_is_loaded_once_and_its_time_is_told(peer):
    peer.send(wire.Fill(5, TEXT, passes=3, candidates=2, seed=9, drafts=True), wire.Fill(6, TEXT))
    assert peer.next() == wire.Progress(5, "loading")
    draft = peer.next()
    assert isinstance(draft, wire.Draft)
    assert draft.id == 5
    first, second = peer.next(), peer.next()
    assert isinstance(first, wire.Filled)
    assert isinstance(second, wire.Filled)
    assert (first.id, second.id) == (5, 6)
    assert first.tokens == {"passes": 3, "candidates": 2, "seed": 9}
    assert first.ms["prefill"] == 2.0
    assert first.ms["total"] >= first.ms["load"] >= second.ms["load"] == 0
    assert FakeEngine.loaded == ["nano"]


def test_a_deadline_counts_from_receipt(peer):
    sleeper = wire.MaskedText(("sleep", wire.Hole(1)))
    peer.send(wire.Fill(1, sleeper), wire.Fill(2, TEXT, deadline_ms=5000), wire.Fill(3, TEXT, deadline_ms=10))
    answers = [message for message in (peer.next() for _ in range(4)) if isinstance(message, wire.Filled)]
    left = [answer.ms.get("deadline") for answer in answers]
    assert left[0] is None
    assert left[1] is not None
    assert 1000 < left[1] <= 4850
    assert left[2] == 1.0


def test_scores_come_in_order(peer):
    peer.send(wire.Score(1, "nano", "a", ("b", "cc"), "d"))
    assert peer.next() == wire.Progress(1, "loading")
    assert peer.next() == wire.Scored(1, (-3.0, -4.0))


@pytest.mark.parametrize(
    ("model", "code", "text"),
    [
        ("broken", "checkpoint", "broken has no config.json"),
        ("large", "memory", "not enough memory for this model or this text"),
        ("buggy", "internal", "KeyError: 'tensor'"),
    ],
)
def test_a_failure_is_an_answer_and_the_next_request_is_served(peer, model, code, text):
    peer.send(wire.Fill(1, TEXT, model=model), wire.Fill(2, TEXT))
    assert peer.next() == wire.Progress(1, "loading")
    answer = peer.next()
    assert failed(answer) == (1, code)
    line, _, trace = answer.message.partition("\n")
    assert line == text
    assert ("Traceback" in trace) == (code == "internal")
    assert peer.next() == wire.Progress(2, "loading")
    assert isinstance(peer.next(), wire.Filled)


def test_running_and_waiting_requests_can_be_cancelled(peer):
    waiting = wire.MaskedText(("wait", wire.Hole(1)))
    peer.send(wire.Fill(1, waiting), wire.Fill(2, TEXT), wire.Score(3, "nano", "", ("a",)), wire.Fill(4, TEXT))
    assert peer.next() == wire.Progress(1, "loading")
    peer.send(wire.Cancel(3), wire.Cancel(77), wire.Cancel(2), wire.Cancel(1))
    assert [failed(peer.next()) for _ in range(3)] == [(1, "cancelled"), (2, "cancelled"), (3, "cancelled")]
    assert isinstance(peer.next(), wire.Filled)


def test_an_id_in_use_is_refused(peer):
    peer.send(wire.Fill(1, wire.MaskedText(("wait", wire.Hole(1)))))
    assert peer.next() == wire.Progress(1, "loading")
    peer.send(wire.Fill(1, TEXT))
    assert failed(peer.next()) == (1, "request")
    peer.send(wire.Cancel(1))
    assert failed(peer.next()) == (1, "cancelled")


@pytest.mark.parametrize("ending", ["eof", "shutdown", "cut frame"])
def test_the_end_of_the_client_ends_the_server(peer, ending):
    peer.send(wire.Fill(1, wire.MaskedText(("wait", wire.Hole(1)))))
    assert peer.next() == wire.Progress(1, "loading")
    if ending == "shutdown":
        peer.send(wire.Shutdown())
    if ending == "cut frame":
        peer.out.write(b"\0\0\0\x09abc")
        peer.out.flush()
    if ending != "shutdown":
        peer.out.close()
    answers = [failed(message) for message in iter(peer.next, None)]
    assert answers[-1] == (1, "cancelled")
    assert answers[:-1] == ([(None, "request")] if ending == "cut frame" else [])


def test_a_bad_message_gets_an_error_and_the_next_one_is_read(peer):
    bad = b"\x81\xa4type\xa4nope"
    peer.out.write(struct.pack(">I", len(bad)) + bad)
    peer.send(wire.Welcome(1, "x"), wire.Hello(wire.PROTOCOL, "x"))
    assert [failed(peer.next()), failed(peer.next())] == [(None, "request")] * 2
    assert isinstance(peer.next(), wire.Welcome)


def run_process(code: str, *messages: wire.Message) -> tuple[list[wire.Message], str]:
    """What a real engine process answers to `messages` when `code` ran in it first."""
    child = subprocess.Popen(
        [sys.executable, "-c", code + "\nfrom dgemma_engine.__main__ import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    answers = []
    try:
        for message in messages:
            wire.write_frame(child.stdin, message)
            answer = wire.read_frame(child.stdout)
            while isinstance(answer, wire.Progress):
                answer = wire.read_frame(child.stdout)
            assert answer is not None
            answers.append(answer)
        child.stdin.close()
        return answers, child.stderr.read().decode()
    finally:
        child.kill()
        child.wait()


def test_without_torch_the_greeting_works_and_a_fill_says_what_is_missing():
    answers, _ = run_process(
        "import sys; sys.modules['torch'] = None", wire.Hello(wire.PROTOCOL, "x"), wire.Fill(1, TEXT)
    )
    assert isinstance(answers[0], wire.Welcome)
    assert failed(answers[1]) == (1, "engine-missing")
    assert isinstance(answers[1], wire.Failed)
    assert "torch" in answers[1].message


def test_stray_output_goes_to_stderr_and_the_greeting_needs_no_torch():
    code = """
import os, sys
import dgemma_engine.__main__ as server
greet = server._greeting
def noisy(hello):
    print("stray print")
    os.system("echo stray child")
    os.write(1, b"stray write")
    print("torch" in sys.modules)
    return greet(hello)
server._greeting = noisy
"""
    answers, stderr = run_process(code, wire.Hello(wire.PROTOCOL, "x"))
    assert isinstance(answers[0], wire.Welcome)
    for stray in ("stray print", "stray child", "stray write", "False"):
        assert stray in stderr


def test_a_fill_keeps_every_option():
    """The server passes on all there is in a Fill; a new field must not be forgotten."""
    handled = {"id", "model", "drafts", "text"}
    passed = {"passes", "deadline_ms", "candidates", "seed", "length"}
    assert {field.name for field in attrs.fields(wire.Fill)} == handled | passed
