"""The rate limiting middleware: rate-limit headers, 429s, connection slots and events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from htx_async.errors import ConnectError, RateLimitedError
from htx_async.events import Event, SafeListener
from htx_async.middleware.parsing import EnvelopeParsing
from htx_async.middleware.rate_limiting import MAX_BLOCK
from htx_async.ratelimit.headers import EXPIRE_HEADER, REMAINING_HEADER
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.request import Handler, Request, Response
from tests.virtual import DAY, VirtualClock, VirtualLoop
from tests.world import endpoint, rate_limited


class Setting:
    """The middleware on virtual time; *send* is the handler that it calls."""

    def __init__(self, send: Handler, limit: int = 2, per: float = 1.0, slots: int = 9) -> None:
        self.clock = VirtualClock()
        self.events: list[Event] = []
        self.endpoint = endpoint(limit, per)
        self.rate_limiter = RateLimiter()
        self.send = rate_limited(
            send, self.rate_limiter, self.clock, ConnectionSlots(slots), self.events.append
        )

    async def call(self) -> Response:
        return await self.send(Request(self.endpoint, "/x"))


def responding(headers: Mapping[str, str], clock: VirtualClock) -> Handler:
    """Return a handler that responds immediately, with *headers*."""

    async def send(request: Request) -> Response:
        del request
        return Response(200, headers, b"", clock.monotonic())

    return send


async def test_rate_limiting_follows_headers_with_fewer_requests(
    virtual_time: VirtualClock,
) -> None:
    """Another process used the second token: it is available again when HTX's window ends."""
    setting = Setting(responding({REMAINING_HEADER: "0", EXPIRE_HEADER: "300"}, virtual_time))
    await setting.call()
    await setting.call()
    assert virtual_time.monotonic() == pytest.approx(0.3)


async def test_rate_limiting_delays_all_calls_after_a_429(
    virtual_time: VirtualClock,
) -> None:
    """One 429 is enough: the queued calls do not get one each."""
    errors = iter([RateLimitedError("too many", delivery="answered")])
    arrivals: list[float] = []

    async def send(request: Request) -> Response:
        del request
        arrivals.append(virtual_time.monotonic())
        error = next(errors, None)
        return Response(429, {EXPIRE_HEADER: "700"}, b"", virtual_time.monotonic(), error=error)

    setting = Setting(send, limit=5, per=2.0)
    with pytest.raises(RateLimitedError) as caught:
        await setting.call()
    assert caught.value.retry_after is None  # HTX sent none
    await asyncio.gather(*(setting.call() for _ in range(4)))
    assert arrivals == pytest.approx([0.0, 0.7, 0.7, 0.7, 0.7])
    assert setting.rate_limiter.queue_for(setting.endpoint, virtual_time).status().rate_limited == 1


DATE, HALF_A_MINUTE_LATER = "Tue, 14 Nov 2023 12:00:00 GMT", "Tue, 14 Nov 2023 12:00:30 GMT"


@pytest.mark.parametrize(
    ("headers", "retry_after", "blocked"),
    [
        ({"retry-after": "30"}, 30.0, 30.0),
        ({"retry-after": "30", EXPIRE_HEADER: "700"}, 30.0, 30.0),
        ({"retry-after": HALF_A_MINUTE_LATER, "date": DATE}, 30.0, 30.0),
        ({"retry-after": "100000"}, 100_000.0, MAX_BLOCK),
        ({"retry-after": "0", EXPIRE_HEADER: "700"}, 0.0, 0.0),
        ({"retry-after": "soon", EXPIRE_HEADER: "700"}, None, 0.7),
        ({EXPIRE_HEADER: "700"}, None, 0.7),
        ({REMAINING_HEADER: "0"}, None, 2.0),
        ({}, None, 2.0),
    ],
)
async def test_rate_limiting_blocks_the_endpoint_as_long_as_a_429_says(
    headers: Mapping[str, str],
    retry_after: float | None,
    blocked: float,
    virtual_time: VirtualClock,
) -> None:
    """`Retry-After`, at most 5 minutes; else until HTX's window ends; else a whole window."""
    arrivals: list[float] = []

    async def send(request: Request) -> Response:
        del request
        arrivals.append(virtual_time.monotonic())
        if len(arrivals) == 1:
            return Response(429, headers, b'{"code":1006}', virtual_time.monotonic())
        return Response(200, {}, b'{"code":200,"data":7}', virtual_time.monotonic())

    setting = Setting(EnvelopeParsing(send), limit=5, per=2.0)
    other = rate_limited(EnvelopeParsing(send), setting.rate_limiter, virtual_time)
    with pytest.raises(RateLimitedError) as caught:
        await setting.call()
    assert caught.value.retry_after == retry_after
    request = Request(endpoint(5, 2.0), "/y")
    await asyncio.gather(setting.call(), other(request), setting.call(), other(request))
    assert arrivals == pytest.approx([0.0] + [blocked] * 4)


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiting_releases_the_token_of_a_request_that_was_not_sent() -> None:
    """HTX did not count it."""

    async def send(request: Request) -> Response:
        del request
        raise ConnectError("no connection")  # noqa: EM101, TRY003

    setting = Setting(send)
    for _ in range(10):
        with pytest.raises(ConnectError):
            await setting.call()
    assert setting.clock.monotonic() == 0.0


async def test_rate_limiting_emits_the_events_of_a_call(virtual_time: VirtualClock) -> None:
    """Of one that succeeds, and of one that is queued and gets an API error."""
    outcomes = iter([None, RateLimitedError("no"), None])

    async def send(request: Request) -> Response:
        del request
        return Response(200, {}, b"", virtual_time.monotonic(), error=next(outcomes))

    setting = Setting(send, limit=1)
    await setting.call()
    with pytest.raises(RateLimitedError):
        await setting.call()
    kinds = [event.kind for event in setting.events]
    assert kinds == ["acquired", "sent", "response", "queued", "acquired", "sent", "api_error"]
    assert setting.events[3].wait == 1.0
    assert setting.events[4].wait == pytest.approx(1.0)
    assert setting.events[4].at == pytest.approx(DAY + 1.0)
    assert setting.events[6].error == "RateLimitedError"
    assert setting.events[6].http_status == 200
    assert {event.endpoint for event in setting.events} == {"GET /v1/test"}


def test_listener_that_raises_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its exception does not reach the caller."""

    def listener(event: Event) -> None:
        raise RuntimeError(event.kind)

    guarded = SafeListener(listener)
    for _ in range(3):
        guarded(Event(kind="sent", endpoint="GET /x", request_id=1, at=0.0))
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiting_releases_the_token_when_cancelled_without_a_slot() -> None:
    """The call has its token and waits for a connection slot."""
    gate = asyncio.Event()

    async def send(request: Request) -> Response:
        del request
        await gate.wait()
        return Response(200, {}, b"", 0.0)

    setting = Setting(send, limit=2, slots=1)
    first, second = (asyncio.create_task(setting.call()) for _ in range(2))
    await asyncio.sleep(0)
    bucket = setting.rate_limiter.queue_for(setting.endpoint, setting.clock).bucket
    assert bucket.in_use == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (bucket.in_use, bucket.free) == (1, 1)
    gate.set()
    await first


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiting_is_fifo_for_slots_too_when_the_loop_was_blocked() -> None:
    """A waiter and a new call run in the same iteration of the loop: the waiter is sent first."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    sent: list[str] = []

    async def send(request: Request) -> Response:
        sent.append(request.path)
        await asyncio.sleep(9.0 if request.path == "/slow" else 0.5)
        return Response(200, {}, b"", loop.time())

    setting = Setting(send, limit=2, slots=2)
    tasks: list[asyncio.Task[Response]] = []

    def start_call(path: str) -> None:
        request = Request(setting.endpoint, path)
        tasks.append(asyncio.create_task(setting.send(request)))

    def block() -> None:
        loop._jumping.time += 1.0
        loop.call_soon(start_call, "/late")

    start_call("/first")
    start_call("/second")
    await asyncio.sleep(1.0)
    elsewhere = msgspec.structs.replace(setting.endpoint, path="/v1/other")
    tasks.append(asyncio.create_task(setting.send(Request(elsewhere, "/slow"))))
    start_call("/early")
    loop.call_later(0.25, block)
    await asyncio.gather(*tasks)
    await asyncio.gather(*tasks)
    assert sent == ["/first", "/second", "/slow", "/early", "/late"]
