"""Fuzzing of the response parser against h11, a parser that was written independently."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from htx_async.transports.http_response import HTTPResponse
from tests.transports.http_bytes import chunked, parse_all, parse_by_reference, response

FRAGMENTS = st.sampled_from(
    [
        *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b" ", b":", b"\t", b"-", b"+", b",", b"\0", b"\xff"),
        *(b"0", b"5", b"a", b";x=y", b"101", b"304", b"X:\r\n", b" folded\r\n"),
        *(b"HTTP/1.0 ", b"HTTP/1.1 200 OK\r\n", b"RTSP/1.0 200 OK\r\n", b"0\r\n\r\n"),
        *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 199 X\r\nContent-Length: 9\r\n\r\n"),
        *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"),
        *(b"Transfer-Encoding: gzip\r\n", b"Upgrade: x\r\nConnection: upgrade\r\n"),
    ]
)
BODIES = st.lists(st.sampled_from(list(b"ab{} 05\r\n")), max_size=12).map(bytes)
HEADERS = st.lists(
    st.sampled_from([b"X: v", b"X:", b"Y: \xe9", b"Date:  now ", b"Connection: close"]), max_size=2
)
INFORMATIONAL = st.lists(
    st.sampled_from([b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Early Hints\r\nLink: </x>"]),
    max_size=2,
).map(lambda heads: b"".join(head + b"\r\n\r\n" for head in heads))


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Return the bytes of a valid response."""
    status = draw(st.sampled_from([200, 200, 200, 404, 500, 204, 304]))
    start = b"%b %d OK" % (draw(st.sampled_from([b"HTTP/1.1"] * 5 + [b"HTTP/1.0"])), status)
    headers, body = draw(HEADERS), draw(BODIES)
    if status in {204, 304}:
        body = b""
    elif draw(st.booleans()):
        headers.append(b"Content-Length: %d" % len(body))
    elif draw(st.integers(0, 4)):
        headers.append(b"Transfer-Encoding: chunked")
        body = chunked(body, *draw(st.sampled_from([[], [b"T: 1"]])), size=draw(st.integers(1, 5)))
    return draw(INFORMATIONAL) + response(*headers, status=start, body=body)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a response in which a few bytes are missing, repeated or replaced."""
    stream = draw(responses())
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(stream)))
        end = min(len(stream), start + draw(st.sampled_from([0, 1, 2, 5, 20])))
        middle = draw(FRAGMENTS | st.just(b"") | st.just(stream[start:end] * 2))
        stream = stream[:start] + middle + stream[end:]
    return stream


def comparable(response: HTTPResponse) -> tuple[object, ...]:
    """Return the content of a response; h11 changes the case of a transfer encoding."""
    headers = [
        (name, value.lower() if name == b"transfer-encoding" else value)
        for name, value in response.raw_headers
    ]
    return response.status, headers, response.body


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Return *stream* in parts that end at *cuts*."""
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(ends)]


@given(st.lists(responses(), min_size=1, max_size=4), st.booleans())
@example(parts=[response(b"Content-Length: 0")] * 2, eof=False)
def test_parser_returns_every_valid_response_of_a_connection(parts: list[bytes], eof: bool) -> None:
    """The same ones as the reference, if each arrives after its request."""
    expected = parse_by_reference(b"".join(parts), eof=eof)
    assert list(map(comparable, parse_all(parts, eof=eof))) == list(map(comparable, expected))


@given(
    st.lists(mutated(), min_size=1, max_size=3).map(b"".join),
    st.lists(st.integers(0, 500), max_size=6),
    st.booleans(),
)
def test_parser_returns_no_response_that_the_reference_does_not(
    stream: bytes, cuts: list[int], eof: bool
) -> None:
    """Whatever arrives, in parts of any size: the responses are the same, up to an error."""
    expected = list(map(comparable, parse_by_reference(stream, eof=eof)))
    for parts in (split(stream, cuts), [bytes([byte]) for byte in stream]):
        actual = list(map(comparable, parse_all(parts, eof=eof)))
        assert actual == expected[: len(actual)]


@given(mutated(), st.lists(st.integers(0, 500), max_size=6))
def test_first_response_does_not_depend_on_segmentation(stream: bytes, cuts: list[int]) -> None:
    """However TCP cuts the stream."""
    whole = parse_all([stream] if stream else [], eof=True)[:1]
    assert parse_all(split(stream, cuts), eof=True)[:1] == whole
    assert parse_all([bytes([byte]) for byte in stream], eof=True)[:1] == whole
