"""Headers and compression of responses."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from htx_async.sandbox.rate_windows import Admission
from htx_async.sandbox.request import Message, ParsedRequest
from htx_async.sandbox.responses import (
    ExpireUnit,
    SandboxResponse,
    limit_headers,
    send_response,
)
from tests.virtual import DAY


async def send_body(body: bytes, *, accepts_gzip: bool) -> tuple[dict[bytes, bytes], bytes]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    request = ParsedRequest("GET", "h", "/", b"", "", accepts_gzip=accepts_gzip)
    await send_response(SandboxResponse(200, body), request, (), DAY, send)
    start, end = messages
    return dict(start["headers"]), end["body"]


async def test_response_is_compressed_if_large_and_accepted() -> None:
    """With the same bytes every time."""
    large = b"0" * 1025
    headers, body = await send_body(large, accepts_gzip=True)
    assert headers[b"content-encoding"] == b"gzip"
    assert headers[b"content-length"] == b"%d" % len(body)
    assert gzip.decompress(body) == large
    assert (await send_body(large, accepts_gzip=True))[1] == body


@pytest.mark.parametrize(("size", "accepts_gzip"), [(1024, True), (9999, False)])
async def test_response_is_plain_if_small_or_not_accepted(size: int, *, accepts_gzip: bool) -> None:
    """Up to 1 KB, or without `Accept-Encoding: gzip`."""
    headers, body = await send_body(b"0" * size, accepts_gzip=accepts_gzip)
    assert b"content-encoding" not in headers
    assert body == b"0" * size


async def test_response_has_the_date_of_the_clock() -> None:
    """To the second, in GMT."""
    headers, _ = await send_body(b"{}", accepts_gzip=False)
    assert headers == {
        b"date": b"Tue, 14 Nov 2023 22:13:20 GMT",
        b"content-type": b"application/json",
        b"content-length": b"2",
    }


@pytest.mark.parametrize(
    ("unit", "expire"),
    [
        ("milliseconds", b"1251"),
        ("epoch_milliseconds", b"1700000001251"),
        ("epoch_seconds", b"1700000002"),
    ],
)
def test_limit_headers_use_the_expire_unit(unit: ExpireUnit, expire: bytes) -> None:
    """Rounded up, so that a client that waits this long is not early."""
    admission = Admission(admitted=True, remain=7, expires_in=1.2503)
    assert limit_headers(admission, unit, DAY) == (
        (b"x-hb-ratelimit-requests-remain", b"7"),
        (b"x-hb-ratelimit-requests-expire", expire),
    )


def test_limit_headers_ignore_rounding_errors() -> None:
    """2.0000000001 s are 2,000 ms."""
    admission: Any = Admission(admitted=True, remain=0, expires_in=2.0000000001)
    assert limit_headers(admission, "milliseconds", DAY)[1][1] == b"2000"


def test_limit_headers_are_empty_for_an_uncounted_request() -> None:
    assert limit_headers(None, "milliseconds", DAY) == ()
