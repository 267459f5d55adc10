"""What an answer looks like as far as this version knows: names, and HTX's words."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, cast, get_args, get_origin

import attrs
import msgspec

from htx_async.models.enums import Word
from htx_async.models.wire_types import WIRE

ENVELOPE: Final = frozenset(
    {"status", "data", "ts", "ch", "next-id", "nextId", "print-log", "full-log"}
    | {"err-code", "err-msg", "err_code", "err_msg", "code", "message", "success", "ok"}
)
"""Fields that HTX's pages, or recorded answers, show beside and with `data`."""

_FIRST_ROW = 4_096
"""Bytes in which the first row of a list has to end, or it is not looked at."""
_LIST = re.compile(r"\s*\[\s*")

_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder()

Inner: TypeAlias = "Shape | type[Word] | None"


Unknown: TypeAlias = tuple[str, str, str | None]
"""Where it is, what it is called, and the word that it says; `None`: the field is unknown."""


class Shape(msgspec.Struct, frozen=True):
    """What a *model* looks like on the wire, or a list of them."""

    model: Any
    listed: bool = False

    @property
    def fields(self) -> Mapping[str, Inner]:
        """The fields of an object by their names on the wire."""
        return _fields_of(self.model)


def shape_of(model: Any) -> Shape:
    """Return what a *model*, or a tuple of them, looks like on the wire."""
    listed = get_origin(model) is tuple
    return Shape(get_args(model)[0] if listed else model, listed)


@functools.cache
def _fields_of(model: Any) -> Mapping[str, Inner]:
    fields: Any = attrs.fields(attrs.resolve_types(model))
    return {field.metadata[WIRE]: _inner(field.type) for field in fields}


def _inner(kind: Any) -> Inner:
    if get_origin(kind) is tuple or attrs.has(kind):
        return shape_of(kind)
    is_word = isinstance(kind, type) and issubclass(kind, Word)
    return cast("type[Word]", kind) if is_word else None


def unknown(body: bytes, shape: Shape | None) -> tuple[Unknown, ...]:
    """
    Return what *shape* does not know in an answer's *body*: in the envelope, and in its `data`.

    Of a list only the first row is looked at.
    """
    found: list[Unknown] = []
    try:
        envelope = _objects.decode(body)
        found += [("", name, None) for name in envelope if name not in ENVELOPE]
        if shape is not None and "data" in envelope:
            found += _in_json(envelope["data"], shape, "data")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # whoever makes the model says what is wrong
    return tuple(found)


def _in_json(data: bytes | memoryview | msgspec.Raw, shape: Shape, path: str) -> Iterator[Unknown]:
    if not shape.listed:
        yield from _in_fields(_objects.decode(data), shape, path)
        return
    from json import JSONDecoder  # noqa: PLC0415 - once in a while

    head = bytes(data)[:_FIRST_ROW].decode(errors="ignore")
    opened = _LIST.match(head)
    if opened and not head.startswith("]", opened.end()):
        row = JSONDecoder().raw_decode(head, opened.end())[0]
        if isinstance(row, dict):
            yield from _in_fields(cast("dict[str, Any]", row), shape, f"{path}[]")


def _in_fields(said: Mapping[str, Any], shape: Shape, path: str) -> Iterator[Unknown]:
    for name, value in said.items():
        if name not in shape.fields:
            yield path, name, None
            continue
        inner = shape.fields[name]
        if isinstance(inner, Shape):
            if isinstance(value, msgspec.Raw):
                yield from _in_json(value, inner, f"{path}.{name}")
        elif inner is not None:
            word = _values.decode(value) if isinstance(value, msgspec.Raw) else value
            if isinstance(word, str) and not inner(word).is_known:
                yield path, name, word
