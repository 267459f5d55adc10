"""Law 4: identical queued calls share one request; a call never joins one already sent."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from itertools import cycle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.errors import HTXError, NoResponseError, RateLimitQueueError
from htx_async.options import RequestOptions
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.token_bucket import TokenBucket
from htx_async.request import Request, Response
from tests.laws.test_rate_limit import TICK, ticks, trips
from tests.virtual import VirtualClock, run
from tests.world import Trip, World, coalesced, endpoint, rate_limited


class Stack:
    """The middleware from coalescing to rate limiting, on top of a `World`."""

    def __init__(self, network: list[Trip] | None = None, limit: int = 2, per: float = 1.0) -> None:
        self.clock = VirtualClock()
        self.world = World(self.clock, cycle(network or [Trip(down=TICK)]))
        self.endpoint = endpoint(limit, per)
        self.rate_limiter = RateLimiter()
        self.coalescing = coalesced(
            rate_limited(self.world, self.rate_limiter, self.clock), self.clock
        )

    async def call(self, path: str = "/x", **options: object) -> Response:
        request_options = RequestOptions(**options)  # type: ignore[arg-type]
        return await self.coalescing(Request(self.endpoint, path, options=request_options))

    @property
    def bucket(self) -> TokenBucket:
        return self.rate_limiter.queue_for(self.endpoint, self.clock).bucket

    async def spend(self) -> None:
        """Spend all tokens, so that the next call queues."""
        await asyncio.gather(
            *(self.call(f"/{number}") for number in range(self.bucket.limit.requests))
        )


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_sends_one_request_for_ten_thousand_calls() -> None:
    """Calls made while no token is available share the first queued request."""
    stack = Stack()
    await stack.spend()
    before = len(stack.world.arrivals)
    responses = await asyncio.gather(*(stack.call() for _ in range(10_000)))
    assert len(stack.world.arrivals) == before + 1
    assert {response.value for response in responses} == {before + 1}


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_survives_cancelled_callers() -> None:
    """Cancelling 1,000 of 10,000 queued callers does not affect the others."""
    stack = Stack()
    await stack.spend()
    tasks = [asyncio.create_task(stack.call()) for _ in range(10_000)]
    await asyncio.sleep(0.1)
    for task in tasks[:1000]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[:1000])
    assert all(isinstance(outcome, Response) for outcome in outcomes[1000:])
    assert len(stack.world.arrivals) == 3


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_spends_no_token_when_all_callers_cancel() -> None:
    """A queued call without waiters is never sent."""
    stack = Stack()
    await stack.spend()
    tasks = [asyncio.create_task(stack.call()) for _ in range(3)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(5.0)
    assert len(stack.world.arrivals) == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_starts_a_new_call_after_the_last_caller_cancels() -> None:
    """A call that is being abandoned accepts no further callers."""
    stack = Stack()
    await stack.spend()
    first = asyncio.create_task(stack.call())
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await stack.call()).value == 3


@attrs.frozen
class Caller:
    """A caller of one of two paths, with its own timeout, that may cancel."""

    delay: float
    path: str
    cancel_after: float | None
    timeout: float


callers = st.builds(
    Caller,
    delay=ticks(20),
    path=st.sampled_from(["/a", "/b"]),
    cancel_after=st.none() | ticks(64),
    timeout=st.integers(1, 200).map(lambda count: count * TICK),
)


@given(st.lists(callers, max_size=30), st.lists(trips, min_size=1, max_size=8))
def test_coalescing_never_returns_a_response_requested_before_the_call(
    arrivals: list[Caller], network: list[Trip]
) -> None:
    """Each response belongs to a request that was sent after the call was made."""

    async def main() -> None:
        stack = Stack(network)
        clock, sent = stack.clock, {}
        world = stack.world

        async def record_and_send(request: Request) -> Response:
            sent_at = clock.monotonic()
            response = await world(request)
            sent[response.value] = (sent_at, request.path)
            return response

        send = coalesced(rate_limited(record_and_send, stack.rate_limiter, clock), clock)

        async def call(caller: Caller) -> None:
            called_at = clock.monotonic()
            options = RequestOptions(timeout=caller.timeout)
            try:
                async with asyncio.timeout(caller.cancel_after):
                    response = await send(Request(stack.endpoint, caller.path, options=options))
            except (HTXError, TimeoutError):
                assert clock.monotonic() <= called_at + caller.timeout
                return
            sent_at, path = sent[response.value]
            assert called_at <= sent_at
            assert path == caller.path
            assert clock.monotonic() <= called_at + caller.timeout

        async with asyncio.TaskGroup() as group:
            for caller in arrivals:
                await clock.sleep(caller.delay)
                group.create_task(call(caller))
        await clock.sleep(10.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert stack.bucket.in_use == 0

    run(main())


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_keeps_the_deadline_of_each_caller() -> None:
    """A caller that cannot be served in time fails at once, and does not end the others' call."""
    stack = Stack()
    await stack.spend()
    short = asyncio.create_task(stack.call(timeout=0.25))
    long = asyncio.create_task(stack.call(timeout=9.0))
    with pytest.raises(RateLimitQueueError, match=r"timeout is 0\.25 s") as caught:
        await short
    assert caught.value.delivery == "not_sent"
    assert caught.value.retry_after == 1.0
    assert stack.clock.monotonic() == TICK  # at once
    assert (await long).value == 3


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_raises_a_separate_error_copy_for_each_caller() -> None:
    """A note that one caller adds is not on the error of another."""
    stack = Stack([Trip(), Trip(), Trip(fault="cut")])
    await stack.spend()
    first, second = await asyncio.gather(stack.call(), stack.call(), return_exceptions=True)
    assert isinstance(first, NoResponseError)
    assert isinstance(second, NoResponseError)
    assert first is not second
    first.add_note("mine")
    assert not hasattr(second, "__notes__")
    assert first.__context__ is None
    assert first.__cause__ is None


@pytest.mark.usefixtures("virtual_time")
async def test_coalesce_false_sends_its_own_request() -> None:
    """Such a call neither joins another call nor accepts callers."""
    stack = Stack()
    await stack.spend()
    await asyncio.gather(stack.call(coalesce=False), stack.call(), stack.call(coalesce=False))
    assert len(stack.world.arrivals) == 5


def test_coalescing_runs_the_request_in_the_context_of_the_first_caller() -> None:
    """The context variables of the first caller apply, e.g. its trace and request ids."""
    name: ContextVar[str] = ContextVar("name", default="unset")
    seen: list[str] = []

    async def main() -> None:
        clock = VirtualClock()

        async def send(request: Request) -> Response:
            del request
            seen.append(name.get())
            return Response(200, {}, b"")

        sharing = coalesced(send, clock)
        name.set("first caller")
        await sharing(Request(endpoint(), "/x"))

    run(main())
    assert seen == ["first caller"]


@pytest.mark.usefixtures("virtual_time")
async def test_queue_timeout_zero_fails_fast() -> None:
    """A call takes an available token, or fails without queueing or joining a queued call."""
    stack = Stack()
    await stack.call(queue_timeout=0)
    await stack.call(queue_timeout=0)
    queued = asyncio.create_task(stack.call())
    await asyncio.sleep(0.25)
    start = stack.clock.monotonic()
    with pytest.raises(RateLimitQueueError) as caught:
        await stack.call(queue_timeout=0)
    assert stack.clock.monotonic() == start
    assert caught.value.retry_after == pytest.approx(1.0 + 2 * TICK - start, abs=2 * TICK)
    assert caught.value.endpoint == "GET /v1/test"
    assert caught.value.delivery == "not_sent"
    await queued
    assert len(stack.world.arrivals) == 3


@pytest.mark.usefixtures("virtual_time")
async def test_queue_timeout_fails_fast_when_the_estimated_wait_is_longer() -> None:
    """A call does not queue when its token is known to arrive too late."""
    stack = Stack()
    await stack.spend()
    start = stack.clock.monotonic()
    with pytest.raises(RateLimitQueueError) as caught:
        await stack.call(queue_timeout=0.5)
    assert stack.clock.monotonic() == start
    assert caught.value.retry_after == 1.0
    assert (await stack.call(queue_timeout=2.0)).value == 3


@pytest.mark.usefixtures("virtual_time")
async def test_queue_timeout_applies_to_each_coalesced_caller() -> None:
    """A caller does not join a call that queues longer than its queue_timeout."""
    stack = Stack()
    await stack.spend()
    long = asyncio.create_task(stack.call())
    await asyncio.sleep(0.25)
    with pytest.raises(RateLimitQueueError) as caught:
        await stack.call(queue_timeout=0.5)
    assert caught.value.retry_after == pytest.approx(0.75)
    assert (await stack.call(queue_timeout=0.76)).value == 3
    assert (await long).value == 3


@pytest.mark.usefixtures("virtual_time")
async def test_queue_timeout_expires_when_the_estimate_was_too_short() -> None:
    """The timeout also holds when tokens in use are released later than estimated."""
    stack = Stack([Trip(down=50.0)])
    running = [asyncio.create_task(stack.call(f"/{number}", timeout=90.0)) for number in range(2)]
    await asyncio.sleep(0.25)
    start = stack.clock.monotonic()
    with pytest.raises(RateLimitQueueError) as caught:
        await stack.call(queue_timeout=3.0)
    assert stack.clock.monotonic() == start + 3.0
    assert (caught.value.retry_after or 0.0) >= 3.0
    await asyncio.gather(*running)


@pytest.mark.usefixtures("virtual_time")
async def test_max_queue_bounds_the_queue() -> None:
    """Only calls ahead in the queue count; a call that joins one of them does not."""
    stack = Stack()
    await stack.spend()
    queued = [asyncio.create_task(stack.call(f"/w{number}")) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(
        RateLimitQueueError, match="3 calls are queued, and max_queue is 3"
    ) as caught:
        await stack.call("/new", max_queue=3)
    assert caught.value.retry_after == pytest.approx(2.0, abs=2 * TICK)
    joined = asyncio.create_task(stack.call("/w0", max_queue=0))
    allowed = asyncio.create_task(stack.call("/new", max_queue=4))
    await asyncio.gather(joined, allowed, *queued)
    assert len(stack.world.arrivals) == 2 + 4


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limit_queue_error_leaves_nothing_behind() -> None:
    """No waiter, task or timer remains."""
    stack = Stack()
    await stack.spend()
    for options in ({"queue_timeout": 0}, {"queue_timeout": 0.1}, {"max_queue": 0}):
        outcomes = await asyncio.gather(
            *(stack.call(**options) for _ in range(100)), return_exceptions=True
        )
        assert all(isinstance(outcome, RateLimitQueueError) for outcome in outcomes)
    await asyncio.sleep(0)
    assert stack.rate_limiter.queue_for(stack.endpoint, stack.clock).status().queued == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(5.0)
    assert len(stack.world.arrivals) == 2


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_raises_unexpected_errors_to_all_callers() -> None:
    """An exception other than `HTXError` is raised as it is, not as a cancellation."""

    async def broken(request: Request) -> Response:
        raise ZeroDivisionError(request)

    stack = Stack()
    stack.coalescing = coalesced(broken, stack.clock)
    outcomes = await asyncio.gather(stack.call(), stack.call(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_cancels_its_callers_when_its_task_is_cancelled() -> None:
    """A program that cancels all its tasks leaves no caller waiting."""
    stack = Stack([Trip(down=60.0)])
    caller = asyncio.create_task(stack.call())
    await asyncio.sleep(0.1)
    for task in asyncio.all_tasks() - {asyncio.current_task(), caller}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert stack.bucket.in_use == 0
