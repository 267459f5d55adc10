"""The headers and the coding of answers."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from htx_async.sandbox.rate_windows import Verdict
from htx_async.sandbox.request import Asked, Message
from htx_async.sandbox.responses import (
    Answer,
    ExpireUnit,
    limit_headers,
    send_answer,
)
from tests.virtual import DAY


async def sent(body: bytes, *, accepts_gzip: bool) -> tuple[dict[bytes, bytes], bytes]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    asked = Asked("GET", "h", "/", b"", "", accepts_gzip=accepts_gzip)
    await send_answer(Answer(200, body), asked, (), DAY, send)
    start, end = messages
    return dict(start["headers"]), end["body"]


async def test_large_answers_are_zipped_for_who_accepts_it() -> None:
    """And say so; the same bytes every time."""
    large = b"0" * 1025
    headers, body = await sent(large, accepts_gzip=True)
    assert headers[b"content-encoding"] == b"gzip"
    assert headers[b"content-length"] == b"%d" % len(body)
    assert gzip.decompress(body) == large
    assert (await sent(large, accepts_gzip=True))[1] == body


@pytest.mark.parametrize(("size", "accepts_gzip"), [(1024, True), (9999, False)])
async def test_other_answers_are_plain(size: int, *, accepts_gzip: bool) -> None:
    """Up to 1 KB, or for who does not accept gzip."""
    headers, body = await sent(b"0" * size, accepts_gzip=accepts_gzip)
    assert b"content-encoding" not in headers
    assert body == b"0" * size


async def test_every_answer_has_the_date_of_the_clock() -> None:
    """To the second, in GMT."""
    headers, _ = await sent(b"{}", accepts_gzip=False)
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
def test_the_end_of_a_window_is_told_in_the_unit_asked_for(unit: ExpireUnit, expire: bytes) -> None:
    """Rounded up, so that who waits so long is not early."""
    verdict = Verdict(admitted=True, remain=7, expires_in=1.2503)
    assert limit_headers(verdict, unit, DAY) == (
        (b"x-hb-ratelimit-requests-remain", b"7"),
        (b"x-hb-ratelimit-requests-expire", expire),
    )


def test_rounding_up_forgives_what_floats_add() -> None:
    """2 s less nothing is 2,000 ms."""
    verdict: Any = Verdict(admitted=True, remain=0, expires_in=2.0000000001)
    assert limit_headers(verdict, "milliseconds", DAY)[1][1] == b"2000"


def test_without_a_count_no_headers() -> None:
    """What is not limited has nothing to tell."""
    assert limit_headers(None, "milliseconds", DAY) == ()
