"""`HTXError.headers`: headers that identify a request, and nothing that repeats it."""

from __future__ import annotations

from urllib.parse import parse_qs, quote

import httpx
import pytest

from htx_async import NO_RETRY, Credentials, HTXClient, HTXError
from htx_async.middleware.trace_headers import trace_headers
from htx_async.request import Response

ACCESS, SECRET = "AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210"
SENT_QUERY = f"AccessKeyId={ACCESS}&Signature=ab%2Bc%3D"


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("x-request-id", "8f3c-41", True),
        ("request-id", "8f3c", True),
        ("x-requestid", "8f3c", True),
        ("x-hb-trace-id", "8f3c", True),
        ("x-b3-traceid", "8f3c", True),
        ("x-correlation-id", "8f3c", True),
        ("cf-ray", "6d9d78e85aea410d-PRG", True),
        ("x-amz-cf-id", "cDehVQoZnx43VYQb9j2-nvCh==", True),
        ("set-cookie", "request-id=1", False),
        ("location", "https://api.huobi.pro", False),
        ("x-hb-ratelimit-requests-remain", "9", False),
        ("x-request-id", "two words", False),
        ("x-request-id", "x" * 201, False),
        ("x-request-id", "\u4e2d", False),
    ],
)
def test_trace_headers_are_selected_by_name(name: str, value: str, is_kept: bool) -> None:
    response = Response(200, {name: value}, b"", sent_query=SENT_QUERY)
    assert trace_headers(response) == ({name: value} if is_kept else {})


@pytest.mark.parametrize("value", [ACCESS, f"id-{ACCESS}-1", "ab+c=", "x.ab+c="])
def test_trace_headers_are_redacted(value: str) -> None:
    response = Response(200, {"x-request-id": value}, b"", sent_query=SENT_QUERY)
    assert "[hidden]" in trace_headers(response)["x-request-id"]
    assert ACCESS not in str(trace_headers(response))


def test_trace_headers_are_few() -> None:
    headers = {f"x-{number}-trace-id": "1" for number in range(100)}
    assert len(trace_headers(Response(200, headers, b""))) == 10


async def test_error_has_the_headers_of_its_response() -> None:
    """Whatever the error is; one without a response has none."""
    signed: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        query = parse_qs(request.url.query.decode())
        signed.extend((*query["AccessKeyId"], *query["Signature"]))
        headers = {"X-Request-Id": "a-1", "X-Trace-Id": query["Signature"][0], "Cf-Ray": ACCESS}
        return bodies.pop(0)(headers)

    bodies = [
        lambda headers: httpx.Response(503, headers=headers, content=b"<html>"),
        lambda headers: httpx.Response(200, headers=headers, content=b"{}"),
        lambda headers: httpx.Response(
            200, headers={**headers, "Content-Encoding": "br"}, content=b"x"
        ),
    ]
    options = {"transport": httpx.MockTransport(respond), "retry": NO_RETRY}
    async with HTXClient(Credentials(ACCESS, SECRET), **options) as htx:  # type: ignore[arg-type]
        for _ in range(3):
            with pytest.raises(HTXError) as caught:
                await htx.accounts.list()
            assert caught.value.headers["x-request-id"] == "a-1"
            assert caught.value.attempts[0].headers == caught.value.headers
            for secret in (*signed, *map(quote, signed)):
                assert secret not in str(caught.value.headers)
    assert HTXError("x").headers == {}
