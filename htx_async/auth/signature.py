"""
The canonical query, the timestamp and the signature, as pure functions.

HTX, "Authentication": https://www.htx.com/en-us/opend/newApiPages/ (Signature method).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from urllib.parse import quote

from htx_async.auth.credentials import Credentials

_FIRST, _LAST = "AccessKeyId", "Timestamp"
_Params = tuple[tuple[str, str], ...]


def canonical_query(params: Iterable[tuple[str, str]]) -> str:
    """
    Return the query as HTX signs it: names in ASCII order, unreserved characters unescaped.

    >>> canonical_query([("b", "a b"), ("a", "1:2~")])
    'a=1%3A2~&b=a%20b'
    """
    return "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(params))


def format_timestamp(at: float) -> str:
    """
    Return *at* (seconds since 1970) in HTX's format: UTC, whole seconds, without a zone.

    >>> format_timestamp(1494515970.9)
    '2017-05-11T15:19:30'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def query_to_sign(params: _Params, credentials: Credentials, at: float) -> str:
    """
    Return the canonical query of *params* with the authentication, at *at* (seconds since 1970).

    Nearly all of it is the same for each request, and cached.
    """
    static = _static_parts(params)
    if static is None:
        return canonical_query((*credentials.auth_params(), (_LAST, format_timestamp(at)), *params))
    before, after = static
    return f"{before}{credentials.auth_query()}&{_LAST}={_encoded_timestamp(int(at))}{after}"


def signed_query(
    method: str, host: str, path: str, params: _Params, credentials: Credentials, at: float
) -> str:
    """Return the query to send: `query_to_sign` with its signature."""
    query = query_to_sign(params, credentials, at)
    signature = credentials.signature(f"{method.upper()}\n{host.lower()}\n{path}\n{query}")
    # Base64 has no other characters that a query must escape.
    encoded = signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    return f"{query}&Signature={encoded}"


def websocket_params(host: str, path: str, credentials: Credentials, at: float) -> dict[str, str]:
    """
    Return the parameters that authenticate a WebSocket v2 connection, at *at* (seconds since 1970).

    HTX, "Authentication" of WebSocket v2: names in camel case, version 2.1, nothing URL-encoded.
    """
    (_, access_key), (_, method), _ = credentials.auth_params()
    params = {
        "accessKey": access_key,
        "signatureMethod": method,
        "signatureVersion": "2.1",
        "timestamp": format_timestamp(at),
    }
    text = f"GET\n{host.lower()}\n{path}\n{canonical_query(params.items())}"
    return {"authType": "api", **params, "signature": credentials.signature(text)}


@functools.lru_cache(maxsize=4)
def _encoded_timestamp(at: int) -> str:
    return format_timestamp(at).replace(":", "%3A")


@functools.lru_cache(maxsize=256)
def _static_parts(params: _Params) -> tuple[str, str] | None:
    """Return the query before and after the authentication; `None` if they interleave."""
    if all(name < _FIRST for name, _ in params):
        return f"{canonical_query(params)}&" if params else "", ""
    if all(name > _LAST for name, _ in params):
        return "", f"&{canonical_query(params)}"
    return None
