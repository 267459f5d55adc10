"""JSON as plain values with exact numbers: one with a point or an exponent becomes a `Decimal`."""

from __future__ import annotations

from typing import Any

import msgspec

from htx_async.errors import DecodeError
from htx_async.models.wire_types import amount

_decoder = msgspec.json.Decoder(float_hook=amount)


def values(text: bytes | str, what: str) -> Any:
    """Return what the JSON in *text* says; raise `DecodeError` that *what* cannot be read."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    # Raised out here: no error of a lower layer is chained.
    msg = f"{what} cannot be read: it is no JSON, or has a number of too many digits"
    raise DecodeError(msg)
