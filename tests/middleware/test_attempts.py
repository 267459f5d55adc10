"""`HTXError.attempts`: one error per failed attempt of a call, in order."""

from __future__ import annotations

import asyncio
import copy
import pickle

import httpx
import pytest

from htx_async import (
    NO_RETRY,
    AccessKeyError,
    ClientClosedError,
    ConnectError,
    Credentials,
    DeadlineExceededError,
    DecodeError,
    HTXClient,
    HTXError,
    NoResponseError,
    RateLimitQueueError,
    RetryPolicy,
    ServiceUnavailableError,
)
from htx_async.call_state import CallState
from htx_async.testing import ScriptedTransport, Step
from tests.virtual import VirtualClock

KEYS = Credentials("access-key", "secret-key")
BUSY = httpx.Response(200, content=b'{"status":"error","err-code":"system-busy","err-msg":"Busy"}')
NO_KEY = httpx.Response(200, content=b'{"status":"error","err-code":"login-required"}')
WRONG_TIME = httpx.Response(200, content=b'{"code":1003,"message":"submission time"}')
OK = httpx.Response(200, content=b'{"status":"ok","data":[]}')


def client(
    clock: VirtualClock, *steps: Step, retry: RetryPolicy = NO_RETRY, **options: float
) -> HTXClient:
    """Return a client whose attempts take 10 ms and have these results."""
    transport = ScriptedTransport(steps, delay=0.01, clock=clock)
    return HTXClient(KEYS, transport=transport, clock=clock, retry=retry, **options)  # type: ignore[arg-type]


async def hang(_: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def failure(htx: HTXClient) -> HTXError:
    """Return the error of a call."""
    with pytest.raises(HTXError) as caught:
        await htx.accounts.list()
    return caught.value


def kinds(error: HTXError) -> list[str]:
    return [type(attempt).__name__ for attempt in error.attempts]


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (BUSY, ServiceUnavailableError),
        (NO_KEY, AccessKeyError),
        (httpx.ConnectError("x"), ConnectError),
        (httpx.ReadError("x"), NoResponseError),
        (httpx.Response(200, content=b"{}"), DecodeError),
    ],
)
async def test_attempts_of_one_attempt_are_a_copy_of_the_error(
    virtual_time: VirtualClock, step: Step, kind: type[HTXError]
) -> None:
    """The copy has no attempts of its own, and the error no notes about attempts."""
    async with client(virtual_time, step) as htx:
        error = await failure(htx)
    assert type(error) is kind
    (attempt,) = error.attempts
    assert type(attempt) is kind
    assert attempt is not error
    assert attempt.attempts == ()
    assert str(attempt).endswith(str(error.args[0]))
    assert (attempt.code, attempt.delivery, attempt.retryable) == (
        error.code,
        error.delivery,
        error.retryable,
    )
    assert not hasattr(error, "__notes__")


async def test_attempts_are_in_order(virtual_time: VirtualClock) -> None:
    """Notes list them, too. Coalesced callers get errors of their own."""
    steps = (httpx.ConnectError("x"), httpx.ReadError("y"), BUSY)
    async with client(virtual_time, *steps, retry=RetryPolicy(attempts=3)) as htx:
        first, second = await asyncio.gather(failure(htx), failure(htx))
    assert kinds(first) == ["ConnectError", "NoResponseError", "ServiceUnavailableError"]
    assert [attempt.delivery for attempt in first.attempts] == ["not_sent", "unknown", "answered"]
    assert [len(note) > 10 for note in first.__notes__] == [True] * 3
    assert first is not second
    assert kinds(second) == kinds(first)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],  # noqa: S301 - pickled here
)
async def test_attempts_are_kept_by_copies_and_pickles(
    virtual_time: VirtualClock, duplicate: type[HTXError]
) -> None:
    async with client(virtual_time, BUSY, NO_KEY, retry=RetryPolicy()) as htx:
        error = duplicate(await failure(htx))  # type: ignore[arg-type]  # any of three functions
    assert kinds(error) == ["ServiceUnavailableError", "AccessKeyError"]
    assert error.attempts[0].code == "system-busy"


async def test_attempts_at_the_deadline_include_the_one_in_flight(
    virtual_time: VirtualClock,
) -> None:
    """The text names the last error; the last attempt is the one that the deadline ended."""
    async with client(virtual_time, BUSY, hang, retry=RetryPolicy(), timeout=3.0) as htx:
        error = await failure(htx)
    assert isinstance(error, DeadlineExceededError)
    assert kinds(error) == ["ServiceUnavailableError", "DeadlineExceededError"]
    assert error.attempts[1].attempts == ()
    assert "The last attempt failed with ServiceUnavailableError: HTX returned" in str(error)


async def test_attempts_at_the_deadline_of_the_first_attempt(virtual_time: VirtualClock) -> None:
    async with client(virtual_time, hang, timeout=3.0) as htx:
        error = await failure(htx)
    assert kinds(error) == ["DeadlineExceededError"]
    assert str(error).endswith("within 3 s (timeout). Check the network, or increase timeout.")


async def test_attempts_at_a_deadline_that_an_attempt_reports_first(
    virtual_time: VirtualClock,
) -> None:
    """The time of an attempt ends with the call's: whichever is noticed first, one has failed."""

    async def late(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(2.99 - 1e-4)
        text = "x"
        raise httpx.ReadTimeout(text)

    async with client(virtual_time, late, timeout=3.0) as htx:
        error = await failure(htx)
    assert kinds(error) == ["DeadlineExceededError"]


async def test_attempts_at_a_deadline_between_attempts(virtual_time: VirtualClock) -> None:
    """The deadline of one caller passes while the request waits for its next attempt."""
    retry = RetryPolicy(initial_delay=1e-9, max_delay=1e-9)
    rate_limited = httpx.Response(429, headers={"retry-after": "4"})
    async with client(virtual_time, rate_limited, OK, retry=retry) as htx:
        patient = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(0)
        error = await failure(htx.with_options(timeout=1.0))
        assert await patient == ()
    assert kinds(error) == ["RateLimitedError"]
    assert error.attempts[0].attempts == ()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # The measurement of the clock is in flight: it is not an attempt of the call.
        (WRONG_TIME, ["ClockError"]),
        (BUSY, ["ServiceUnavailableError", "DeadlineExceededError"]),
        (httpx.ReadError("x"), ["NoResponseError", "DeadlineExceededError"]),
    ],
)
async def test_attempts_of_a_caller_that_leaves_before_the_others(
    virtual_time: VirtualClock, step: Step, expected: list[str]
) -> None:
    """Its deadline passes while the next request is in flight, which goes on for the others."""
    async with client(virtual_time, step, hang, retry=RetryPolicy()) as htx:
        patient = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(0)
        error = await failure(htx.with_options(timeout=3.0))
        patient.cancel()
        await asyncio.gather(patient, return_exceptions=True)
    assert isinstance(error, DeadlineExceededError)
    assert kinds(error) == expected


async def test_attempts_are_empty_if_nothing_was_attempted(virtual_time: VirtualClock) -> None:
    """A call that was still queued, for a token or for its turn."""
    async with client(virtual_time, hang, queue_timeout=0.5, max_connections=1) as htx:
        first = asyncio.create_task(failure(htx))
        await asyncio.sleep(0.1)
        error = await failure(htx.with_options(coalesce=False))
        assert isinstance(error, RateLimitQueueError)
        assert error.retry_after is not None
        assert error.attempts == ()
        assert "Increase queue_timeout" in str(error)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


@pytest.mark.parametrize(("pause", "expected"), [(0.1, ["ClientClosedError"]), (0.0, [])])
async def test_attempts_of_a_call_that_closing_ended(
    virtual_time: VirtualClock, pause: float, expected: list[str]
) -> None:
    htx = client(virtual_time, hang)
    call = asyncio.create_task(failure(htx))
    await asyncio.sleep(pause)
    await htx.aclose()
    error = await call
    assert isinstance(error, ClientClosedError)
    assert kinds(error) == expected


async def test_attempts_of_a_raw_response_that_cannot_be_decoded(
    virtual_time: VirtualClock,
) -> None:
    """Decoding is after the last attempt."""
    body = b'{"status":"ok","data":%s}' % (b"9" * 5000 + b".5e999")
    steps = (BUSY, httpx.Response(200, content=body))
    async with client(virtual_time, *steps, retry=RetryPolicy()) as htx:
        with pytest.raises(DecodeError) as caught:
            await htx.get("/v1/x")
    assert kinds(caught.value) == ["ServiceUnavailableError", "DecodeError"]
    assert caught.value.__context__ is None
    assert caught.value.http_status == 200


async def test_queue_error_names_what_is_missing(virtual_time: VirtualClock) -> None:
    """A connection, or a rate-limit token and when it is available."""
    async with client(virtual_time, hang, OK, max_connections=1, queue_timeout=0) as htx:
        busy = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        error = await failure(htx)
        assert (
            "no rate-limit token or connection is available, and queue_timeout is 0 s. Incr"
            in str(error)
        )
        busy.cancel()
    steps = [httpx.Response(200, content=b'{"code":200,"data":1}')] * 10
    async with client(virtual_time, *steps, queue_timeout=0) as htx:
        for _ in range(10):
            await htx.get("/v2/user/uid")
        with pytest.raises(RateLimitQueueError, match=r"token is available in .* s, but"):
            await htx.get("/v2/user/uid")


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (1.01, "the timeout passed while the call was queued. Increase timeout."),
        (1.5, "the event loop was blocked until 0.5 s after the timeout"),
    ],
)
def test_deadline_error_before_the_request_names_the_cause(now: float, message: str) -> None:
    """A loop that is a little late is not blocked."""
    call = CallState()
    call.deadline = 1.0
    with pytest.raises(DeadlineExceededError, match=message):
        call.token_acquired(now)
