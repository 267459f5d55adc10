"""Requests, parsed from their ASGI scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import attrs

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@attrs.frozen
class ParsedRequest:
    """
    A request: *path* and *query* as sent, *host* in lower case without port.

    *authority*: host and port as in the header, in lower case.
    """

    method: str
    host: str
    path: str
    query: bytes = attrs.field(repr=False)
    ip: str
    content_length: str = "0"
    accepts_gzip: bool = False
    authority: str = ""

    @classmethod
    def from_scope(cls, scope: Scope) -> ParsedRequest:
        """Return the request of an ASGI scope of type `http`."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client")
        authority = headers.get(b"host", "").lower()
        return cls(
            method=scope["method"],
            host=_hostname(authority),
            path=(scope.get("raw_path") or scope["path"].encode()).decode("latin-1"),
            query=scope.get("query_string", b""),
            ip=client[0] if client else "",
            content_length=headers.get(b"content-length", "0"),
            accepts_gzip=_accepts_gzip(headers.get(b"accept-encoding", "")),
            authority=authority,
        )


def _hostname(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _accepts_gzip(header: str) -> bool:
    for item in header.split(","):
        coding, _, weight = item.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return not weight or weight.strip("0.") != ""
    return False


async def has_body(request: ParsedRequest, receive: Receive) -> bool:
    """Return whether the request has a body. Does not read one that `Content-Length` announces."""
    if request.content_length != "0":
        return True
    while True:
        message = await receive()
        if message.get("body"):
            return True
        if not message.get("more_body", False):
            return False
