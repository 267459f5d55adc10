"""The parser of HTTP responses: what it accepts, what it rejects, and when it is complete."""

from __future__ import annotations

import gzip
import zlib

import pytest

from htx_async.errors import ConnectError, NoResponseError
from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_parser import MAX_HEAD, ResponseParser
from htx_async.transports.http_response import HTTPResponse
from htx_async.validation import parse_base_url
from tests.transports.http_bytes import (
    GZIPPED,
    JSON,
    MAX_BODY,
    chunked,
    parse,
    response,
    with_chunks,
    with_length,
)

ORIGIN = parse_base_url("https://api.huobi.pro")
LENGTH = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"

ACCEPTED = {
    "length": (with_length(JSON), JSON),
    "empty": (with_length(b""), b""),
    "without a reason phrase": (with_length(JSON, status=b"HTTP/1.1 200"), JSON),
    "chunks": (with_chunks(JSON), JSON),
    "chunks in any case": (
        response(b"TRANSFER-ENCODING: Chunked", body=chunked(JSON)),
        JSON,
    ),
    "chunk extensions": (response(CHUNKED, body=b"2;x=y\r\n{}\r\n0\r\n\r\n"), b"{}"),
    "trailers": (with_chunks(JSON, b"X-Checksum: 1", b"X-Other: 2"), JSON),
    "100 first": (response(status=b"HTTP/1.1 100 Continue") + with_length(JSON), JSON),
    "103 first": (
        response(b"Link: </x>", status=b"HTTP/1.1 103 Early Hints") * 2 + with_chunks(JSON),
        JSON,
    ),
    "204": (response(status=b"HTTP/1.1 204 No Content"), b""),
    "304 with a length": (response(LENGTH, status=b"HTTP/1.1 304 Not Modified"), b""),
    "keep-alive of HTTP/1.0": (
        with_length(JSON, b"Connection: keep-alive", status=b"HTTP/1.0 200 OK"),
        JSON,
    ),
    "gzip": (with_length(GZIPPED, b"Content-Encoding: gzip"), JSON),
    "gzip in chunks": (
        response(CHUNKED, b"content-encoding: GZIP", body=chunked(GZIPPED)),
        JSON,
    ),
    "empty gzip": (with_length(b"", b"Content-Encoding: gzip"), b""),
    "unknown encoding": (with_length(b"\x8b", b"Content-Encoding: br"), b"\x8b"),
}


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize(("stream", "body"), ACCEPTED.values(), ids=ACCEPTED)
def test_parser_accepts_response_in_parts_of_any_size(
    stream: bytes, body: bytes, size: int
) -> None:
    """It is complete with its last byte, and the connection can be used again."""
    parser = ResponseParser(max_body=MAX_BODY)
    parts = [stream[start : start + size] for start in range(0, len(stream), size)]
    done = [parser.feed(memoryview(part), 0.0) for part in parts]
    assert done == [False] * (len(parts) - 1) + [True]
    assert parser.allows_reuse
    assert parser.response().body == body
    assert parser.response().problem is None


@pytest.mark.parametrize("surplus", [b"\r\n", b"\n", b"x", with_length(JSON)])
@pytest.mark.parametrize("stream", [stream for stream, _ in ACCEPTED.values()], ids=ACCEPTED)
@pytest.mark.parametrize("together", [True, False])
def test_parser_reports_surplus_bytes(stream: bytes, surplus: bytes, together: bool) -> None:
    """The response is handed out; the connection must not be used again."""
    parser = parse(stream + surplus) if together else parse(stream, surplus)
    assert parser.is_complete
    assert not parser.allows_reuse
    assert parser.response() == parse(stream).response()


REJECTED = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTML": b"<html><body>502</body></html>",
    "leading line end": b"\r\n" + with_length(JSON),
    "line end after 100": response(status=b"HTTP/1.1 100 Continue") + b"\r\n" + with_length(JSON),
    "RTSP": with_length(JSON, status=b"RTSP/1.0 200 OK"),
    "RTSP after 100": response(status=b"HTTP/1.1 100 Go")
    + with_length(JSON, status=b"RTSP/1.0 200"),
    "HTTP/2": with_length(JSON, status=b"HTTP/2.0 200 OK"),
    "HTTP/0.9": with_length(JSON, status=b"HTTP/0.9 200 OK"),
    "status 099": with_length(JSON, status=b"HTTP/1.1 099 OK"),
    "status 20": with_length(JSON, status=b"HTTP/1.1 20 OK"),
    "status 2000": with_length(JSON, status=b"HTTP/1.1 2000 OK"),
    "101": response(status=b"HTTP/1.1 101 Switching Protocols"),
    "101 with upgrade": response(
        b"Upgrade: x", b"Connection: upgrade", status=b"HTTP/1.1 101 Switching Protocols", body=b"x"
    ),
    "100 with a length": response(LENGTH, status=b"HTTP/1.1 100 Continue") + with_length(JSON),
    "199 with chunks": response(CHUNKED, status=b"HTTP/1.1 199 X") + with_length(JSON),
    "control character in the reason": with_length(JSON, status=b"HTTP/1.1 200 O\0K"),
    "double length": response(LENGTH, LENGTH, body=b"{}"),
    "different lengths": response(LENGTH, b"Content-Length: 3", body=b"{}"),
    "list of lengths": response(b"Content-Length: 2, 2", body=b"{}"),
    "signed length": response(b"Content-Length: +2", body=b"{}"),
    "empty length": response(b"Content-Length:", body=b"{}"),
    "huge length": response(b"Content-Length: 99999999999999999999", body=b"{}"),
    "length with chunks": response(LENGTH, CHUNKED, body=chunked(b"{}")),
    "chunks with length": response(CHUNKED, LENGTH, body=chunked(b"{}")),
    "chunked twice": response(CHUNKED, CHUNKED, body=chunked(b"{}")),
    "other transfer encoding": response(b"Transfer-Encoding: gzip, chunked", body=chunked(b"{}")),
    "unknown transfer encoding": response(b"Transfer-Encoding: xchunked", body=b"{}"),
    "chunk without size": response(CHUNKED, body=b"\r\n{}\r\n0\r\n\r\n"),
    "chunk size with a sign": response(CHUNKED, body=b"-2\r\n{}\r\n0\r\n\r\n"),
    "chunk size with a blank": response(CHUNKED, body=b"2 \r\n{}\r\n0\r\n\r\n"),
    "chunk too long": response(CHUNKED, body=b"2\r\n{}}\r\n0\r\n\r\n"),
    "huge chunk": response(CHUNKED, body=b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
    "length in trailers": with_chunks(b"{}", LENGTH),
    "transfer encoding in trailers": with_chunks(b"{}", CHUNKED),
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "folded header": response(b"X: a\r\n b", LENGTH, body=b"{}"),
    "blank before the colon": response(b"Content-Length : 2", body=b"{}"),
    "header without a name": response(b": x", LENGTH, body=b"{}"),
    "header without a colon": response(b"X", LENGTH, body=b"{}"),
    "NUL in a header": response(b"X: a\0b", LENGTH, body=b"{}"),
}


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize("stream", REJECTED.values(), ids=REJECTED)
def test_parser_rejects_invalid_response(stream: bytes, size: int) -> None:
    """It may have been processed, so its delivery is unknown."""
    parser = parse(*(stream[start : start + size] for start in range(0, len(stream), size)))
    assert parser.failure is not None
    assert not parser.is_complete
    error = ExchangeError(*parser.failure)
    assert error.kind == "RemoteProtocolError"
    translated = error.to_transport_error(ORIGIN, "GET /v2/x")
    assert isinstance(translated, NoResponseError)
    assert str(translated).startswith("GET /v2/x: https://api.huobi.pro: ")


@pytest.mark.parametrize(
    "stream",
    [
        with_length(JSON)[:-1],
        with_length(JSON)[:20],
        with_chunks(JSON)[:-1],
        with_chunks(JSON)[:-7],
        with_chunks(JSON, b"X: 1")[:-4],
        response(status=b"HTTP/1.1 100 Continue"),
        b"H",
        b"",
    ],
)
def test_parser_rejects_response_that_was_cut(stream: bytes) -> None:
    """Wherever it was cut."""
    parser = parse(*filter(None, [stream]), eof=True)
    assert parser.failure is not None
    text, kind = parser.failure
    assert kind == "ReadError"
    assert ("without a response" in text) is (stream == b"")


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_parser_accepts_response_that_ends_with_the_connection(version: bytes) -> None:
    """Only if the connection was closed in good order."""
    stream = response(status=version + b" 200 OK", body=JSON)
    complete, lost = parse(stream, eof=True), parse(stream)
    lost.connection_lost()
    assert complete.response().body == JSON
    assert not complete.allows_reuse
    assert lost.failure is not None


def test_parser_does_not_allow_reuse_after_connection_close() -> None:
    """Bytes that follow are surplus."""
    closing = with_length(JSON, b"Connection: close")
    assert not parse(closing).allows_reuse
    assert parse(closing + with_length(JSON)).response().body == JSON
    assert not parse(with_length(JSON), eof=True).allows_reuse


def test_parser_without_body_is_complete_after_the_headers() -> None:
    """As for HEAD, whose headers describe the body that GET has."""
    parser = parse(response(b"Content-Length: 999999999"), has_no_body=True)
    assert parser.response().body == b""
    assert parser.response().headers == {"content-length": "999999999"}
    assert parser.allows_reuse
    assert parse(with_length(JSON), has_no_body=True).has_surplus


@pytest.mark.parametrize("surplus", [b"0", b"0;", b"1f", b"\r\n", b"H", chunked(b"{}")])
@pytest.mark.parametrize("header", [CHUNKED, LENGTH, b"Content-Length: 0"])
def test_parser_without_body_reports_surplus_bytes(header: bytes, surplus: bytes) -> None:
    """Also the beginning of a chunk header, which is valid if the response has a body."""
    head = response(header)
    assert parse(head, has_no_body=True).allows_reuse
    for parts in ([head + surplus], [head[:-1], head[-1:] + surplus], [head, surplus]):
        parser = parse(*parts, has_no_body=True)
        assert parser.is_complete
        assert not parser.allows_reuse


@pytest.mark.parametrize("size", [1000, 200_000])
@pytest.mark.parametrize("line", [b"X: %b" % (b"x" * 200_000), b"\r\n".join([b"X-Y: z"] * 30_000)])
def test_parser_limits_the_head(line: bytes, size: int) -> None:
    """However it arrives: one long line, or many short ones."""
    stream = with_length(JSON, line)
    parser = parse(*(stream[start : start + size] for start in range(0, len(stream), size)))
    assert parser.failure is not None
    assert "headers exceed 65,536 bytes" in parser.failure[0]


def test_parser_limits_informational_responses() -> None:
    """Also if each of them is short."""
    parser = parse(response(b"Link: </x>", status=b"HTTP/1.1 103 Early Hints") * 2000)
    assert parser.failure is not None
    assert "headers exceed" in parser.failure[0]


def test_parser_accepts_the_largest_head() -> None:
    """And the body may be in the same part."""
    padding = MAX_HEAD - len(with_length(b"{}", b"X: ")) + len(b"{}")
    stream = with_length(b"{}", b"X: " + b"x" * padding)
    assert parse(stream).response().body == b"{}"
    assert parse(stream).allows_reuse
    assert not parse(stream + b"x").allows_reuse
    assert parse(with_length(b"{}", b"X: x" + b"x" * padding)).failure is not None


@pytest.mark.parametrize("rest", [b"1;" + b"x" * 1000, b"0\r\nX: " + b"x" * 1000])
def test_parser_limits_bytes_without_content(rest: bytes) -> None:
    """Chunk extensions and trailers have no end otherwise."""
    parser = ResponseParser(max_body=MAX_BODY)
    parser.feed(memoryview(response(CHUNKED, body=b"2\r\n{}\r\n" + rest)), 0.0)
    count = 0
    while not parser.feed(memoryview(b"x" * 1000), 0.0):
        count += 1
    assert count <= MAX_HEAD / 1000
    assert parser.failure is not None
    assert "chunk headers or trailers" in parser.failure[0]


@pytest.mark.parametrize(
    "stream",
    [
        response(b"Content-Length: 100001", body=b"x"),
        response(CHUNKED, body=chunked(b"x" * 100_001, size=1000)),
        response(body=b"x" * 100_001),
        with_length(zlib.compress(b"x" * 2 * MAX_BODY, wbits=31), b"Content-Encoding: gzip"),
    ],
    ids=["length", "chunks", "until the end", "gzip"],
)
def test_parser_limits_the_body(stream: bytes) -> None:
    """The status is still known. No more is read, so the connection cannot be used again."""
    parser = parse(stream)
    assert parser.response().status == 200
    assert parser.response().body == b""
    assert parser.response().problem == "the body is larger than 100,000 bytes (max_body)"
    assert parser.allows_reuse is stream.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 2")


def test_parser_accepts_the_largest_body() -> None:
    """Compressed or not."""
    body = b"x" * MAX_BODY
    assert parse(with_length(body)).response().body == body
    compressed = with_length(gzip.compress(body), b"Content-Encoding: gzip")
    assert parse(compressed).response().body == body


@pytest.mark.parametrize("rest", [b"x", b"\0", gzip.compress(b"x", mtime=0)])
@pytest.mark.parametrize("size", [1, 10, 10_000])
def test_gzip_with_trailing_bytes_is_rejected(rest: bytes, size: int) -> None:
    """Wherever TCP cuts the body."""
    stream = with_length(GZIPPED + rest, b"Content-Encoding: gzip")
    parser = parse(*(stream[start : start + size] for start in range(0, len(stream), size)))
    assert parser.response().body == b""
    assert parser.response().problem == "the body continues after the end of its gzip stream"


def test_gzip_that_is_not_valid_is_rejected() -> None:
    """As it would be garbage."""
    parser = parse(with_length(JSON, b"Content-Encoding: gzip"))
    assert parser.response().problem == "the body is not valid gzip"


def test_gzip_that_was_cut_is_not_a_response() -> None:
    """It may help to send the request again."""
    parser = parse(with_length(GZIPPED[:-1], b"Content-Encoding: gzip"))
    with pytest.raises(ExchangeError, match="its gzip stream has no end") as caught:
        parser.response()
    error = caught.value.to_transport_error(ORIGIN)
    assert isinstance(error, NoResponseError)
    assert str(error).startswith("https://api.huobi.pro: the body was cut")


def test_response_headers_describe_the_decompressed_body() -> None:
    """The encoding is removed. Others are left to the caller, also twice the same one."""
    both = [b"Content-Encoding: gzip", b"Content-Encoding: gzip", b"Set-Cookie: a=1"]
    headers = parse(with_length(GZIPPED, b"Content-Encoding: gzip", b"X:")).response().headers
    assert headers == {"content-length": str(len(JSON)), "x": ""}
    twice = parse(with_length(GZIPPED, *both, b"set-cookie:  b=\xe92 ")).response()
    assert twice.headers["content-encoding"] == "gzip, gzip"
    assert twice.headers["set-cookie"] == "a=1, b=é2"
    assert twice.body == GZIPPED


def test_first_byte_is_that_of_the_final_response() -> None:
    """An informational one may come from a gateway, before HTX has counted the request."""
    parser = ResponseParser(max_body=MAX_BODY)
    stream = with_length(JSON)
    parser.feed(memoryview(response(status=b"HTTP/1.1 103 Early Hints")), 1.0)
    parser.feed(memoryview(stream[:5]), 2.0)
    parser.feed(memoryview(stream[5:]), 3.0)
    assert parser.response().first_byte_at == 2.0


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_response_has_version_and_reason_phrase(size: int) -> None:
    """Those of the final response; `httpx.Response` has them, too."""
    stream = response(status=b"HTTP/1.1 103 Early Hints") + with_length(
        JSON, status=b"HTTP/1.0 404 Not Found"
    )
    result = parse(*(stream[start : start + size] for start in range(0, len(stream), size)))
    assert result.response().http_version == "1.0"
    assert result.response().reason_phrase == b"Not Found"
    assert parse(with_length(b"", status=b"HTTP/1.1 200")).response().reason_phrase == b""


def test_response_repr_contains_no_content() -> None:
    """Headers may repeat a signed URL, and a body has amounts."""
    text = repr(HTTPResponse(200, [(b"x", b"secret")], b"amount", 0.0))
    assert text == "HTTPResponse(status=200, 6 bytes)"


def test_failure_before_the_request_is_a_connect_error() -> None:
    """The names of failures are those of httpx's exceptions."""
    error = ExchangeError("x", "PoolTimeout").to_transport_error(ORIGIN)
    assert isinstance(error, ConnectError)
    assert (error.delivery, error.retryable) == ("not_sent", True)
    permanent = ExchangeError("x", "ProxyError", retryable=False).to_transport_error(ORIGIN)
    assert not permanent.retryable
