"""Requests, parsed from their ASGI scope."""

from __future__ import annotations

from typing import Any

import pytest

from htx_async.sandbox.request import Message, ParsedRequest, has_body


def scope(**overrides: Any) -> dict[str, Any]:
    plain = {"type": "http", "method": "GET", "path": "/a", "headers": []}
    return plain | overrides


def request_with(name: bytes, value: bytes) -> ParsedRequest:
    return ParsedRequest.from_scope(scope(headers=[(name, value)]))


@pytest.mark.parametrize(
    ("header", "host"),
    [
        (b"api.huobi.pro", "api.huobi.pro"),
        (b"API.HUOBI.PRO", "api.huobi.pro"),
        (b"api.huobi.pro:443", "api.huobi.pro"),
        (b"127.0.0.1:54321", "127.0.0.1"),
        (b"[::1]:80", "::1"),
        (b"[::1", ""),
        (b"", ""),
    ],
)
def test_parsed_request_host_is_lower_case_and_without_port(header: bytes, host: str) -> None:
    """As it is signed."""
    assert request_with(b"host", header).host == host


def test_parsed_request_accepts_a_scope_without_optional_keys() -> None:
    """Host, query and address are empty then."""
    request = ParsedRequest.from_scope(scope())
    assert (request.host, request.path, request.query, request.ip) == ("", "/a", b"", "")


def test_parsed_request_keeps_the_path_as_sent() -> None:
    """With its encoding: it is signed like this."""
    request = ParsedRequest.from_scope(
        scope(path="/a b", raw_path=b"/a%20b", client=("1.2.3.4", 5))
    )
    assert (request.path, request.ip) == ("/a%20b", "1.2.3.4")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (b"gzip", True),
        (b"br, gzip", True),
        (b"gzip;q=0.5, br", True),
        (b"gzip; q=0", False),
        (b"gzip;q=0.000", False),
        (b"deflate, br", False),
        (b"x-gzip", False),
        (b"", False),
    ],
)
def test_parsed_request_accepts_gzip_if_the_header_names_it(
    header: bytes, *, accepted: bool
) -> None:
    """A weight of 0 means no."""
    assert request_with(b"accept-encoding", header).accepts_gzip is accepted


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"body": b"", "more_body": False}], False),
        ([{"body": b"", "more_body": True}, {"type": "http.disconnect"}], False),
        ([{}], False),
        ([{"body": b"x", "more_body": True}], True),
        ([{"body": b"", "more_body": True}, {"body": b"x"}], True),
    ],
)
async def test_has_body_detects_an_unannounced_body(
    messages: list[Message], *, expected: bool
) -> None:
    """In any of its parts."""
    parts = iter(messages)

    async def receive() -> Message:
        return next(parts)

    assert await has_body(ParsedRequest.from_scope(scope()), receive) is expected


async def test_has_body_does_not_read_an_announced_body() -> None:
    """Its length is enough."""

    async def receive() -> Message:
        raise AssertionError

    assert await has_body(request_with(b"content-length", b"2"), receive)
