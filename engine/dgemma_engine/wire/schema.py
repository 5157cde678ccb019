"""Reads plain msgpack values into attrs classes, checking every value against its field's annotation.

Covers what the wire's annotations use and no more: bool, int, float, str, optional values, a string or a
nested class, tuples of one type, and dicts with string keys.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

T = TypeVar("T")

Reader = Callable[[Any, str], Any]
"""Checks one decoded value; the second argument names its place, for the message."""


class SchemaError(ValueError):
    """A value does not fit its field; the message names the place, what belongs there and what was found."""


def read(kind: type[T], value: Any, place: str) -> T:
    """An instance of the attrs class `kind` from a map. Unknown keys are ignored. Raises `SchemaError`."""
    return _reader(kind)(value, place)


def plain(value: Any) -> Any:
    """The reverse: attrs classes as maps, tuples as lists, everything else as it is."""
    if attrs.has(type(value)):
        return {name: plain(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


@functools.cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))


@functools.cache
def _reader(annotation: Any) -> Reader:
    """The reader for a field's annotation: what the wire carries is a small part of Python's types."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if attrs.has(annotation):
        return _map_reader(annotation)
    if origin in (Union, UnionType):
        return _union_reader(arguments)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value, place: tuple(
            item(entry, f"{place}[{index}]") for index, entry in enumerate(_expect(list, value, place))
        )
    if origin is dict:
        item = _reader(arguments[1])
        return lambda value, place: {
            _expect(str, key, f"{place} key"): item(entry, f"{place}[{key!r:.40}]")
            for key, entry in _expect(dict, value, place).items()
        }
    if annotation is float:
        return lambda value, place: float(_expect((float, int), value, place))
    return lambda value, place: _expect(annotation, value, place)


def _map_reader(kind: type) -> Reader:
    hints = get_type_hints(kind)
    fields = [(field.name, _reader(hints[field.name])) for field in attrs.fields(kind)]
    required = sorted(_required(kind))

    def read(value: Any, place: str) -> Any:
        plain = _expect(dict, value, place)
        for name in required:
            if name not in plain:
                raise SchemaError(f"{place}.{name} is missing")
        given = {name: reader(plain[name], f"{place}.{name}") for name, reader in fields if name in plain}
        try:
            return kind(**given)
        except ValueError as error:
            raise SchemaError(f"{place}: {error.args[0]}") from error

    return read


def _union_reader(members: tuple[Any, ...]) -> Reader:
    """Members are told apart by the type msgpack gives them; of several classes the one whose fields are all there."""
    optional = NoneType in members
    nested = [(_required(member), _reader(member)) for member in members if attrs.has(member)]
    scalars = [_reader(member) for member in members if member is not NoneType and not attrs.has(member)]

    def read(value: Any, place: str) -> Any:
        if value is None and optional:
            return None
        if nested and (isinstance(value, dict) or not scalars):
            fitting = [reader for required, reader in nested if isinstance(value, dict) and required <= value.keys()]
            return (fitting or [reader for _, reader in nested])[0](value, place)
        return scalars[0](value, place)

    return read


@functools.cache
def _required(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING)


def _expect(kind: type | tuple[type, ...], value: Any, place: str) -> Any:
    """`value` when it is of `kind`; a bool is no number here, though Python says it is."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)):
        return value
    raise SchemaError(f"{place} must be {_NAMES.get(kinds[0], kinds[0].__name__)}, not {kind_name(value)}")


_NAMES: Mapping[type, str] = {
    bool: "a boolean",
    dict: "a map",
    float: "a number",
    int: "an integer",
    list: "a list",
    str: "a string",
    NoneType: "nil",
}


def kind_name(value: Any) -> str:
    """What a decoded value is called in messages."""
    return _NAMES.get(type(value), type(value).__name__)
