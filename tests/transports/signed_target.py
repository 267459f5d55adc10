"""Check of the target of a signed request, whatever transport sends it."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

from htx_async.auth.credentials import Credentials
from htx_async.auth.signature import canonical_query
from htx_async.request import Request

SIGNED_AT = 1_700_000_000.0
"""Unix time at which the request must be signed: 2023-11-14T22:13:20Z."""


def check_signed_target(target: bytes, signed: Request, credentials: Credentials) -> None:
    """Check that *target* is that of *signed*, and that its query parses back to the same form."""
    path, _, query = target.decode("ascii").partition("?")
    assert (path, query) == (signed.path, signed.query)
    unsigned, _, signature = query.partition("&Signature=")
    assert unquote(signature) not in ("", signature[:-3])
    parsed = parse_qsl(unsigned, keep_blank_values=True, strict_parsing=True)
    assert canonical_query(parsed) == unsigned
    timestamp = ("Timestamp", "2023-11-14T22:13:20")
    assert sorted(parsed) == sorted([*credentials.auth_params(), timestamp, *signed.params])
