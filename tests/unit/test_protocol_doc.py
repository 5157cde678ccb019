"""docs/engine-protocol.md says what the wire does: every message, every field, and conversations that hold."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import msgpack
import pytest

from dgemma_engine import wire
from dgemma_engine.wire import schema
from tests.protocol_doc import PATH, Conversation, conversations, sections

EVENTS = ("progress", "draft")
ANSWERS = {kind.__name__.lower() for kind in get_args(wire.Answer)}
NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "nil"}
REQUESTS = {kind.__name__.lower() for kind in get_args(wire.Request)}


def classes() -> Iterator[tuple[str, type]]:
    """Every class that travels, with its name in the document: messages by their type, parts of them as they are."""
    waiting: list[Any] = list(wire.MESSAGES.values())
    seen = set()
    while waiting:
        annotation = waiting.pop()
        if attrs.has(annotation):
            if annotation not in seen:
                seen.add(annotation)
                name = annotation.__name__
                yield (name.lower() if annotation in wire.MESSAGES.values() else name), annotation
                waiting.extend(get_type_hints(annotation).values())
        else:
            waiting.extend(get_args(annotation))


def in_words(annotation: Any) -> str:
    """A type as the document names it."""
    arguments = [in_words(argument) for argument in get_args(annotation) if argument is not ...]
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(arguments)
    if get_origin(annotation) is tuple:
        return f"list of {arguments[0]}"
    if get_origin(annotation) is dict:
        return f"map of {arguments[1]}"
    return NAMES.get(annotation) or annotation.__name__


def documented(kind: type) -> dict[str, tuple[str, str]]:
    hints = get_type_hints(kind)
    return {
        field.name: (in_words(hints[field.name]), "" if field.default is attrs.NOTHING else json.dumps(field.default))
        for field in attrs.fields(kind)
    }


def test_every_message_and_every_field_is_documented_and_nothing_else():
    assert sections() == {name: documented(kind) for name, kind in classes()}


def test_numbers_and_names_are_the_codes():
    text = PATH.read_text(encoding="utf-8")
    assert f"version **{wire.PROTOCOL}**" in text
    assert f"at most {wire.MAX_FRAME // 2**20} MiB" in text
    for file in (wire.Endpoint(PATH).lock, wire.Endpoint(PATH).socket, wire.Endpoint(PATH).address_file):
        assert f"`{file.name}`" in text
    for allowed in (*wire.PRIORITIES, *wire.LENGTHS, *wire.CELL_STATES, *wire.FINISHES):
        assert f"`{allowed}`" in text


def test_every_message_has_its_part_in_a_conversation():
    said = {line.message["type"] for one in conversations() for line in one.lines if line.message}
    assert said >= set(wire.MESSAGES)


@pytest.mark.parametrize("conversation", conversations(), ids=lambda one: one.name)
class TestConversation:
    def test_each_message_is_one_of_the_wires(self, conversation: Conversation):
        for line in conversation.lines:
            if line.message is None:
                continue
            payload = bytes(msgpack.packb(line.message) or b"")
            if line.mark == "~>":
                with pytest.raises(wire.WireError):
                    wire.decode(payload)
                continue
            message = wire.decode(payload)
            again = msgpack.unpackb(wire.encode(message)[4:])
            # The wire ignores what it does not know: the example must not have such a thing.
            assert merged(again, line.message) == again

    def test_the_client_speaks_when_it_may_and_each_request_has_one_answer(self, conversation: Conversation):
        open_requests: set[int] = set()
        for line in conversation.lines:
            message: dict[str, Any] = line.message or {}
            kind, number = message.get("type"), message.get("id")
            asked = line.mark == "~>" or (line.mark == "->" and kind in REQUESTS)
            if asked and number is not None:
                assert number not in open_requests
                open_requests.add(number)
            elif line.mark == "<-" and kind in ANSWERS and number is not None:
                open_requests.remove(number)
            elif line.mark == "<-" and kind in EVENTS:
                assert number in open_requests
        # Without a greeting there are no requests, only a mistake.
        assert not open_requests or not conversation.greeted


def merged(full: Any, part: Any) -> Any:
    """`full` with everything that `part` says written over it, unknown keys included."""
    if isinstance(full, dict) and isinstance(part, dict):
        return {**full, **{key: merged(full.get(key), value) for key, value in part.items()}}
    if isinstance(full, list) and isinstance(part, list) and len(full) == len(part):
        return [merged(one, other) for one, other in zip(full, part, strict=True)]
    return part


def test_a_part_that_the_wire_ignores_would_be_seen():
    assert merged({"a": 1, "b": [{"c": 2}]}, {"b": [{"d": 3}]}) == {"a": 1, "b": [{"c": 2, "d": 3}]}
    assert schema.plain(wire.Hole(1)) == {"max_tokens": 1, "draft": None, "noise": 1.0}
