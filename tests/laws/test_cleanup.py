"""Law 10, nothing is left behind, and law 8, the delivery is told: where it once went wrong."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections import Counter
from typing import Any

import httpx
import pytest

from htx_async import (
    NO_RETRY,
    UNLIMITED,
    AccessKeyError,
    ClientClosedError,
    ClockError,
    Credentials,
    DeadlineExceededError,
    DecodeError,
    HTXClient,
    HTXError,
    NoResponseError,
    RateLimiter,
    RetryPolicy,
)
from htx_async.call_state import Flight
from htx_async.events import Event
from htx_async.middleware.coalescing import GRACE, LAST_MOMENT, Sharing
from htx_async.middleware.rate_limiting import Limiting
from htx_async.options import RequestOptions
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket
from htx_async.request import Request, Response
from htx_async.sandbox import Sandbox, faults
from tests.laws.test_coalescing import Stack
from tests.middleware.test_retrying import GOOD, Scripted, answer
from tests.test_client import Hanging
from tests.virtual import VirtualClock
from tests.world import Trip, endpoint

KEYS = Credentials("access-key", "secret-key")
WRONG_TIME = (
    b'{"status":"error","err-code":"api-signature-not-valid",'
    b'"err-msg":"Signature not valid: Invalid submission time or incorrect time format"}'
)


@pytest.mark.slow
async def test_reads_that_end_by_their_timeout_cost_no_connection() -> None:
    """Five hundred end at random moments; then a hundred at once are served."""
    rng = random.Random(7)  # noqa: S311 - no secret is made of it
    async with (
        Sandbox(limits=False).serve() as base_url,
        HTXClient(
            KEYS, base_url=base_url, rate_limiter=UNLIMITED, retry=NO_RETRY, coalesce=False
        ) as htx,
    ):

        async def read(seconds: float) -> str:
            try:
                await htx.with_options(timeout=seconds).accounts.list()
            except HTXError as error:
                return type(error).__name__
            return "answered"

        for _ in range(10):
            await asyncio.gather(*(read(rng.uniform(0.001, 0.04)) for _ in range(50)))
        outcomes = Counter(await asyncio.gather(*(read(10.0) for _ in range(100))))
    assert outcomes == {"answered": 100}


@pytest.mark.slow
async def test_an_answer_that_is_not_read_on_leaves_no_generator() -> None:
    """Asyncio makes a task of each that is left in the middle: of httpcore's four."""
    left: list[str] = []
    sandbox, hooks = Sandbox(limits=False), sys.get_asyncgen_hooks()

    def note(generator: Any) -> None:
        left.append(generator.__qualname__)

    async with (
        sandbox.serve() as base_url,
        HTXClient(KEYS, base_url=base_url, max_body=1_000, retry=NO_RETRY) as htx,
    ):
        sandbox.faults.next(faults.huge())
        sys.set_asyncgen_hooks(hooks.firstiter, note)
        try:
            with pytest.raises(DecodeError, match="max_body"):
                await htx.accounts.list()
            gc.collect()
        finally:
            sys.set_asyncgen_hooks(*hooks)
    assert left == []


async def test_unlimited_does_not_listen_to_headers() -> None:
    """A server that tells what is left of its limit neither stops nor slows it."""
    transport = httpx.ASGITransport(app=Sandbox())
    async with HTXClient(KEYS, transport=transport, rate_limiter=UNLIMITED) as htx:
        for _ in range(3):
            await htx.accounts.list()
        assert htx.limits()["GET /v1/account/accounts"].wait == 0.0


def test_a_loop_that_is_collected_late_gives_no_token_twice() -> None:
    """Its read is still out when the next loop takes the bucket over, and ends only then."""
    shared = RateLimiter()

    def first() -> object:
        loop = asyncio.new_event_loop()

        async def main() -> object:
            htx = HTXClient(KEYS, transport=Hanging(), rate_limiter=shared)
            read = asyncio.create_task(htx.points.balance())
            await asyncio.sleep(0.01)
            return htx, read

        kept = loop.run_until_complete(main())
        loop.close()
        return kept

    async def look() -> int:
        async with HTXClient(KEYS, rate_limiter=shared) as htx:
            return htx.limits()["GET /v2/point/account"].available

    kept = first()
    assert asyncio.run(look()) == 1
    del kept
    gc.collect()
    assert asyncio.run(look()) == 1


@pytest.mark.usefixtures("virtual_time")
async def test_a_flight_that_is_cancelled_before_its_first_step() -> None:
    """Whoever waits for it, and whoever asks for the same next, is not left hanging."""
    stack = Stack()
    caller = asyncio.create_task(stack.ask())
    ours = {asyncio.current_task(), caller}

    def cancel_all() -> None:
        for task in asyncio.all_tasks() - ours:
            task.cancel()

    asyncio.get_running_loop().call_soon(cancel_all)
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (await stack.ask()).value == 1
    assert not stack.send._flights


async def test_each_has_its_own_notes(virtual_time: VirtualClock) -> None:
    """What one who waits adds to an error is not on the other's."""
    transport = Scripted([httpx.ReadError("x")], virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=NO_RETRY) as htx:
        first, second = await asyncio.gather(
            htx.accounts.list(), htx.accounts.list(), return_exceptions=True
        )
    assert isinstance(first, NoResponseError)
    assert isinstance(second, NoResponseError)
    first.add_note("mine")
    assert "mine" not in second.__notes__


@pytest.mark.parametrize("kind", ["queued", "acquired", "sent", "response"])
async def test_a_listener_that_cancels_costs_nothing(virtual_time: VirtualClock, kind: str) -> None:
    """Whatever it raises, and whenever: the read goes on, tokens and slots come back."""

    def listen(event: Event) -> None:
        if event.kind == kind:
            raise asyncio.CancelledError

    options = {"max_connections": 1, "on_event": listen, "clock": virtual_time}
    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    async with HTXClient(KEYS, transport=transport, **options) as htx:  # type: ignore[arg-type]
        for _ in range(4):
            await htx.points.balance()


@pytest.mark.usefixtures("virtual_time")
async def test_nothing_leaves_after_its_time_is_over() -> None:
    """The loop was held up: a token that comes too late is given back, and so is the slot."""
    stack = Stack()
    await stack.spend()
    reads = [asyncio.create_task(stack.ask(f"/{number}", timeout=1.2)) for number in range(2)]
    await asyncio.sleep(0.5)
    # What a long pause of the whole process looks like: all timers are due at once.
    asyncio.get_running_loop()._jumping.time += 5.0  # type: ignore[attr-defined]
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert all(isinstance(outcome, DeadlineExceededError) for outcome in outcomes)
    assert len(stack.world.arrivals) == 2
    assert stack.bucket.in_use == 0
    assert stack.bucket.try_acquire(stack.clock.monotonic()) is not None


@pytest.mark.usefixtures("virtual_time")
async def test_an_answer_that_comes_with_the_deadline_is_taken() -> None:
    """Both in the same turn of the loop: the caller has its answer."""
    stack = Stack([Trip(down=60.0)])
    caller = asyncio.create_task(stack.ask(timeout=2.0))
    await asyncio.sleep(0)
    (flight,) = stack.send._flights
    just_before = 2.0 - 1e-10  # less than the loop tells apart
    asyncio.get_running_loop().call_at(just_before, flight.land, Response(200, {}, b"", value=7))
    assert (await caller).value == 7


@pytest.mark.usefixtures("virtual_time")
async def test_closing_ends_even_if_something_below_does_not_want_to() -> None:
    """It swallows its cancellation: after the grace and a moment or two it is left alone."""
    clock, done = VirtualClock(), asyncio.Event()

    async def stubborn(request: Request) -> Response:
        request.call.departs(is_internal=False)
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError:
                continue
        return Response(200, {}, b"")

    sharing = Sharing(stubborn, clock)
    read = asyncio.create_task(sharing(Request(endpoint(), "/x", options=RequestOptions())))
    await asyncio.sleep(1.0)
    sharing.refuse()
    await sharing.see_off()
    assert clock.monotonic() <= 1.0 + GRACE + 2 * LAST_MOMENT + 0.01
    with pytest.raises(ClientClosedError):
        await read
    done.set()


@pytest.mark.usefixtures("virtual_time")
async def test_the_question_about_the_clock_is_not_the_read() -> None:
    """A deadline while it is out tells the delivery of the read: it was answered."""
    clock, hang = VirtualClock(), asyncio.Event()

    class Slow(Scripted):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "timestamp" in request.url.path:
                await hang.wait()
            return await super().handle_async_request(request)

    transport = Slow([answer(WRONG_TIME)], clock)
    async with HTXClient(KEYS, transport=transport, clock=clock, timeout=2.0) as htx:
        with pytest.raises(DeadlineExceededError, match="ClockError") as caught:
            await htx.accounts.list()
        assert caught.value.delivery == "answered"
        hang.set()


async def test_an_abandoned_read_does_not_ask_for_the_time(virtual_time: VirtualClock) -> None:
    """Nobody waits any more: nothing is mended for them."""
    transport = Scripted([answer(WRONG_TIME)] * 9, virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        read = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(0.005)
        read.cancel()
        await asyncio.gather(read, return_exceptions=True)
        await asyncio.sleep(1.0)
    assert len(transport.at) == 1


async def test_a_provider_that_fails_later_does_not_hide_the_refusal(
    virtual_time: VirtualClock,
) -> None:
    """HTX refused the key: that is the error, and that there is no other one is its note."""
    given = iter([Credentials("unknown", "secret-key")])

    async def vault() -> Credentials:
        return next(given)  # a second time: StopIteration

    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    async with HTXClient(vault, transport=transport, clock=virtual_time) as htx:
        with pytest.raises(AccessKeyError):
            await htx.accounts.list()
        await virtual_time.sleep(60.0)
        with pytest.raises(AccessKeyError) as caught:
            await htx.accounts.list()
    assert caught.value.delivery == "answered"
    assert "no other keys" in caught.value.__notes__[0]


def without_date(sandbox: Sandbox, date: str | None = None) -> httpx.AsyncBaseTransport:
    """Return the way to an exchange whose answers have no date, or another one."""
    inner = httpx.ASGITransport(app=sandbox)

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await inner.handle_async_request(request)
            response.headers.pop("date", None)
            if date is not None:
                response.headers["date"] = date
            return response

    return Transport()


@pytest.mark.usefixtures("virtual_time")
async def test_a_v2_answer_without_a_date_and_a_wrong_clock() -> None:
    """Nothing tells that it is the clock: HTX is asked, once."""
    sandbox = Sandbox(clock=VirtualClock())
    transport = without_date(sandbox)
    async with HTXClient(KEYS, transport=transport, clock=VirtualClock(600.0)) as htx:
        await htx.points.balance()
        await htx.points.balance()
    assert [arrival.path for arrival in sandbox.arrivals] == [
        "/v2/point/account",
        "/v1/common/timestamp",
        "/v2/point/account",
        "/v2/point/account",
    ]


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("read", ["accounts", "points"])
async def test_a_proxy_with_a_wrong_clock_is_believed_once(read: str) -> None:
    """Its dates lead to one refusal; what HTX itself then tells counts more."""
    sandbox = Sandbox(clock=VirtualClock())
    transport = without_date(sandbox, "Tue, 14 Nov 2023 22:43:20 GMT")  # half an hour ahead
    async with HTXClient(KEYS, transport=transport, clock=VirtualClock()) as htx:
        ask = htx.accounts.list if read == "accounts" else htx.points.balance
        for _ in range(4):
            try:
                await ask()
            except HTXError:
                await htx.accounts.list()
        await ask()
    asked = [arrival for arrival in sandbox.arrivals if "timestamp" in arrival.path]
    assert len(asked) == 1


@pytest.mark.parametrize("told", [b"1" + b"0" * 60, b"1", b"99999999999"])
async def test_a_time_that_cannot_be_is_not_believed(
    virtual_time: VirtualClock, told: bytes
) -> None:
    """The client goes on with what it knew."""
    steps = [answer(WRONG_TIME), answer(b'{"status":"ok","data":%s}' % told), answer(GOOD)]
    transport = Scripted(steps, virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        with pytest.raises(ClockError):
            await htx.accounts.list()
        assert await htx.accounts.list() == ()


def test_limits_tell_what_a_closed_loop_has_spent() -> None:
    """The next loop will find it so."""
    shared = RateLimiter()

    async def spend() -> None:
        transport = httpx.ASGITransport(app=Sandbox())
        async with HTXClient(KEYS, transport=transport, rate_limiter=shared) as htx:
            await htx.points.balance()

    async def look() -> int:
        return HTXClient(KEYS, rate_limiter=shared).limits()["GET /v2/point/account"].available

    asyncio.run(spend())
    assert asyncio.run(look()) == 1


@pytest.mark.usefixtures("virtual_time")
async def test_patience_that_ends_ends_the_flight() -> None:
    """A token that comes in the same turn is not spent for somebody who was just refused."""
    stack = Stack([Trip(down=1.0)], limit=1)
    first = asyncio.create_task(stack.ask("/first"))
    await asyncio.sleep(0.5)
    # Its token will be back at 2.0, and that is when the patience of the second one ends.
    second = asyncio.create_task(stack.ask("/second", queue_timeout=1.5, retry=RetryPolicy()))
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    await asyncio.sleep(9.0)
    sent = len(stack.world.arrivals)
    assert sent == (1 if isinstance(outcomes[1], HTXError) else 2)


def test_a_flight_is_over_when_nobody_will_be_there() -> None:
    """Abandoned, or past the last deadline."""
    flight = Flight()
    flight.until = 5.0
    assert not flight.is_over(4.9)
    assert flight.is_over(5.0)
    flight.abandoned = True
    assert flight.is_over(0.0)


@pytest.mark.usefixtures("virtual_time")
async def test_an_attempt_that_ends_with_the_deadline_is_told_as_the_deadline() -> None:
    """Both timers mean the same: who catches `TimeoutError` catches this."""
    stack = Stack([Trip(down=2.0, fault="cut")])
    with pytest.raises(DeadlineExceededError) as caught:
        await stack.ask(timeout=2.0005, retry=NO_RETRY)
    assert caught.value.delivery == "unknown"


@pytest.mark.usefixtures("virtual_time")
async def test_who_runs_out_of_time_as_the_read_leaves_is_told_that_it_left() -> None:
    """What became of it is told when the caller wakes: a moment before, it still waited."""
    stack = Stack([Trip(), Trip(down=5.0)], limit=1)
    await stack.ask("/first")
    patient = asyncio.create_task(stack.ask())
    await asyncio.sleep(0.25)
    with pytest.raises(DeadlineExceededError) as caught:
        await stack.ask(timeout=0.75)  # that is when the token is back
    assert caught.value.delivery == "unknown"
    assert (await patient).value == 2


@pytest.mark.usefixtures("virtual_time")
async def test_what_nobody_waits_for_does_not_leave() -> None:
    """However it came to have a token."""
    stack = Stack()
    flight = Flight()
    flight.abandoned = True
    slots = TokenQueue(TokenBucket(RateLimit(1, per=0.0)), stack.clock)
    layer = Limiting(stack.world, stack.budget, slots, stack.clock, stack.clock.now)
    with pytest.raises(asyncio.CancelledError):
        await layer(Request(stack.asked, "/x", call=flight))
    assert not stack.world.arrivals
    assert (stack.bucket.in_use, slots.bucket.in_use) == (0, 0)
