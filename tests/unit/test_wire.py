"""The wire carries every message unchanged and answers everything else with an error that says why."""

from __future__ import annotations

import asyncio
import struct
import types
from collections.abc import Coroutine
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgemma_engine import wire

FILL = wire.Fill(id=1, text=wire.MaskedText(("def f(", wire.Hole(4), "):\n")))

DELTA = {"base": 1, "start": 0, "stop": 0, "insert": "x", "places": [{"at": 0, "hole": {"max_tokens": 1}}]}
T = TypeVar("T")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NATURAL = st.integers(0, 2**64 - 1)
CONSTRAINED: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(1, wire.MAX_HOLE_TOKENS),
    "noise": st.floats(0, 1, exclude_min=True),
    "parts": st.builds(
        lambda head, hole, tail: (*head, hole, *tail),
        st.lists(TEXT, max_size=2),
        st.deferred(lambda: of(wire.Hole)),
        st.lists(st.one_of(TEXT, st.deferred(lambda: of(wire.Hole))), max_size=3),
    ),
    "at": NATURAL,
    "start": NATURAL,
    "stop": NATURAL,
    "candidate": NATURAL,
    "canvas": NATURAL,
    "Span.hole": NATURAL,
    "places": st.lists(st.deferred(lambda: of(wire.Place)), min_size=1, max_size=3),
    "spans": st.lists(st.deferred(lambda: of(wire.Span)), min_size=1, max_size=3),
    "passes": st.integers(1, wire.MAX_PASSES),
    "pass_index": st.integers(1, wire.MAX_PASSES),
    "deadline_ms": st.none() | st.floats(0, 1e9, exclude_min=True),
    "Lease.idle_s": st.none() | st.floats(0, 1e9),
    "Fill.candidates": st.integers(1, wire.MAX_CANDIDATES),
    "Refine.candidates": st.integers(1, wire.MAX_CANDIDATES),
    "Score.candidates": st.lists(TEXT, min_size=1, max_size=3),
    "Filled.candidates": st.lists(st.deferred(lambda: of(wire.Candidate)), min_size=1, max_size=3),
    "seed": st.none() | st.integers(0, 2**63 - 1),
    "length": st.sampled_from(wire.LENGTHS),
    "priority": st.sampled_from(wire.PRIORITIES),
    "Cell.state": st.sampled_from(wire.CELL_STATES),
    "ModelReport.state": st.sampled_from(["loading", "ready"]),
    "Candidate.finish": st.sampled_from(wire.FINISHES),
    "fraction": st.none() | st.floats(0, 1),
    "probability": st.floats(0, 1),
}


def of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation; of a class, with every field drawn, the constrained ones within bounds."""
    arguments = get_args(annotation)
    if attrs.has(annotation):
        hints = get_type_hints(annotation)
        return st.builds(
            annotation,
            **{
                field.name: next(
                    (
                        CONSTRAINED[key]
                        for key in (f"{annotation.__name__}.{field.name}", field.name)
                        if key in CONSTRAINED
                    ),
                    of(hints[field.name]),
                )
                for field in attrs.fields(annotation)
            },
        )
    if get_origin(annotation) in (types.UnionType, Union):
        return st.one_of([of(argument) for argument in arguments])
    if get_origin(annotation) is tuple:
        return st.lists(of(arguments[0]), max_size=3).map(tuple)
    if get_origin(annotation) is dict:
        return st.dictionaries(TEXT, of(arguments[1]), max_size=3)
    return {
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
        int: st.integers(-(2**63), 2**64 - 1),
        str: TEXT,
        types.NoneType: st.none(),
    }[annotation]


MESSAGES = st.one_of([of(kind) for kind in wire.MESSAGES.values()])


def run(reading: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(reading, 10))


async def read(data: bytes, count: int = 1, piece: int = 2**20) -> list[wire.Message | None]:
    """The next `count` messages of a stream that brings `piece` bytes at a time and ends after `data`."""
    reader = asyncio.StreamReader()

    async def feed() -> None:
        for start in range(0, len(data), piece):
            reader.feed_data(data[start : start + piece])
            await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.ensure_future(feed())
    try:
        return [await wire.read_message(reader) for _ in range(count)]
    finally:
        feeding.cancel()


def frame(plain: Any) -> bytes:
    payload = bytes(msgpack.packb(plain) or b"")
    return struct.pack(">I", len(payload)) + payload


def plain(message: wire.Message) -> dict[str, Any]:
    return msgpack.unpackb(wire.encode(message)[4:])


@pytest.mark.parametrize("kind", wire.MESSAGES.values(), ids=wire.MESSAGES)
@given(data=st.data())
def test_every_message_comes_back_unchanged(kind, data):
    message = data.draw(of(kind))
    assert wire.decode(wire.encode(message)[4:]) == message


@given(st.lists(MESSAGES, max_size=3), st.integers(1, 64))
def test_messages_come_in_order_however_the_stream_cuts_them(messages, piece):
    frames = b"".join(map(wire.encode, messages))
    assert run(read(frames, len(messages) + 1, piece)) == [*messages, None]


@given(MESSAGES, st.data())
def test_a_cut_frame_is_a_frame_error(message, data):
    whole = wire.encode(message)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(wire.FrameError, match="the stream ended"):
        run(read(whole[:cut]))


@given(st.binary(max_size=64))
def test_a_stream_of_garbage_ends_in_an_error_or_its_end(data):
    """Nothing but what `read_message` promises comes out of it, and it comes to an end."""
    try:
        found = run(read(data, count=len(data) // 4 + 1))
    except wire.WireError:
        return
    assert found[-1] is None


@given(st.binary(max_size=64))
def test_garbage_is_a_wire_error_and_nothing_else(payload):
    with pytest.raises(wire.WireError):
        wire.decode(payload)


@given(MESSAGES, st.data())
def test_a_changed_field_is_another_message_or_a_wire_error(message, data):
    """Any value in the place of any field, as a wrong or hostile peer may send it."""
    mangled = plain(message)
    key = data.draw(st.sampled_from(sorted(mangled)))
    mangled[key] = data.draw(
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.floats() | TEXT | st.binary(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
            max_leaves=6,
        )
    )
    try:
        decoded = wire.decode(frame(mangled)[4:])
    except wire.WireError:
        return
    assert isinstance(decoded, get_args(wire.Message))


@pytest.mark.parametrize("size", [wire.MAX_FRAME + 1, 2**32 - 1])
def test_an_announced_size_above_the_limit_is_refused_unread(size):
    async def reading() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(struct.pack(">I", size) + b"x")
        with pytest.raises(wire.FrameError, match="too large"):
            await wire.read_message(reader)
        return await reader.read(2)

    assert run(reading()) == b"x"


def test_an_oversized_message_is_refused_before_it_is_sent():
    with pytest.raises(wire.WireError, match="too large"):
        wire.encode(wire.Failed(1, "x", "a" * (wire.MAX_FRAME + 1)))


def test_the_frame_after_a_bad_message_is_readable():
    async def reading() -> wire.Message | None:
        reader = asyncio.StreamReader()
        reader.feed_data(frame({"type": "fill"}) + wire.encode(wire.Cancel(7)))
        with pytest.raises(wire.WireError) as caught:
            await wire.read_message(reader)
        assert not isinstance(caught.value, wire.FrameError)
        return await wire.read_message(reader)

    assert run(reading()) == wire.Cancel(7)


def test_a_frame_larger_than_the_streams_buffer_is_read():
    message = wire.Failed(1, "x", "a" * 1_000_000)
    assert run(read(wire.encode(message), piece=65536)) == [message]


def test_unknown_fields_of_a_newer_peer_are_ignored():
    newer = {**plain(wire.Hello(9, "9.0.0")), "features": ["x"]}
    assert wire.decode(frame(newer)[4:]) == wire.Hello(9, "9.0.0")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"type": "refund"}, "unknown message type 'refund'; known are hello, fill"),
        ({"type": None}, "unknown message type None"),
        ({"type": 3}, "unknown message type 3"),
        ({"id": "1"}, "fill.id must be an integer, not a string"),
        ({"id": True}, "fill.id must be an integer, not a boolean"),
        ({"id": None}, "fill.id must be an integer, not nil"),
        ({"passes": 2.5}, "fill.passes must be an integer, not a number"),
        ({"passes": 0}, "fill: 'passes' must be >= 1: 0"),
        ({"deadline_ms": -1}, "'deadline_ms' must be > 0"),
        ({"deadline_ms": float("nan")}, "'deadline_ms' must be > 0"),
        ({"deadline_ms": float("inf")}, "'deadline_ms' must be < inf"),
        ({"candidates": 0}, "'candidates' must be >= 1: 0"),
        ({"seed": -1}, "'seed' must be >= 0: -1"),
        ({"length": "long"}, "'length' must be in ('auto', 'elastic', 'probe', 'exact')"),
        ({"drafts": 1}, "fill.drafts must be a boolean, not an integer"),
        ({"text": "def f("}, "fill.text must be a map, not a string"),
        ({"text": {}}, "fill.text.parts is missing"),
        ({"text": {"parts": ["x"]}}, "fill.text: a masked text needs at least one hole"),
        ({"text": {"parts": ["x", 5]}}, "fill.text.parts[1] must be a string, not an integer"),
        ({"text": {"parts": [{"max_tokens": 0}]}}, "fill.text.parts[0]: 'max_tokens' must be >= 1: 0"),
        ({"text": {"parts": [{"max_tokens": 1, "noise": 0}]}}, "'noise' must be > 0"),
        ({"text": {"parts": [{"max_tokens": 1, "noise": 1.5}]}}, "'noise' must be <= 1"),
        ({"text": {"parts": [{"max_tokens": 1, "draft": 7}]}}, "parts[0].draft must be a string"),
        ({"text": {**DELTA, "start": -1}}, "fill.text: 'start' must be >= 0: -1"),
        ({"text": {**DELTA, "base": None}}, "fill.text.base must be an integer, not nil"),
        ({"text": {**DELTA, "places": []}}, "fill.text: Length of 'places' must be >= 1: 0"),
        ({"text": {**DELTA, "places": [{"at": 0}]}}, "fill.text.places[0].hole is missing"),
        ({"document": 5}, "fill.document must be a string, not an integer"),
        ({"priority": "urgent"}, "'priority' must be in ('interactive', 'rewrite', 'warm-up')"),
    ],
)
def test_a_wrong_field_is_named(change, complaint):
    with pytest.raises(wire.WireError) as caught:
        wire.decode(frame({**plain(FILL), **change})[4:])
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "not a msgpack frame"),
        (b"\xc1", "not a msgpack frame"),
        (b"\x91" * 100_000, "not a msgpack frame"),
        (b"\x80\x80", "not a msgpack frame"),
        (b"\x93\x01\x02\x03", "a message is a map, not a list"),
        (b"\x01", "a message is a map, not an integer"),
        (b"\x80", "unknown message type None"),
        (b"\x81\xa4type\xa2\xff\xfe", "not UTF-8"),
        (b"\x81\x01\x02", "not a msgpack frame"),
    ],
)
def test_a_payload_that_is_no_message_is_explained(payload, complaint):
    with pytest.raises(wire.WireError, match=complaint):
        wire.decode(payload)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (wire.Failed(1, "x", "\ud800"), "lone surrogate"),
        (wire.Cancel(2**64), "cannot be encoded"),
        (wire.Scored(1, (object(),)), "cannot be encoded"),  # type: ignore[arg-type]
    ],
)
def test_what_msgpack_cannot_carry_is_a_wire_error(message, complaint):
    with pytest.raises(wire.WireError, match=complaint):
        wire.encode(message)


def test_a_masked_text_knows_its_holes():
    first, second = wire.Hole(1), wire.Hole(2, draft="x", noise=0.5)
    assert wire.MaskedText(("a", first, "b", second)).holes == (first, second)
    with pytest.raises(ValueError, match="at least one hole"):
        wire.MaskedText(("a", "b"))
