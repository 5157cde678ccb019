"""What a person reads of the daemon: its report, and its log."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import attrs
import pytest

from dgemma_engine import wire
from dgemma_lsp.engine_client import log as engine_log
from dgemma_lsp.engine_report import duration, table

REPORT = wire.Report(
    id=1,
    package="0.1.0",
    protocol=2,
    pid=4711,
    python="/usr/bin/python3",
    endpoint="/run/user/1000/dgemma-engine.sock",
    uptime_s=3725.0,
    memory=312_000_000,
    clients=1,
    log="/home/ada/engine.log",
    models=(
        wire.ModelReport("nano", "ready", "cpu", "bfloat16", 7_600_000, 4.0, 900.0),
        wire.ModelReport("/models/big\x1b", "loading", "cuda:0", "bfloat16", 52_000_000_000, 0.0, 0.0, 0.25),
    ),
    queue=wire.QueueReport(1, 2, {"filled": 12, "cancelled": 3, "busy": 0}, 96, 4),
    cache=wire.CacheReport(1, 1200, 12_300_000, 3, 1, 0.75, 8100, 900),
)


def test_a_report_is_a_table():
    assert table(REPORT).splitlines() == [
        "engine    pid 4711, up 1 h 2 min, 1 client",
        "version   dgemma-lsp 0.1.0, protocol 2",
        "python    /usr/bin/python3",
        "memory    312.0 MB",
        "endpoint  /run/user/1000/dgemma-engine.sock",
        "log       /home/ada/engine.log",
        "requests  2 running, 1 waiting; ended: 3 cancelled, 12 filled",
        "work      96 passes, 4 prefill chunks",
        "cache     1 prefix, 1200 tokens, 12.3 MB; hit rate 75%, 8100 tokens saved, 900 encoded",
        "",
        "model         state        device  dtype     size     unused  unloads",
        "nano          ready        cpu     bfloat16  7.6 MB   4 s     after 15 min",
        "/models/big␛  loading 25%  cuda:0  bfloat16  52.0 GB  0 s     never",
    ]


def test_without_a_model_it_says_so():
    empty = attrs.evolve(REPORT, models=(), queue=attrs.evolve(REPORT.queue, ended={}))
    lines = table(empty).splitlines()
    assert lines[-1] == "models    none; a request loads the one it needs"
    assert "requests  2 running, 1 waiting; ended: none" in lines


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3599, "59 min"), (7260, "2 h 1 min")]
)
def test_durations_are_short(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("current", "before", "count", "lines"),
    [
        ("a\nb\nc\n", None, 2, ["b", "c"]),
        ("a\nb\nc\n", "x\ny\n", 4, ["y", "a", "b", "c"]),
        ("a\n", "x\ny\n", 9, ["x", "y", "a"]),
        ("a\n", "x\n", 0, []),
        ("", None, 3, []),
        ("a\nhalf", None, 1, ["half"]),
    ],
)
def test_the_last_lines_of_the_log(tmp_path, current, before, count, lines):
    file = tmp_path / "engine.log"
    file.write_text(current)
    if before is not None:
        (tmp_path / "engine.log.1").write_text(before)
    assert engine_log.last(file, count) == lines


def append(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


def test_a_followed_log_comes_grows_and_is_begun_anew(tmp_path, monkeypatch):
    file = tmp_path / "engine.log"
    happens = iter(
        [
            lambda: file.write_text("one\ntwo\n"),
            lambda: append(file, "thr"),
            lambda: append(file, "ee\n"),
            lambda: file.rename(tmp_path / "engine.log.1"),
            lambda: file.write_text("four\n"),
            lambda: file.write_bytes(b"four\n\xff\n"),
        ]
    )
    monkeypatch.setattr(engine_log.time, "sleep", lambda _: next(happens)())
    with contextlib.closing(engine_log.followed(file, 5)) as lines:
        assert list(itertools.islice(lines, 5)) == ["one", "two", "three", "four", "\ufffd"]


def test_a_followed_log_begins_with_its_last_lines(tmp_path):
    file = tmp_path / "engine.log"
    file.write_text("one\ntwo\nthree\n")
    with contextlib.closing(engine_log.followed(file, 2)) as lines:
        assert list(itertools.islice(lines, 2)) == ["two", "three"]
