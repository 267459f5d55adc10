"""What a request asks for, read from an ASGI scope once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import attrs

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@attrs.frozen
class Asked:
    """A request: *path* and *query* as they were sent, *host* in lower case without port."""

    method: str
    host: str
    path: str
    query: bytes = attrs.field(repr=False)
    ip: str
    content_length: str = "0"
    accepts_gzip: bool = False

    @classmethod
    def read(cls, scope: Scope) -> Asked:
        """Read an ASGI scope of type `http`."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client")
        return cls(
            method=scope["method"],
            host=_hostname(headers.get(b"host", "")),
            path=(scope.get("raw_path") or scope["path"].encode()).decode("latin-1"),
            query=scope.get("query_string", b""),
            ip=client[0] if client else "",
            content_length=headers.get(b"content-length", "0"),
            accepts_gzip=_accepts_gzip(headers.get(b"accept-encoding", "")),
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


async def has_body(asked: Asked, receive: Receive) -> bool:
    """Whether the request carries a body, announced or not; an announced one is not read."""
    if asked.content_length != "0":
        return True
    while True:
        message = await receive()
        if message.get("body"):
            return True
        if not message.get("more_body", False):
            return False
