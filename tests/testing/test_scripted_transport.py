"""The transport that plays a script, alone and under a client."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys

import httpx
import pytest

from htx_async import NO_RETRY, Credentials, HTXClient, NoResponseError
from htx_async.testing import ScriptedTransport, Step
from tests.virtual import VirtualClock

KEYS = Credentials("access-key", "secret-key")
EMPTY = httpx.Response(200, json={"status": "ok", "data": []})
BUSY = httpx.Response(200, json={"status": "error", "err-code": "system-busy", "err-msg": "busy"})


async def get(transport: ScriptedTransport, path: str = "/") -> httpx.Response:
    async with httpx.AsyncClient(
        transport=transport, base_url="https://x", trust_env=False
    ) as http:
        return await http.get(path)


async def test_scripted_transport_plays_steps_in_order() -> None:
    """Responses, exceptions, and functions of the request, async or not."""

    def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.url.path)

    async def echo_later(request: httpx.Request) -> httpx.Response:
        return echo(request)

    error = httpx.ReadError("cut")
    transport = ScriptedTransport([httpx.Response(503, text="busy"), error, echo, echo_later])
    response = await get(transport)
    assert (response.status_code, response.text) == (503, "busy")
    with pytest.raises(httpx.ReadError) as caught:
        await get(transport)
    assert caught.value is error
    assert (await get(transport, "/a")).text == "/a"
    assert (await get(transport, "/b")).text == "/b"
    assert [request.url.path for request in transport.requests] == ["/", "/", "/a", "/b"]


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(418, headers={"x-name": "value"}, text="short and stout"),
        httpx.Response(
            418,
            headers={"x-name": "value", "content-encoding": "gzip"},
            stream=httpx.ByteStream(gzip.compress(b"short and stout")),
        ),
    ],
    ids=["plain", "gzip"],
)
async def test_scripted_transport_can_repeat_a_response(response: httpx.Response) -> None:
    """With its status, headers and body each time."""
    transport = ScriptedTransport(itertools.repeat(response))
    for _ in range(3):
        copy = await get(transport)
        assert (copy.status_code, copy.headers["x-name"]) == (418, "value")
        assert copy.text == "short and stout"


async def test_scripted_transport_raises_assertion_error_without_a_step() -> None:
    """The error names the request, without its query."""
    transport = ScriptedTransport([EMPTY])
    await get(transport)
    with pytest.raises(AssertionError, match=r"no step for request 2, GET /v1/a\. Add"):
        await get(transport, "/v1/a?Signature=secret")


async def test_scripted_transport_waits_for_the_delay(virtual_time: VirtualClock) -> None:
    """Before each response or exception; `sent_at` has the times of the requests."""
    steps: list[Step] = [EMPTY, httpx.ReadError("cut"), EMPTY]
    transport = ScriptedTransport(steps, delay=1.5, clock=virtual_time)
    await get(transport)
    with pytest.raises(httpx.ReadError):
        await get(transport)
    await get(transport)
    assert transport.sent_at == [0.0, 1.5, 3.0]
    assert virtual_time.monotonic() == 4.5


async def test_scripted_transport_records_that_it_is_closed() -> None:
    transport = ScriptedTransport([])
    assert not transport.is_closed
    await transport.aclose()
    assert transport.is_closed


async def test_scripted_transport_serves_a_client(virtual_time: VirtualClock) -> None:
    """The client retries as the script demands, and its queries are recorded."""
    transport = ScriptedTransport([BUSY, EMPTY], clock=virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        assert await htx.accounts.list() == ()
        with pytest.raises(NoResponseError) as caught:
            await htx.with_options(retry=NO_RETRY).accounts.list()
    assert "no step for request 3" in str(caught.value)
    assert [request.url.params["AccessKeyId"] for request in transport.requests] == [
        "access-key"
    ] * 3


def test_testing_package_does_not_need_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; import htx_async.testing"
    subprocess.run([sys.executable, "-c", code], check=True)
