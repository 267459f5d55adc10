"""What the limiting layer hears from HTX, and whom it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from htx_async.errors import ConnectError, RateLimitedError
from htx_async.events import Event, SafeListener
from htx_async.ratelimit.headers import EXPIRE_HEADER, REMAINING_HEADER
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket
from htx_async.request import Handler, Request, Response
from tests.virtual import DAY, VirtualClock, VirtualLoop
from tests.world import endpoint, rate_limited


class Setting:
    """A limiting layer on virtual time, over a `send` of the test's."""

    def __init__(self, send: Handler, limit: int = 2, per: float = 1.0, slots: int = 9) -> None:
        self.clock = VirtualClock()
        self.events: list[Event] = []
        self.asked = endpoint(limit, per)
        self.budget = RateLimiter()
        queue = TokenQueue(TokenBucket(RateLimit(slots, per=0.0)), self.clock)
        self.send = rate_limited(send, self.budget, self.clock, queue, self.events.append)

    async def ask(self) -> Response:
        return await self.send(Request(self.asked, "/x"))


def answering(headers: Mapping[str, str], clock: VirtualClock) -> Handler:
    """Return a `send` that answers at once, with *headers*."""

    async def send(request: Request) -> Response:
        del request
        return Response(200, headers, b"", clock.monotonic())

    return send


async def test_a_header_that_says_less_slows_down(virtual_time: VirtualClock) -> None:
    """Another process has spent the second token: it is back when HTX's window ends."""
    setting = Setting(answering({REMAINING_HEADER: "0", EXPIRE_HEADER: "300"}, virtual_time))
    await setting.ask()
    await setting.ask()
    assert virtual_time.monotonic() == pytest.approx(0.3)


async def test_after_a_refusal_all_wait_until_the_window_ends(virtual_time: VirtualClock) -> None:
    """One refusal is enough: the others do not find out for themselves."""
    refusals = iter([RateLimitedError("too many", delivery="answered")])
    arrivals: list[float] = []

    async def send(request: Request) -> Response:
        del request
        arrivals.append(virtual_time.monotonic())
        error = next(refusals, None)
        return Response(429, {EXPIRE_HEADER: "700"}, b"", virtual_time.monotonic(), error=error)

    setting = Setting(send, limit=5, per=2.0)
    with pytest.raises(RateLimitedError) as caught:
        await setting.ask()
    assert caught.value.retry_after == pytest.approx(0.7)
    await asyncio.gather(*(setting.ask() for _ in range(4)))
    assert arrivals == pytest.approx([0.0, 0.7, 0.7, 0.7, 0.7])
    assert setting.budget.queue_for(setting.asked, virtual_time).status().rate_limited == 1


async def test_retry_after_of_the_answer_goes_first_but_not_beyond_a_period(
    virtual_time: VirtualClock,
) -> None:
    """What HTX says outright counts, up to `per`; the error tells it whole."""

    async def send(request: Request) -> Response:
        del request
        error = RateLimitedError("too many", retry_after=60.0)
        return Response(429, {}, b"", virtual_time.monotonic(), error=error)

    setting = Setting(send, limit=5, per=2.0)
    with pytest.raises(RateLimitedError) as caught:
        await setting.ask()
    assert caught.value.retry_after == 60.0
    assert setting.budget.queue_for(setting.asked, virtual_time).wait() == 2.0


@pytest.mark.usefixtures("virtual_time")
async def test_what_was_not_sent_costs_no_token() -> None:
    """No connection, no count."""

    async def send(request: Request) -> Response:
        del request
        raise ConnectError("no connection")  # noqa: EM101, TRY003

    setting = Setting(send)
    for _ in range(10):
        with pytest.raises(ConnectError):
            await setting.ask()
    assert setting.clock.monotonic() == 0.0


async def test_events_of_a_read(virtual_time: VirtualClock) -> None:
    """Waiting, granted, sent, answered; refused and failed by the error's name."""
    outcomes = iter([None, RateLimitedError("no"), None])

    async def send(request: Request) -> Response:
        del request
        return Response(200, {}, b"", virtual_time.monotonic(), error=next(outcomes))

    setting = Setting(send, limit=1)
    await setting.ask()
    with pytest.raises(RateLimitedError):
        await setting.ask()
    kinds = [event.kind for event in setting.events]
    assert kinds == ["acquired", "sent", "response", "queued", "acquired", "sent", "api_error"]
    assert setting.events[3].wait == 1.0
    assert setting.events[4].wait == pytest.approx(1.0)
    assert setting.events[4].at == pytest.approx(DAY + 1.0)
    assert setting.events[6].error == "RateLimitedError"
    assert setting.events[6].http_status == 200
    assert {event.endpoint for event in setting.events} == {"GET /v1/test"}


def test_a_listener_that_raises_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """And nobody else notices."""

    def listener(event: Event) -> None:
        raise RuntimeError(event.kind)

    guarded = SafeListener(listener)
    for _ in range(3):
        guarded(Event(kind="sent", endpoint="GET /x", request_id=1, at=0.0))
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.usefixtures("virtual_time")
async def test_who_waits_for_a_connection_holds_no_token_when_cancelled() -> None:
    """Cancelled between the token and the slot: the token goes back."""
    gate = asyncio.Event()

    async def send(request: Request) -> Response:
        del request
        await gate.wait()
        return Response(200, {}, b"", 0.0)

    setting = Setting(send, limit=2, slots=1)
    first, second = (asyncio.create_task(setting.ask()) for _ in range(2))
    await asyncio.sleep(0)
    bucket = setting.budget.queue_for(setting.asked, setting.clock).bucket
    assert bucket.in_use == 2
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (bucket.in_use, bucket.free) == (1, 1)
    gate.set()
    await first


@pytest.mark.usefixtures("virtual_time")
async def test_who_has_a_token_is_not_overtaken_before_a_connection() -> None:
    """A loop that was blocked wakes who waited and who comes now at once: the first goes first."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    sent: list[str] = []

    async def send(request: Request) -> Response:
        sent.append(request.path)
        await asyncio.sleep(9.0 if request.path == "/slow" else 0.5)
        return Response(200, {}, b"", loop.time())

    setting = Setting(send, limit=2, slots=2)
    tasks: list[asyncio.Task[Response]] = []

    def ask(path: str) -> None:
        request = Request(setting.asked, path)
        tasks.append(asyncio.create_task(setting.send(request)))

    def block() -> None:
        loop._jumping.time += 1.0
        loop.call_soon(ask, "/late")

    ask("/first")
    ask("/second")
    await asyncio.sleep(1.0)
    elsewhere = msgspec.structs.replace(setting.asked, path="/v1/other")
    tasks.append(asyncio.create_task(setting.send(Request(elsewhere, "/slow"))))
    ask("/early")
    loop.call_later(0.25, block)
    await asyncio.gather(*tasks)
    await asyncio.gather(*tasks)
    assert sent == ["/first", "/second", "/slow", "/early", "/late"]
