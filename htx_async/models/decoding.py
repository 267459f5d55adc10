"""
From the JSON of `data` to frozen models.

A field matters unless it says what it is when `absent`: where it is missing or malformed, a
`DecodeError` names its path. Unknown fields are passed over.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import msgspec

from htx_async.errors import DecodeError
from htx_async.models.wire_types import ABSENT, WIRE, MalformedError, json_decoder

T = TypeVar("T")

_decoder = json_decoder()


def wire(name: str, **options: Any) -> Any:
    """
    Return an attrs field that is called *name* on the wire.

    With *absent*, the field does not matter: missing, null or malformed, it is that.
    """
    known = {key: options.pop(key) for key in (ABSENT,) if key in options}
    return attrs.field(metadata={WIRE: name, **known}, **options)


@functools.cache
def _structure(model: Any) -> Callable[[Any], Any]:
    # Only with the first answer: cattrs takes as long to import as all of ours.
    from htx_async.models.structure import structure_of  # noqa: PLC0415

    return structure_of(model)


def reader(model: type[T] | Any) -> Callable[[bytes | memoryview], T]:
    """Return a function that makes a *model* of the JSON of `data`, or raises `DecodeError`."""
    kind: Any = model

    def read(data: bytes | memoryview) -> T:
        try:
            structure: Callable[[Any], T] = _structure(kind)
            return structure(_decoder.decode(data))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            path, wanted = "data", "is no JSON"
        except MalformedError as error:
            path, wanted = f"data{error.args[0]}", error.args[1]
        # Raised out here: no error of a lower layer is chained. Nothing of `data` is shown: it
        # may echo the request, and who asked is not known here.
        msg = f"the answer cannot be read: {path} {wanted}"
        raise DecodeError(msg, path=path)

    return read
