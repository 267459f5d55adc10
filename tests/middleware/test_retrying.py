"""Attempts: each with its own token, time and signature; and what is mended on the way."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs

import httpx
import pytest

from htx_async import (
    NO_RETRY,
    AccessKeyError,
    ClientClosedError,
    ClockError,
    ConnectError,
    Credentials,
    DeadlineExceededError,
    DecodeError,
    HTXClient,
    HTXError,
    NoResponseError,
    RetryPolicy,
    ServiceUnavailableError,
)
from htx_async.sandbox import APIKey, Sandbox, SandboxUser, default_users
from tests.virtual import VirtualClock, run

KEYS = Credentials("access-key", "secret-key")
BUSY = b'{"status":"error","err-code":"system-busy","err-msg":"System busy","data":null}'
TOO_MANY = b'{"status":"error","err-code":"bad-request","err-msg":"429 too many request"}'
GOOD = b'{"status":"ok","data":[]}'

Step = httpx.Response | Exception | Callable[[], httpx.Response]


class Scripted(httpx.AsyncBaseTransport):
    """An exchange that does, attempt by attempt, what a test wrote down."""

    def __init__(self, steps: Iterable[Step], clock: VirtualClock) -> None:
        self.steps = iter(steps)
        self.clock = clock
        self.at: list[float] = []
        self.asked: list[dict[str, list[str]]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.at.append(self.clock.monotonic())
        self.asked.append(parse_qs(request.url.query.decode()))
        await asyncio.sleep(0.01)
        step = next(self.steps)
        if isinstance(step, Exception):
            raise step
        return step() if callable(step) else step


def answer(body: bytes, status: int = 200) -> Callable[[], httpx.Response]:
    """Return a step that answers."""
    return lambda: httpx.Response(status, content=body)


def cut() -> httpx.Response:
    """Answer with half of a body."""
    half = gzip.compress(GOOD)[:-10]
    stream = httpx.ByteStream(half)
    return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream)


async def test_each_attempt_has_its_own_token_time_and_signature(
    virtual_time: VirtualClock,
) -> None:
    """Five faults in a row take five attempts, and nothing is used twice."""
    steps: list[Step] = [
        httpx.ConnectError("refused"),
        cut,
        answer(b"<html>Bad gateway</html>", 502),
        answer(TOO_MANY),
        answer(GOOD),
    ]
    transport = Scripted(steps, virtual_time)
    policy = RetryPolicy(attempts=5, initial_delay=4.0, max_delay=8.0)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=policy) as htx:
        assert await htx.accounts.list() == ()
        status = htx.limits()["GET /v1/account/accounts"]
    assert len(transport.asked) == 5
    # The first was not sent, and its token came back: the other four are spent.
    assert status.available == 100 - len(
        [at for at in transport.at[1:] if at > virtual_time.monotonic() - 2]
    )
    assert status.rate_limited == 1
    times = [asked["Timestamp"][0] for asked in transport.asked]
    signatures = [asked["Signature"][0] for asked in transport.asked]
    assert [times.index(time) for time in times] == [
        signatures.index(signature) for signature in signatures
    ]
    # A refused one waits until HTX's window ends.
    assert transport.at[4] - transport.at[3] >= 2.0


async def test_the_last_error_is_raised_with_the_earlier_ones_in_its_notes(
    virtual_time: VirtualClock,
) -> None:
    """And with what became of its own attempt."""
    steps: list[Step] = [httpx.ConnectError("x"), httpx.ReadError("y"), answer(BUSY)]
    transport = Scripted(steps, virtual_time)
    policy = RetryPolicy(attempts=3)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=policy) as htx:
        with pytest.raises(ServiceUnavailableError) as caught:
            await htx.accounts.list()
    error = caught.value
    assert error.delivery == "answered"
    first, second, third = error.__notes__
    assert first.startswith("attempt 1: ConnectError: GET /v1/account/accounts: no connection")
    assert first.endswith("https://api.huobi.pro (httpx.ConnectError)")
    assert second.startswith("attempt 2: NoResponseError: GET /v1/account/accounts: the connect")
    assert third == "attempt 3: this error"
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (httpx.ConnectError("x"), ConnectError),
        (httpx.ReadError("x"), NoResponseError),
        (answer(BUSY), ServiceUnavailableError),
        (answer(b'{"status":"ok","data":{}}'), DecodeError),
        (answer(b"nonsense"), DecodeError),
        (answer(b'{"status":"error","err-code":"login-required"}'), AccessKeyError),
    ],
)
async def test_no_retry_and_what_is_never_repeated(
    virtual_time: VirtualClock, step: Step, error: type[HTXError]
) -> None:
    """One attempt with NO_RETRY; one, whatever the policy, where it could not help."""
    for policy in (NO_RETRY, RetryPolicy()):
        transport = Scripted([step] * 9, virtual_time)
        async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=policy) as htx:
            with pytest.raises(error) as caught:
                await htx.accounts.list()
        repeated = policy is not NO_RETRY and caught.value.retryable
        assert len(transport.at) == (5 if repeated else 1)


async def test_an_exchange_that_is_always_busy_ends_in_time(virtual_time: VirtualClock) -> None:
    """The error is retryable, and tells its attempts."""
    transport = Scripted([answer(BUSY)] * 99, virtual_time)
    policy = RetryPolicy(attempts=50, initial_delay=0.1)
    options = {"timeout": 1.5, "retry": policy}
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, **options) as htx:  # type: ignore[arg-type]
        with pytest.raises((ServiceUnavailableError, DeadlineExceededError)) as caught:
            await htx.accounts.list()
    assert virtual_time.monotonic() <= 1.5
    assert caught.value.retryable
    assert len(caught.value.__notes__) == len(transport.at) >= 3


async def test_a_deadline_between_attempts_tells_the_last_failure(
    virtual_time: VirtualClock,
) -> None:
    """While it waits for a token for its repeat, the time is up."""
    hang = asyncio.Event()

    class Busy(Scripted):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if len(self.at) >= 1:
                self.at.append(virtual_time.monotonic())
                await hang.wait()
            return await super().handle_async_request(request)

    transport = Busy([answer(BUSY)], virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, timeout=3.0) as htx:
        with pytest.raises(DeadlineExceededError) as caught:
            await htx.accounts.list()
    assert virtual_time.monotonic() == pytest.approx(3.0)
    assert caught.value.delivery == "unknown"
    assert "attempt 1: ServiceUnavailableError" in caught.value.__notes__[0]


async def test_a_repeat_that_would_wait_too_long_for_its_token_is_not_begun(
    virtual_time: VirtualClock,
) -> None:
    """Its caller learns at once what it would have repeated."""
    transport = Scripted([answer(b'{"code":500,"message":"system error"}')] * 9, virtual_time)
    policy = RetryPolicy(initial_delay=0.001, max_delay=0.001)
    options = {"timeout": 0.9, "retry": policy}
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, **options) as htx:  # type: ignore[arg-type]
        with pytest.raises(ServiceUnavailableError):
            await htx.points.balance()
    assert len(transport.at) == 2
    assert virtual_time.monotonic() < 0.1


async def test_an_abandoned_read_is_not_repeated(virtual_time: VirtualClock) -> None:
    """All who waited have gone while its first attempt was out."""
    transport = Scripted([answer(BUSY)] * 9, virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        read = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(0.005)
        read.cancel()
        await asyncio.gather(read, return_exceptions=True)
        await asyncio.sleep(60.0)
        assert len(transport.at) == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_lets_no_further_attempt_begin(virtual_time: VirtualClock) -> None:
    """What is out ends, and is not repeated."""
    transport = Scripted([answer(BUSY)] * 9, virtual_time)
    htx = HTXClient(KEYS, transport=transport, clock=virtual_time)
    read = asyncio.create_task(htx.accounts.list())
    await asyncio.sleep(0.005)
    await htx.aclose()
    with pytest.raises(ServiceUnavailableError):
        await read
    assert len(transport.at) == 1


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("skew", [600.0, -600.0])
@pytest.mark.parametrize("retry", [NO_RETRY, RetryPolicy()])
@pytest.mark.parametrize("read", ["accounts", "points"])
async def test_a_wrong_clock_costs_one_refused_request(
    skew: float, retry: RetryPolicy, read: str
) -> None:
    """Ten minutes off, either way: one refusal, and then it is right for good."""
    sandbox = Sandbox(clock=VirtualClock())
    transport = httpx.ASGITransport(app=sandbox)
    options = {"transport": transport, "clock": VirtualClock(skew), "retry": retry}
    async with HTXClient(KEYS, **options) as htx:  # type: ignore[arg-type]
        ask = htx.accounts.list if read == "accounts" else htx.points.balance
        await ask()
        for _ in range(3):
            await asyncio.sleep(2.0)
            await ask()
        assert htx.clock_offset() == pytest.approx(-skew, abs=1.0)
    refused = [arrival for arrival in sandbox.arrivals if arrival.code not in (None, 200, "ok")]
    signed = [arrival for arrival in sandbox.arrivals if "timestamp" not in arrival.path]
    assert len(signed) == 5
    assert len(refused) <= 1


@pytest.mark.usefixtures("virtual_time")
async def test_many_reads_with_a_wrong_clock_measure_once() -> None:
    """They are refused together, and one of them asks what o'clock it is."""
    sandbox = Sandbox(accounts=30, clock=VirtualClock())
    inner = httpx.ASGITransport(app=sandbox)

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0.05)
            return await inner.handle_async_request(request)

    async with HTXClient(KEYS, transport=Slow(), clock=VirtualClock(900.0)) as htx:
        await asyncio.gather(*map(htx.accounts.balance, sandbox.account_ids))
    asked = [arrival for arrival in sandbox.arrivals if "timestamp" in arrival.path]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "second", [httpx.ReadError("x"), answer(b"nonsense"), answer(b'{"status":"ok","data":"?"}')]
)
async def test_a_clock_that_cannot_be_measured_is_told(
    virtual_time: VirtualClock, second: Step
) -> None:
    """HTX does not tell its time: the error is the first one."""
    wrong = (
        b'{"status":"error","err-code":"api-signature-not-valid",'
        b'"err-msg":"Signature not valid: Invalid submission time or incorrect time format"}'
    )
    transport = Scripted([answer(wrong), second], virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        with pytest.raises(ClockError):
            await htx.accounts.list()
    assert len(transport.at) == 2
    assert "Signature" not in transport.asked[1]


def test_keys_that_rotate_are_asked_for_again() -> None:
    """HTX no longer knows the old one: the provider is asked, and the read repeated once."""

    async def main() -> None:
        clock = VirtualClock()
        sandbox = Sandbox(clock=clock)
        given = iter([Credentials("access-old", "secret-key"), KEYS])
        asked = 0

        async def vault() -> Credentials:
            nonlocal asked
            asked += 1
            return next(given)

        transport = httpx.ASGITransport(app=sandbox)
        async with HTXClient(vault, transport=transport, clock=clock, retry=NO_RETRY) as htx:
            assert asked == 0
            assert "provider" in repr(htx)
            with pytest.raises(AccessKeyError):  # asked a moment ago: not yet again
                await htx.accounts.list()
            await clock.sleep(60.0)
            assert await htx.accounts.list()
            assert asked == 2
            await htx.points.balance()

    run(main())


async def test_keys_of_a_user_with_an_expired_key_stay_refused(virtual_time: VirtualClock) -> None:
    """A provider that has no other keys does not lead to a repeat."""
    (parent, *_) = default_users()
    user = SandboxUser(uid=7, keys=(APIKey("k", "s", expired=True),), accounts=parent.accounts)
    sandbox = Sandbox((user,), clock=virtual_time)

    async def vault() -> Credentials:
        return Credentials("k", "s")

    transport = httpx.ASGITransport(app=sandbox)
    async with HTXClient(vault, transport=transport, clock=virtual_time) as htx:
        with pytest.raises(HTXError):
            await htx.accounts.list()
        await virtual_time.sleep(60.0)
        with pytest.raises(HTXError):
            await htx.accounts.list()
    assert len(sandbox.arrivals) == 2


async def test_closing_between_attempts_tells_how_the_last_one_failed(
    virtual_time: VirtualClock,
) -> None:
    """It has left, and was answered: that is what its caller learns."""
    transport = Scripted([answer(BUSY)] * 9, virtual_time)
    policy = RetryPolicy(initial_delay=60.0, max_delay=60.0)
    htx = HTXClient(KEYS, transport=transport, clock=virtual_time, retry=policy, timeout=900.0)
    read = asyncio.create_task(htx.accounts.list())
    await asyncio.sleep(0.02)
    await htx.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await read
    assert caught.value.delivery == "answered"
    assert "attempt 1: ServiceUnavailableError" in caught.value.__notes__[0]
