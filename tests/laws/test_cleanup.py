"""Regression tests for law 10 (nothing is left behind) and law 8 (delivery is reported)."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
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
from htx_async.call_state import CallState
from htx_async.events import Event
from htx_async.middleware.coalescing import CANCEL_TIMEOUT, CLOSE_TIMEOUT
from htx_async.options import RequestOptions
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.request import Request, Response
from htx_async.sandbox import Sandbox, faults
from htx_async.testing import ScriptedTransport
from tests.laws.test_coalescing import Stack
from tests.middleware.test_retrying import OK, respond_with, scripted
from tests.test_client import HangingTransport
from tests.virtual import VirtualClock
from tests.world import Trip, coalesced, endpoint, rate_limited

KEYS = Credentials("access-key", "secret-key")
WRONG_TIME = (
    b'{"status":"error","err-code":"api-signature-not-valid",'
    b'"err-msg":"Signature not valid: Invalid submission time or incorrect time format"}'
)


@pytest.mark.slow
async def test_timeout_costs_no_connection() -> None:
    """After 500 calls that time out at random moments, 100 concurrent calls succeed."""
    rng = random.Random(7)  # noqa: S311 - not used for secrets
    async with (
        Sandbox(limits=False).serve() as base_url,
        HTXClient(
            KEYS, base_url=base_url, rate_limiter=UNLIMITED, retry=NO_RETRY, coalesce=False
        ) as htx,
    ):

        async def call(seconds: float) -> str:
            try:
                await htx.with_options(timeout=seconds).accounts.list()
            except HTXError as error:
                return type(error).__name__
            return "answered"

        for _ in range(10):
            await asyncio.gather(*(call(rng.uniform(0.001, 0.04)) for _ in range(50)))
        outcomes = Counter(await asyncio.gather(*(call(10.0) for _ in range(100))))
    assert outcomes == {"answered": 100}


@pytest.mark.slow
async def test_unread_response_leaves_no_async_generator() -> None:
    """No generator is left for asyncio to close in a task of its own; httpcore uses four."""
    unfinished: list[str] = []
    sandbox, hooks = Sandbox(limits=False), sys.get_asyncgen_hooks()

    def record(generator: Any) -> None:
        unfinished.append(generator.__qualname__)

    async with (
        sandbox.serve() as base_url,
        HTXClient(KEYS, base_url=base_url, max_body=1_000, retry=NO_RETRY) as htx,
    ):
        sandbox.faults.next(faults.huge())
        sys.set_asyncgen_hooks(hooks.firstiter, record)
        try:
            with pytest.raises(DecodeError, match="max_body"):
                await htx.accounts.list()
            gc.collect()
        finally:
            sys.set_asyncgen_hooks(*hooks)
    assert unfinished == []


async def test_unlimited_ignores_rate_limit_headers() -> None:
    """HTX's remaining-request headers neither stop nor slow an unlimited client."""
    transport = httpx.ASGITransport(app=Sandbox())
    async with HTXClient(KEYS, transport=transport, rate_limiter=UNLIMITED) as htx:
        for _ in range(3):
            await htx.accounts.list()
        assert htx.limits()["GET /v1/account/accounts"].wait == 0.0


def test_rate_limiter_returns_no_token_twice_when_a_loop_is_collected_late() -> None:
    """A call of a closed loop is still in flight when the next loop takes over the bucket."""
    shared = RateLimiter()

    def first() -> object:
        loop = asyncio.new_event_loop()

        async def main() -> object:
            transport = HangingTransport()
            htx = HTXClient(KEYS, transport=transport, rate_limiter=shared)
            call = asyncio.create_task(htx.points.balance())
            await transport.is_started.wait()
            return htx, call

        unclosed = loop.run_until_complete(main())
        loop.close()
        return unclosed

    async def available() -> int:
        async with HTXClient(KEYS, rate_limiter=shared) as htx:
            return htx.limits()["GET /v2/point/account"].available

    unclosed = [first()]

    def collect() -> None:
        unclosed.clear()
        gc.collect()

    assert asyncio.run(available()) == 1
    with pytest.warns(ResourceWarning, match="unclosed HTXClient"):
        collect()
    assert asyncio.run(available()) == 1


@pytest.mark.usefixtures("virtual_time")
async def test_coalescing_cancels_its_callers_when_its_task_never_started() -> None:
    """Neither its caller nor the next identical call waits forever."""
    stack = Stack()
    caller = asyncio.create_task(stack.call())
    kept = {asyncio.current_task(), caller}

    def cancel_all() -> None:
        for task in asyncio.all_tasks() - kept:
            task.cancel()

    asyncio.get_running_loop().call_soon(cancel_all)
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (await stack.call()).value == 1
    assert not stack.coalescing._calls


async def test_error_notes_are_separate_for_each_caller(virtual_time: VirtualClock) -> None:
    """A note that one caller adds is not on the error of another."""
    transport = scripted([httpx.ReadError("x")], virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=NO_RETRY) as htx:
        first, second = await asyncio.gather(
            htx.accounts.list(), htx.accounts.list(), return_exceptions=True
        )
    assert isinstance(first, NoResponseError)
    assert isinstance(second, NoResponseError)
    first.add_note("mine")
    assert not hasattr(second, "__notes__")


@pytest.mark.parametrize("kind", ["queued", "acquired", "sent", "response"])
async def test_event_listener_that_raises_cancelled_error_leaks_nothing(
    virtual_time: VirtualClock, kind: str
) -> None:
    """The call continues, and its token and connection slot are released."""

    def listen(event: Event) -> None:
        if event.kind == kind:
            raise asyncio.CancelledError

    options = {"max_connections": 1, "on_event": listen, "clock": virtual_time}
    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    async with HTXClient(KEYS, transport=transport, **options) as htx:  # type: ignore[arg-type]
        for _ in range(4):
            await htx.points.balance()


@pytest.mark.usefixtures("virtual_time")
async def test_deadline_stops_a_queued_call_when_the_loop_was_blocked() -> None:
    """A token acquired after the deadline is released, and so is the connection slot."""
    stack = Stack()
    await stack.spend()
    calls = [asyncio.create_task(stack.call(f"/{number}", timeout=1.2)) for number in range(2)]
    await asyncio.sleep(0.5)
    # Simulate a long pause of the process: all timers are due at once.
    asyncio.get_running_loop()._jumping.time += 5.0  # type: ignore[attr-defined]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, DeadlineExceededError) for outcome in outcomes)
    assert len(stack.world.arrivals) == 2
    assert stack.bucket.in_use == 0
    assert stack.bucket.try_acquire(stack.clock.monotonic()) is not None


@pytest.mark.usefixtures("virtual_time")
async def test_deadline_returns_a_response_that_arrives_at_the_same_time() -> None:
    """Both happen in the same iteration of the loop: the caller gets the response."""
    stack = Stack([Trip(down=60.0)])
    caller = asyncio.create_task(stack.call(timeout=2.0))
    await asyncio.sleep(0)
    (shared_call,) = stack.coalescing._calls
    just_before = 2.0 - 1e-10  # below the clock resolution of the loop
    response = Response(200, {}, b"", value=7)
    asyncio.get_running_loop().call_at(just_before, shared_call.resolve, response)
    assert (await caller).value == 7


@pytest.mark.usefixtures("virtual_time")
async def test_drain_ends_when_a_handler_suppresses_its_cancellation() -> None:
    """Draining gives up after its own timeout and that of cancelled tasks."""
    clock, done = VirtualClock(), asyncio.Event()

    async def stubborn(request: Request) -> Response:
        request.call.attempt_started(math.inf, is_internal=False)
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError:
                continue
        return Response(200, {}, b"")

    coalescing = coalesced(stubborn, clock)
    call = asyncio.create_task(coalescing(Request(endpoint(), "/x", options=RequestOptions())))
    await asyncio.sleep(1.0)
    coalescing.stop_accepting()
    await coalescing.drain()
    assert clock.monotonic() <= 1.0 + CLOSE_TIMEOUT + CANCEL_TIMEOUT + 0.01
    with pytest.raises(ClientClosedError):
        await call
    done.set()


@pytest.mark.usefixtures("virtual_time")
async def test_deadline_during_the_clock_probe_reports_the_delivery_of_the_call() -> None:
    """The call itself was answered, although the clock probe was not."""
    clock, release = VirtualClock(), asyncio.Event()

    async def respond_late(request: httpx.Request) -> httpx.Response:
        assert "timestamp" in request.url.path
        await release.wait()
        return httpx.Response(503)

    transport = scripted([respond_with(WRONG_TIME), respond_late], clock)
    async with HTXClient(KEYS, transport=transport, clock=clock, timeout=2.0) as htx:
        with pytest.raises(DeadlineExceededError, match="ClockError") as caught:
            await htx.accounts.list()
        assert caught.value.delivery == "answered"
        release.set()


async def test_cancelled_call_does_not_probe_the_clock(virtual_time: VirtualClock) -> None:
    """No recovery is attempted once every caller has cancelled."""
    transport = scripted([respond_with(WRONG_TIME)] * 9, virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        call = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(0.005)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(1.0)
    assert len(transport.sent_at) == 1


async def test_provider_failure_does_not_hide_the_api_error(virtual_time: VirtualClock) -> None:
    """HTX's error about the key is raised; notes report that there are no other credentials."""
    credentials = iter([Credentials("unknown", "secret-key")])

    async def provider() -> Credentials:
        return next(credentials)  # raises StopIteration the second time

    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    async with HTXClient(provider, transport=transport, clock=virtual_time) as htx:
        with pytest.raises(AccessKeyError):
            await htx.accounts.list()
        await virtual_time.sleep(60.0)
        with pytest.raises(AccessKeyError) as caught:
            await htx.accounts.list()
    assert caught.value.delivery == "answered"
    assert caught.value.retryable
    refresh, cause = caught.value.__notes__
    assert refresh.startswith("the credentials were not refreshed: the credentials provider failed")
    assert cause == "cause: RuntimeError: coroutine raised StopIteration"


def without_date(sandbox: Sandbox, date: str | None = None) -> ScriptedTransport:
    """Return a transport to *sandbox* that removes or replaces the Date header of responses."""
    inner = httpx.ASGITransport(app=sandbox)

    async def respond(request: httpx.Request) -> httpx.Response:
        response = await inner.handle_async_request(request)
        response.headers.pop("date", None)
        if date is not None:
            response.headers["date"] = date
        return response

    return ScriptedTransport(itertools.repeat(respond))


@pytest.mark.usefixtures("virtual_time")
async def test_clock_skew_is_probed_once_for_v2_responses_without_a_date() -> None:
    """Nothing in the response points to the clock, so the client requests HTX's time, once."""
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
@pytest.mark.parametrize("resource", ["accounts", "points"])
async def test_clock_skew_of_a_proxy_is_corrected_after_one_probe(resource: str) -> None:
    """Wrong Date headers cause one API error; the time that HTX returns then takes precedence."""
    sandbox = Sandbox(clock=VirtualClock())
    transport = without_date(sandbox, "Tue, 14 Nov 2023 22:43:20 GMT")  # half an hour ahead
    async with HTXClient(KEYS, transport=transport, clock=VirtualClock()) as htx:
        method = htx.accounts.list if resource == "accounts" else htx.points.balance
        for _ in range(5):
            await method()
    probes = [arrival for arrival in sandbox.arrivals if "timestamp" in arrival.path]
    assert len(probes) == 1


@pytest.mark.parametrize("timestamp", [b"1" + b"0" * 60, b"1", b"99999999999"])
async def test_clock_probe_ignores_an_implausible_server_time(
    virtual_time: VirtualClock, timestamp: bytes
) -> None:
    """The client keeps its previous estimate."""
    steps = [
        respond_with(WRONG_TIME),
        respond_with(b'{"status":"ok","data":%s}' % timestamp),
        respond_with(OK),
    ]
    transport = scripted(steps, virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        with pytest.raises(ClockError):
            await htx.accounts.list()
        assert await htx.accounts.list() == ()


def test_limits_include_tokens_spent_by_a_closed_loop() -> None:
    shared = RateLimiter()

    async def spend() -> None:
        transport = httpx.ASGITransport(app=Sandbox())
        async with HTXClient(KEYS, transport=transport, rate_limiter=shared) as htx:
            await htx.points.balance()

    async def available() -> int:
        return HTXClient(KEYS, rate_limiter=shared).limits()["GET /v2/point/account"].available

    asyncio.run(spend())
    assert asyncio.run(available()) == 1


@pytest.mark.usefixtures("virtual_time")
async def test_queue_timeout_ends_the_call_when_its_token_arrives_at_the_same_time() -> None:
    """No token is spent for a call that has just failed with `RateLimitQueueError`."""
    stack = Stack([Trip(down=1.0)], limit=1)
    first = asyncio.create_task(stack.call("/first"))
    await asyncio.sleep(0.5)
    # The token returns at 2.0, exactly when the second call's queue_timeout expires.
    second = asyncio.create_task(stack.call("/second", queue_timeout=1.5, retry=RetryPolicy()))
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    await asyncio.sleep(9.0)
    sent = len(stack.world.arrivals)
    assert sent == (1 if isinstance(outcomes[1], HTXError) else 2)


def test_call_state_grants_no_token_without_waiters() -> None:
    """Past the last deadline, or when every caller has cancelled."""
    state = CallState()
    state.deadline = 5.0
    assert state.token_acquired(4.9) == 0.0
    with pytest.raises(DeadlineExceededError):
        state.token_acquired(5.0)
    state.has_no_waiters = True
    with pytest.raises(asyncio.CancelledError):
        state.token_acquired(0.0)


@pytest.mark.usefixtures("virtual_time")
async def test_deadline_error_takes_precedence_over_a_failure_at_the_deadline() -> None:
    """A caller that catches `TimeoutError` also catches this case."""
    stack = Stack([Trip(down=2.0, fault="cut")])
    with pytest.raises(DeadlineExceededError) as caught:
        await stack.call(timeout=2.0005, retry=NO_RETRY)
    assert caught.value.delivery == "unknown"


@pytest.mark.usefixtures("virtual_time")
async def test_deadline_reports_unknown_delivery_when_the_request_was_just_sent() -> None:
    """Delivery is determined when the caller wakes; just before that, the call was queued."""
    stack = Stack([Trip(), Trip(down=5.0)], limit=1)
    await stack.call("/first")
    long = asyncio.create_task(stack.call())
    await asyncio.sleep(0.25)
    with pytest.raises(DeadlineExceededError) as caught:
        await stack.call(timeout=0.75 + 1e-10)  # the token returns at this moment
    assert caught.value.delivery == "unknown"
    assert (await long).value == 2


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiting_sends_no_abandoned_call() -> None:
    """An abandoned call is not sent, even if it acquires a token."""
    stack = Stack()
    state = CallState()
    state.has_no_waiters = True
    slots = ConnectionSlots(1)
    rate_limiting = rate_limited(stack.world, stack.rate_limiter, stack.clock, slots)
    with pytest.raises(asyncio.CancelledError):
        await rate_limiting(Request(stack.endpoint, "/x", call=state))
    assert not stack.world.arrivals
    assert (stack.bucket.in_use, slots.in_use) == (0, 0)


async def test_call_abandoned_during_recovery_ends(virtual_time: VirtualClock) -> None:
    """After the calibration of the clock it does not call a provider, which may hang."""
    calls = 0

    async def provider() -> Credentials:
        nonlocal calls
        calls += 1
        if calls > 1:
            await asyncio.Event().wait()
        return KEYS

    rejected = respond_with(b'{"code":1003,"message":"invalid signature"}')
    transport = scripted([rejected, rejected, rejected], virtual_time)
    async with HTXClient(provider, transport=transport, clock=virtual_time, timeout=1.0) as htx:
        with pytest.raises(HTXError):
            await htx.points.balance()
        await virtual_time.sleep(60.0)
        call = asyncio.create_task(htx.points.balance())
        await asyncio.sleep(0.015)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await virtual_time.sleep(5.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.usefixtures("virtual_time")
async def test_call_leaves_no_reference_cycle() -> None:
    """Programs that disable garbage collection do not leak memory."""
    stack = Stack(limit=1_000)
    await stack.call()
    gc.collect()
    gc.disable()
    try:
        for number in range(50):
            await stack.call(f"/{number}")
        assert gc.collect() < 50
    finally:
        gc.enable()


@pytest.mark.usefixtures("virtual_time")
async def test_call_does_not_join_a_request_whose_task_was_cancelled() -> None:
    stack = Stack([Trip(down=1.0)], limit=1)
    await stack.call("/first")
    first = asyncio.create_task(stack.call())
    await asyncio.sleep(0.1)
    (shared,) = stack.coalescing._calls
    assert shared.task is not None
    shared.task.cancel()
    await asyncio.sleep(0)  # the task has ended, and its callbacks have not run
    assert (await stack.call()).value == 2
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.usefixtures("virtual_time")
async def test_failing_clock_leaves_no_timer() -> None:
    """The second of two timers cannot be started: the first is cancelled."""
    timers: list[asyncio.TimerHandle] = []

    class FailingClock(VirtualClock):
        def call_later(self, seconds: float, callback: Any) -> asyncio.TimerHandle:
            if timers:
                msg = "no more timers"
                raise RuntimeError(msg)
            timers.append(super().call_later(seconds, callback))
            return timers[0]

    stack = Stack()
    coalescing = coalesced(stack.world, FailingClock())
    with pytest.raises(RuntimeError, match="no more timers"):
        await coalescing(Request(stack.endpoint, "/x", options=RequestOptions(queue_timeout=5.0)))
    assert [timer.cancelled() for timer in timers] == [True]


@pytest.mark.usefixtures("virtual_time")
async def test_call_whose_task_cannot_be_created_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Later identical calls do not wait for it."""
    stack = Stack()
    loop = asyncio.get_running_loop()

    def failing(*_: Any, **__: Any) -> Any:
        msg = "no more tasks"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "create_task", failing)
        with pytest.raises(RuntimeError, match="no more tasks"):
            await stack.call()
    assert not stack.coalescing._calls
    assert (await stack.call()).value == 1
