"""Bytes of HTTP responses, and two parsers to read them with: ours and a reference."""

from __future__ import annotations

import gzip
from collections.abc import Iterable

import h11

from htx_async.transports.http_parser import ResponseParser
from htx_async.transports.http_response import HTTPResponse

MAX_BODY = 100_000
JSON = b'{"code":200,"data":{}}'
GZIPPED = gzip.compress(JSON, mtime=0)


def response(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    """Return a response with header *lines*."""
    return b"\r\n".join([status, *lines, b"", b""]) + body


def with_length(body: bytes, *lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return a response with a `Content-Length`."""
    return response(b"Content-Length: %d" % len(body), *lines, status=status, body=body)


def chunked(body: bytes, *trailers: bytes, size: int = 5) -> bytes:
    """Return *body* in chunks of *size*, with *trailers*."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return chunks + b"\r\n".join([b"0", *trailers, b"", b""])


def with_chunks(body: bytes, *trailers: bytes) -> bytes:
    """Return a response in chunks."""
    return response(b"Transfer-Encoding: chunked", body=chunked(body, *trailers))


def parse(*parts: bytes, eof: bool = False, has_no_body: bool = False) -> ResponseParser:
    """Return a parser that was fed *parts*."""
    parser = ResponseParser(max_body=MAX_BODY, has_no_body=has_no_body)
    for part in parts:
        parser.feed(memoryview(part), 0.0)
    if eof:
        parser.feed_eof()
    return parser


def parse_all(parts: Iterable[bytes], *, eof: bool = False) -> list[HTTPResponse]:
    """Return the responses that a connection which carries *parts* hands out."""
    responses: list[HTTPResponse] = []
    parser = ResponseParser(max_body=MAX_BODY)
    for part in parts:
        if parser.feed(memoryview(part), 0.0):
            if parser.failure is not None:
                return responses
            responses.append(parser.response())
            if not parser.allows_reuse:
                return responses
            parser = ResponseParser(max_body=MAX_BODY)
    if eof:
        parser.feed_eof()
        if parser.is_complete:
            responses.append(parser.response())
    return responses


def parse_by_reference(stream: bytes, *, eof: bool) -> list[HTTPResponse]:
    """Return the responses that h11 reads from a connection."""
    responses: list[HTTPResponse] = []
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_BODY)
    events: list[h11.Event] = []
    try:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "htx")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(stream)
        if eof:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
                return responses
            events.append(event)
            if isinstance(event, h11.EndOfMessage):
                responses.append(_combined(events))
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return responses
                events.clear()
                connection.start_next_cycle()
                connection.send(h11.Request(method="GET", target="/", headers=[("Host", "htx")]))
                connection.send(h11.EndOfMessage())
    except h11.RemoteProtocolError:
        return responses


def _combined(events: list[h11.Event]) -> HTTPResponse:
    head = next(event for event in events if isinstance(event, h11.Response))
    body = b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))
    return HTTPResponse(
        head.status_code,
        [(bytes(name), bytes(value)) for name, value in head.headers],
        body,
        0,
        http_version=bytes(head.http_version).decode(),
        reason_phrase=bytes(head.reason),
    )
