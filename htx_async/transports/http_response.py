"""A complete HTTP response, with its body decompressed within a limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import msgspec

from htx_async.request import no_action
from htx_async.transports.http_errors import ExchangeError

_GZIP = zlib.MAX_WBITS | 16
_ENCODING, _LENGTH = b"content-encoding", b"content-length"


class HTTPResponse(msgspec.Struct, frozen=True):
    """
    A complete response.

    Attributes:
        status: HTTP status.
        raw_headers: Names in lower case, and values, in their order. They describe `body`: a gzip
            body is decompressed, and `content-encoding` removed.
        body: The body; empty if there is a `problem`.
        first_byte_at: When the response began to arrive, in monotonic seconds.
        problem: Why the body cannot be used; `None`: it can.
        close_connection: Closes the connection, so that no other request uses it. It does nothing
            if a transport was passed to the client.
        http_version: Version of HTTP in the status line.
        reason_phrase: Text of the status line; may be empty.
    """

    status: int
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes
    first_byte_at: float
    problem: str | None = None
    close_connection: Callable[[], object] = no_action
    http_version: str = "1.1"
    reason_phrase: bytes = b""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(status={self.status}, {len(self.body):,} bytes)"

    @property
    def headers(self) -> dict[str, str]:
        """The headers by name; the values of equal names are joined by a comma."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in self.raw_headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def decompressed(self, max_body: int) -> HTTPResponse:
        """
        Return the response with its gzip body decompressed: at most *max_body* bytes.

        Raises:
            ExchangeError: The gzip stream was cut.
        """
        encodings = [value.lower() for name, value in self.raw_headers if name == _ENCODING]
        if not self.body or encodings != [b"gzip"]:
            return self
        body, problem = _decompress(self.body, max_body)
        headers = [
            (name, b"%d" % len(body) if name == _LENGTH else value)
            for name, value in self.raw_headers
            if name != _ENCODING
        ]
        return msgspec.structs.replace(self, raw_headers=headers, body=body, problem=problem)


def size_limit(headers: Iterable[tuple[bytes, bytes]], max_body: int) -> int:
    """Return the most bytes in which a body of *max_body* bytes can arrive."""
    if (_ENCODING, b"gzip") not in [(name, value.lower()) for name, value in headers]:
        return max_body
    return max_body + max_body // 1000 + 1024  # gzip adds to what it cannot compress


def too_large(max_body: int) -> str:
    """Return the problem of a body with more than *max_body* bytes."""
    return f"the body is larger than {max_body:,} bytes (max_body)"


def _decompress(body: bytes, max_body: int) -> tuple[bytes, str | None]:
    """Return the content of *body*, or why it is not one gzip stream of at most *max_body*."""
    decompressor = zlib.decompressobj(_GZIP)
    try:
        content = decompressor.decompress(body, max_body + 1)
    except zlib.error:
        return b"", "the body is not valid gzip"
    if len(content) > max_body:
        return b"", too_large(max_body)
    if not decompressor.eof:
        text = "the body was cut: its gzip stream has no end"
        raise ExchangeError(text, "RemoteProtocolError")
    if decompressor.unused_data:
        return b"", "the body continues after the end of its gzip stream"
    return content, None
