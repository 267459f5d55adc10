"""Law 4: equal reads that wait are one flight; nobody joins one that has left."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from itertools import cycle

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.errors import DeadlineExceededError, HTXError, NoResponseError, RateLimitQueueError
from htx_async.middleware.coalescing import Sharing
from htx_async.middleware.rate_limiting import Limiting
from htx_async.options import RequestOptions
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket
from htx_async.request import Request, Response
from tests.laws.test_rate_limit import TICK, ticks, trips
from tests.virtual import VirtualClock, run
from tests.world import Trip, World, endpoint


class Stack:
    """The layers from sharing to limiting, over a world."""

    def __init__(self, network: list[Trip] | None = None, limit: int = 2, per: float = 1.0) -> None:
        self.clock = VirtualClock()
        self.world = World(self.clock, cycle(network or [Trip(down=TICK)]))
        self.asked = endpoint(limit, per)
        self.budget = RateLimiter()
        slots = TokenQueue(TokenBucket(RateLimit(20, per=0.0)), self.clock)
        limiting = Limiting(self.world, self.budget, slots, self.clock, self.clock.now)
        self.send = Sharing(limiting, self.clock)

    async def ask(self, path: str = "/x", **options: object) -> Response:
        chosen = RequestOptions(**options)  # type: ignore[arg-type]
        return await self.send(Request(self.asked, path, options=chosen))

    @property
    def bucket(self) -> TokenBucket:
        return self.budget.queue_for(self.asked, self.clock).bucket

    async def spend(self) -> None:
        """Take all tokens, so that whoever comes next has to wait."""
        await asyncio.gather(
            *(self.ask(f"/{number}") for number in range(self.bucket.limit.requests))
        )


@pytest.mark.usefixtures("virtual_time")
async def test_ten_thousand_that_ask_at_once_cost_one_request() -> None:
    """With the tokens spent, or not: one flight that waits takes them all along."""
    stack = Stack()
    await stack.spend()
    before = len(stack.world.arrivals)
    answers = await asyncio.gather(*(stack.ask() for _ in range(10_000)))
    assert len(stack.world.arrivals) == before + 1
    assert {answer.value for answer in answers} == {before + 1}


@pytest.mark.usefixtures("virtual_time")
async def test_those_who_leave_change_nothing_for_the_others() -> None:
    """A thousand of ten thousand are cancelled while they wait."""
    stack = Stack()
    await stack.spend()
    tasks = [asyncio.create_task(stack.ask()) for _ in range(10_000)]
    await asyncio.sleep(0.1)
    for task in tasks[:1000]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[:1000])
    assert all(isinstance(outcome, Response) for outcome in outcomes[1000:])
    assert len(stack.world.arrivals) == 3


@pytest.mark.usefixtures("virtual_time")
async def test_when_all_have_gone_no_token_is_spent() -> None:
    """A flight that nobody waits for any more does not take off."""
    stack = Stack()
    await stack.spend()
    tasks = [asyncio.create_task(stack.ask()) for _ in range(3)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(5.0)
    assert len(stack.world.arrivals) == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.usefixtures("virtual_time")
async def test_who_comes_as_the_last_one_goes_gets_a_flight_of_its_own() -> None:
    """A flight that was just given up takes nobody along into its end."""
    stack = Stack()
    await stack.spend()
    first = asyncio.create_task(stack.ask())
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await stack.ask()).value == 3


@attrs.frozen
class Caller:
    """Somebody asks for one of two things, and may leave, or be in a hurry."""

    after: float
    path: str
    leaves: float | None
    timeout: float


callers = st.builds(
    Caller,
    after=ticks(20),
    path=st.sampled_from(["/a", "/b"]),
    leaves=st.none() | ticks(64),
    timeout=st.integers(1, 200).map(lambda count: count * TICK),
)


@given(st.lists(callers, max_size=30), st.lists(trips, min_size=1, max_size=8))
def test_nobody_gets_what_left_before_it_asked(arriving: list[Caller], network: list[Trip]) -> None:
    """Whoever joins, leaves or fails: an answer was asked for after the call was made."""

    async def main() -> None:
        stack = Stack(network)
        clock, sent = stack.clock, {}
        world = stack.world

        async def noting(request: Request) -> Response:
            left = clock.monotonic()
            response = await world(request)
            sent[response.value] = (left, request.path)
            return response

        slots = TokenQueue(TokenBucket(RateLimit(20, per=0.0)), clock)
        send = Sharing(Limiting(noting, stack.budget, slots, clock, clock.now), clock)

        async def call(who: Caller) -> None:
            asked = clock.monotonic()
            options = RequestOptions(timeout=who.timeout)
            try:
                async with asyncio.timeout(who.leaves):
                    response = await send(Request(stack.asked, who.path, options=options))
            except (HTXError, TimeoutError):
                assert clock.monotonic() <= asked + who.timeout
                return
            left, path = sent[response.value]
            assert asked <= left
            assert path == who.path
            assert clock.monotonic() <= asked + who.timeout

        async with asyncio.TaskGroup() as group:
            for who in arriving:
                await clock.sleep(who.after)
                group.create_task(call(who))
        await clock.sleep(10.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert stack.bucket.in_use == 0

    run(main())


@pytest.mark.usefixtures("virtual_time")
async def test_each_caller_has_its_own_deadline() -> None:
    """One who is in a hurry leaves; the flight goes on for the longest."""
    stack = Stack()
    await stack.spend()
    hurried = asyncio.create_task(stack.ask(timeout=0.25))
    patient = asyncio.create_task(stack.ask(timeout=9.0))
    with pytest.raises(DeadlineExceededError) as caught:
        await hurried
    assert caught.value.delivery == "not_sent"
    assert (await patient).value == 3


@pytest.mark.usefixtures("virtual_time")
async def test_each_caller_gets_its_own_copy_of_an_error() -> None:
    """A note that one adds is not on the other's."""
    stack = Stack([Trip(), Trip(), Trip(fault="cut")])
    await stack.spend()
    first, second = await asyncio.gather(stack.ask(), stack.ask(), return_exceptions=True)
    assert isinstance(first, NoResponseError)
    assert isinstance(second, NoResponseError)
    assert first is not second
    first.add_note("mine")
    assert not hasattr(second, "__notes__")
    assert first.__context__ is None
    assert first.__cause__ is None


@pytest.mark.usefixtures("virtual_time")
async def test_share_false_flies_alone() -> None:
    """Neither joins nor is joined."""
    stack = Stack()
    await stack.spend()
    await asyncio.gather(stack.ask(coalesce=False), stack.ask(), stack.ask(coalesce=False))
    assert len(stack.world.arrivals) == 5


def test_a_flight_runs_in_the_context_of_who_started_it() -> None:
    """Traces and request ids of the starter are those of the request."""
    name: ContextVar[str] = ContextVar("name", default="nobody")
    seen: list[str] = []

    async def main() -> None:
        clock = VirtualClock()

        async def send(request: Request) -> Response:
            del request
            seen.append(name.get())
            return Response(200, {}, b"")

        sharing = Sharing(send, clock)
        name.set("starter")
        await sharing(Request(endpoint(), "/x"))

    run(main())
    assert seen == ["starter"]


@pytest.mark.usefixtures("virtual_time")
async def test_max_wait_zero_is_now_or_an_error_at_once() -> None:
    """It takes a free token, never waits, and never joins a flight that does."""
    stack = Stack()
    await stack.ask(queue_timeout=0)
    await stack.ask(queue_timeout=0)
    waiting = asyncio.create_task(stack.ask())
    await asyncio.sleep(0.25)
    at = stack.clock.monotonic()
    with pytest.raises(RateLimitQueueError) as caught:
        await stack.ask(queue_timeout=0)
    assert stack.clock.monotonic() == at
    assert caught.value.retry_after == pytest.approx(1.0 + 2 * TICK - at, abs=2 * TICK)
    assert caught.value.endpoint == "GET /v1/test"
    assert caught.value.delivery == "not_sent"
    await waiting
    assert len(stack.world.arrivals) == 3


@pytest.mark.usefixtures("virtual_time")
async def test_max_wait_fails_at_once_what_would_take_too_long() -> None:
    """Nobody waits for what is known to come too late."""
    stack = Stack()
    await stack.spend()
    at = stack.clock.monotonic()
    with pytest.raises(RateLimitQueueError) as caught:
        await stack.ask(queue_timeout=0.5)
    assert stack.clock.monotonic() == at
    assert caught.value.retry_after == 1.0
    assert (await stack.ask(queue_timeout=2.0)).value == 3


@pytest.mark.usefixtures("virtual_time")
async def test_max_wait_counts_for_each_who_joins() -> None:
    """One who is in a hurry does not join a flight that will wait longer, nor end it."""
    stack = Stack()
    await stack.spend()
    patient = asyncio.create_task(stack.ask())
    await asyncio.sleep(0.25)
    with pytest.raises(RateLimitQueueError) as caught:
        await stack.ask(queue_timeout=0.5)
    assert caught.value.retry_after == pytest.approx(0.75)
    assert (await stack.ask(queue_timeout=0.76)).value == 3
    assert (await patient).value == 3


@pytest.mark.usefixtures("virtual_time")
async def test_max_wait_holds_when_the_estimate_was_too_good() -> None:
    """Tokens that are out come back later than hoped: patience still ends in time."""
    stack = Stack([Trip(down=50.0)])
    busy = [asyncio.create_task(stack.ask(f"/{number}", timeout=90.0)) for number in range(2)]
    await asyncio.sleep(0.25)
    at = stack.clock.monotonic()
    with pytest.raises(RateLimitQueueError) as caught:
        await stack.ask(queue_timeout=3.0)
    assert stack.clock.monotonic() == at + 3.0
    assert (caught.value.retry_after or 0.0) >= 3.0
    await asyncio.gather(*busy)


@pytest.mark.usefixtures("virtual_time")
async def test_max_waiting_bounds_the_queue() -> None:
    """Reads that are ahead are counted; who joins one of them is not."""
    stack = Stack()
    await stack.spend()
    waiting = [asyncio.create_task(stack.ask(f"/w{number}")) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimitQueueError, match="3 wait already, and max_queue is 3") as caught:
        await stack.ask("/new", max_queue=3)
    assert caught.value.retry_after == pytest.approx(2.0, abs=2 * TICK)
    joined = asyncio.create_task(stack.ask("/w0", max_queue=0))
    allowed = asyncio.create_task(stack.ask("/new", max_queue=4))
    await asyncio.gather(joined, allowed, *waiting)
    assert len(stack.world.arrivals) == 2 + 4


@pytest.mark.usefixtures("virtual_time")
async def test_who_is_refused_by_the_budget_leaves_nothing_behind() -> None:
    """No waiter, no task, no timer."""
    stack = Stack()
    await stack.spend()
    for options in ({"queue_timeout": 0}, {"queue_timeout": 0.1}, {"max_queue": 0}):
        outcomes = await asyncio.gather(
            *(stack.ask(**options) for _ in range(100)), return_exceptions=True
        )
        assert all(isinstance(outcome, RateLimitQueueError) for outcome in outcomes)
    await asyncio.sleep(0)
    assert stack.budget.queue_for(stack.asked, stack.clock).status().queued == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(5.0)
    assert len(stack.world.arrivals) == 2


@pytest.mark.usefixtures("virtual_time")
async def test_a_fault_of_ours_reaches_all_who_wait() -> None:
    """An exception that is none of HTX's is raised, not swallowed or turned into a cancellation."""

    def broken(data: bytes | memoryview) -> int:
        raise ZeroDivisionError(data)

    stack = Stack()
    stack.asked = msgspec.structs.replace(stack.asked, read=broken)
    outcomes = await asyncio.gather(stack.ask(), stack.ask(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2


@pytest.mark.usefixtures("virtual_time")
async def test_a_flight_that_somebody_cancels_cancels_who_waits() -> None:
    """A program that ends all its tasks leaves nobody hanging."""
    stack = Stack([Trip(down=60.0)])
    caller = asyncio.create_task(stack.ask())
    await asyncio.sleep(0.1)
    for task in asyncio.all_tasks() - {asyncio.current_task(), caller}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert stack.bucket.in_use == 0
