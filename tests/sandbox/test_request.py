"""How a request is read from its ASGI scope."""

from __future__ import annotations

from typing import Any

import pytest

from htx_async.sandbox.request import Asked, Message, has_body


def scope(**changed: Any) -> dict[str, Any]:
    plain = {"type": "http", "method": "GET", "path": "/a", "headers": []}
    return plain | changed


def headed(name: bytes, value: bytes) -> Asked:
    return Asked.read(scope(headers=[(name, value)]))


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
def test_the_host_is_lower_case_and_without_port(header: bytes, host: str) -> None:
    """As it is signed."""
    assert headed(b"host", header).host == host


def test_what_a_server_may_leave_out_is_optional() -> None:
    """Path, query and address have their empty values then."""
    asked = Asked.read(scope())
    assert (asked.host, asked.path, asked.query, asked.ip) == ("", "/a", b"", "")


def test_the_path_is_the_one_that_was_sent() -> None:
    """Encoded as it was: it is signed so."""
    asked = Asked.read(scope(path="/a b", raw_path=b"/a%20b", client=("1.2.3.4", 5)))
    assert (asked.path, asked.ip) == ("/a%20b", "1.2.3.4")


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
def test_gzip_is_accepted_where_it_is_named(header: bytes, *, accepted: bool) -> None:
    """A weight of 0 means no."""
    assert headed(b"accept-encoding", header).accepts_gzip is accepted


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([{"body": b"", "more_body": False}], False),
        ([{"body": b"", "more_body": True}, {"type": "http.disconnect"}], False),
        ([{}], False),
        ([{"body": b"x", "more_body": True}], True),
        ([{"body": b"", "more_body": True}, {"body": b"x"}], True),
    ],
)
async def test_a_body_is_found_though_it_was_not_announced(
    messages: list[Message], *, found: bool
) -> None:
    """In whichever part it comes."""
    parts = iter(messages)

    async def receive() -> Message:
        return next(parts)

    assert await has_body(Asked.read(scope()), receive) is found


async def test_an_announced_body_is_not_read() -> None:
    """Its length says enough."""

    async def receive() -> Message:
        raise AssertionError

    assert await has_body(headed(b"content-length", b"2"), receive)
