"""Retries: attempts, backoff, and recovery from clock skew and rotated keys."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import re
from collections.abc import Iterable

import httpx
import pytest

from htx_async import (
    NO_RETRY,
    AccessKeyError,
    ClientClosedError,
    ClockError,
    ConnectError,
    Credentials,
    CredentialsError,
    DeadlineExceededError,
    DecodeError,
    HTXClient,
    HTXError,
    NoResponseError,
    RetryPolicy,
    ServiceUnavailableError,
    SignatureError,
)
from htx_async.sandbox import APIKey, Sandbox, SandboxUser, default_users
from htx_async.testing import ScriptedTransport, Step
from tests.virtual import VirtualClock, run

KEYS = Credentials("access-key", "secret-key")
BUSY = b'{"status":"error","err-code":"system-busy","err-msg":"System busy","data":null}'
RATE_LIMITED = b'{"status":"error","err-code":"bad-request","err-msg":"429 too many request"}'
OK = b'{"status":"ok","data":[]}'
WRONG_TIME_V1 = (
    b'{"status":"error","err-code":"api-signature-not-valid",'
    b'"err-msg":"Signature not valid: Invalid submission time or incorrect time format"}'
)
WRONG_TIME_V2 = b'{"code":1003,"message":"Invalid submission time"}'
REJECTED = b'{"status":"error","err-code":"login-required"}'


def scripted(steps: Iterable[Step], clock: VirtualClock) -> ScriptedTransport:
    """Return a transport that plays one step per attempt, after 10 ms each."""
    return ScriptedTransport(steps, delay=0.01, clock=clock)


def respond_with(body: bytes, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=body)


def truncated() -> httpx.Response:
    """Return a response whose gzip body is truncated."""
    stream = httpx.ByteStream(gzip.compress(OK)[:-10])
    return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream)


async def test_retry_uses_a_new_token_timestamp_and_signature_for_each_attempt(
    virtual_time: VirtualClock,
) -> None:
    """Four failures take five attempts, and none reuses a token, timestamp or signature."""
    steps: list[Step] = [
        httpx.ConnectError("refused"),
        truncated(),
        respond_with(b"<html>Bad gateway</html>", 502),
        respond_with(RATE_LIMITED),
        respond_with(OK),
    ]
    transport = scripted(steps, virtual_time)
    policy = RetryPolicy(attempts=5, initial_delay=4.0, max_delay=8.0)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=policy) as htx:
        assert await htx.accounts.list() == ()
        status = htx.limits()["GET /v1/account/accounts"]
    queries = [request.url.params for request in transport.requests]
    assert len(queries) == 5
    # The first attempt was not sent, so its token was released. The other four are spent.
    assert status.available == 100 - len(
        [at for at in transport.sent_at[1:] if at > virtual_time.monotonic() - 2]
    )
    assert status.rate_limited == 1
    times = [query["Timestamp"] for query in queries]
    signatures = [query["Signature"] for query in queries]
    assert [times.index(time) for time in times] == [
        signatures.index(signature) for signature in signatures
    ]
    # A rate-limited attempt waits until HTX's window ends.
    assert transport.sent_at[4] - transport.sent_at[3] >= 2.0


async def test_retry_raises_the_last_error_with_notes_on_earlier_attempts(
    virtual_time: VirtualClock,
) -> None:
    """`delivery` is that of the last attempt."""
    steps: list[Step] = [httpx.ConnectError("x"), httpx.ReadError("y"), respond_with(BUSY)]
    transport = scripted(steps, virtual_time)
    policy = RetryPolicy(attempts=3)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=policy) as htx:
        with pytest.raises(ServiceUnavailableError) as caught:
            await htx.accounts.list()
    error = caught.value
    assert error.delivery == "answered"
    first, second, third = error.__notes__
    assert first.startswith("attempt 1: ConnectError: GET /v1/account/accounts: could not connect")
    assert first.endswith("https://api.huobi.pro (httpx.ConnectError: x)")
    assert second.startswith(
        "attempt 2: NoResponseError: GET /v1/account/accounts: lost the connect"
    )
    assert third == "attempt 3: this error"
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (httpx.ConnectError("x"), ConnectError),
        (httpx.ReadError("x"), NoResponseError),
        (respond_with(BUSY), ServiceUnavailableError),
        (respond_with(b'{"status":"ok","data":{}}'), DecodeError),
        (respond_with(b"nonsense"), DecodeError),
        (respond_with(b'{"status":"error","err-code":"login-required"}'), AccessKeyError),
    ],
)
async def test_retry_makes_one_attempt_when_disabled_or_not_retryable(
    virtual_time: VirtualClock, step: Step, error: type[HTXError]
) -> None:
    """`NO_RETRY` makes one attempt, and so does every policy if the error is not retryable."""
    for policy in (NO_RETRY, RetryPolicy()):
        transport = scripted([step] * 9, virtual_time)
        async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=policy) as htx:
            with pytest.raises(error) as caught:
                await htx.accounts.list()
        is_retried = policy is not NO_RETRY and caught.value.retryable
        assert len(transport.sent_at) == (5 if is_retried else 1)


async def test_retry_stops_at_the_deadline_when_htx_stays_busy(virtual_time: VirtualClock) -> None:
    """The error is retryable and has one note per attempt."""
    transport = scripted([respond_with(BUSY)] * 99, virtual_time)
    policy = RetryPolicy(attempts=50, initial_delay=0.1)
    options = {"timeout": 1.5, "retry": policy}
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, **options) as htx:  # type: ignore[arg-type]
        with pytest.raises((ServiceUnavailableError, DeadlineExceededError)) as caught:
            await htx.accounts.list()
    assert virtual_time.monotonic() <= 1.5
    assert caught.value.retryable
    assert len(caught.value.__notes__) == len(transport.sent_at) >= 3


async def test_deadline_during_a_retry_reports_the_last_failure(virtual_time: VirtualClock) -> None:
    """The deadline passes while the second attempt is in flight."""

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    transport = scripted([respond_with(BUSY), hang], virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, timeout=3.0) as htx:
        with pytest.raises(DeadlineExceededError) as caught:
            await htx.accounts.list()
    assert virtual_time.monotonic() == pytest.approx(3.0)
    assert caught.value.delivery == "unknown"
    assert "attempt 1: ServiceUnavailableError" in caught.value.__notes__[0]


async def test_retry_is_not_queued_when_its_token_arrives_after_the_deadline(
    virtual_time: VirtualClock,
) -> None:
    """The caller gets the error of the failed attempt immediately."""
    transport = scripted([respond_with(b'{"code":500,"message":"system error"}')] * 9, virtual_time)
    policy = RetryPolicy(initial_delay=0.001, max_delay=0.001)
    options = {"timeout": 0.9, "retry": policy}
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, **options) as htx:  # type: ignore[arg-type]
        with pytest.raises(ServiceUnavailableError) as caught:
            await htx.points.balance()
    assert len(transport.sent_at) == len(caught.value.attempts) == 2
    assert virtual_time.monotonic() < 0.1


async def test_retry_stops_when_every_caller_cancels(virtual_time: VirtualClock) -> None:
    """The caller cancels while the first attempt is in flight."""
    transport = scripted([respond_with(BUSY)] * 9, virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        call = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(0.005)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(60.0)
        assert len(transport.sent_at) == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_retry_stops_when_the_client_closes(virtual_time: VirtualClock) -> None:
    """An attempt in flight finishes and is not retried."""
    transport = scripted([respond_with(BUSY)] * 9, virtual_time)
    htx = HTXClient(KEYS, transport=transport, clock=virtual_time)
    call = asyncio.create_task(htx.accounts.list())
    await asyncio.sleep(0.005)
    await htx.aclose()
    with pytest.raises(ServiceUnavailableError):
        await call
    assert len(transport.sent_at) == 1


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("skew", [600.0, -600.0])
@pytest.mark.parametrize("retry", [NO_RETRY, RetryPolicy()])
@pytest.mark.parametrize("resource", ["accounts", "points"])
async def test_clock_skew_costs_at_most_one_api_error(
    skew: float, retry: RetryPolicy, resource: str
) -> None:
    """A skew of ten minutes either way is corrected after one API error, and stays corrected."""
    sandbox = Sandbox(clock=VirtualClock())
    transport = httpx.ASGITransport(app=sandbox)
    options = {"transport": transport, "clock": VirtualClock(skew), "retry": retry}
    async with HTXClient(KEYS, **options) as htx:  # type: ignore[arg-type]
        method = htx.accounts.list if resource == "accounts" else htx.points.balance
        await method()
        for _ in range(3):
            await asyncio.sleep(2.0)
            await method()
        assert htx.clock_offset() == pytest.approx(-skew, abs=1.0)
    errors = [arrival for arrival in sandbox.arrivals if arrival.code not in (None, 200, "ok")]
    signed = [arrival for arrival in sandbox.arrivals if "timestamp" not in arrival.path]
    assert len(signed) == 5
    assert len(errors) <= 1


class SleepingMachine:
    """A sandbox and the clock of a client whose monotonic clocks stop while it sleeps."""

    def __init__(self, skew: float) -> None:
        self.client_clock = VirtualClock(skew)
        self.server_clock = VirtualClock()
        self.sandbox = Sandbox(clock=self.server_clock)
        self.has_date = True

    def sleep(self, hours: float) -> None:
        """Advance the wall clocks."""
        self.client_clock.skew += hours * 3_600
        self.server_clock.skew += hours * 3_600

    async def respond(self, request: httpx.Request) -> httpx.Response:
        """Respond as the sandbox, with or without a Date."""
        transport = httpx.ASGITransport(app=self.sandbox)
        response = await transport.handle_async_request(request)
        if not self.has_date:
            response.headers.pop("date", None)
        return response


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("skew", [0.0, 600.0, -600.0])
@pytest.mark.parametrize("has_date", [False, True])
@pytest.mark.parametrize("retry", [NO_RETRY, RetryPolicy()])
async def test_points_call_recovers_after_the_machine_has_slept(
    skew: float, has_date: bool, retry: RetryPolicy
) -> None:
    """The estimate of HTX's clock is 8 hours off, and HTX's error of v2 does not say so."""
    machine = SleepingMachine(skew)
    transport = ScriptedTransport(itertools.repeat(machine.respond))
    clock = machine.client_clock
    async with HTXClient(KEYS, transport=transport, clock=clock, retry=retry) as htx:
        await htx.accounts.list()
        assert htx.clock_offset() == pytest.approx(-skew, abs=1.0)
        machine.has_date = has_date
        machine.sleep(hours=8)
        for _ in range(2):
            await asyncio.sleep(2.0)
            await htx.points.balance()
        assert htx.clock_offset() == pytest.approx(-skew, abs=1.0)
    points = [arrival for arrival in machine.sandbox.arrivals if "point" in arrival.path]
    assert len(points) == 3


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("body", [WRONG_TIME_V1, WRONG_TIME_V2])
async def test_clock_error_states_the_measured_offset(body: bytes) -> None:
    """The clock of this machine is right, so setting it is no advice."""
    clock = VirtualClock()
    now = int(clock.now() * 1_000)
    steps = [respond_with(body), respond_with(b'{"status":"ok","data":%d}' % now)]
    transport = scripted([*steps, respond_with(body)], clock)
    async with HTXClient(KEYS, transport=transport, clock=clock) as htx:
        with pytest.raises(ClockError) as caught:
            await htx.accounts.list()
    assert re.search(r"HTX's clock is 0\.0\d\d s behind this machine's", str(caught.value))
    assert "NTP" not in str(caught.value)
    assert len(transport.sent_at) == 3


@pytest.mark.usefixtures("virtual_time")
async def test_wrong_secret_does_not_request_the_time_again() -> None:
    """The response's date confirms the estimate, so the clock is not the cause."""
    sandbox = Sandbox(clock=VirtualClock())
    credentials = Credentials("access-key", "wrong")
    transport = httpx.ASGITransport(app=sandbox)
    async with HTXClient(credentials, transport=transport, clock=VirtualClock(600.0)) as htx:
        for _ in range(3):
            with pytest.raises(SignatureError):
                await htx.points.balance()
            await asyncio.sleep(2.0)
    probes = [arrival for arrival in sandbox.arrivals if "timestamp" in arrival.path]
    assert len(probes) <= 1


@pytest.mark.usefixtures("virtual_time")
async def test_clock_skew_is_probed_once_for_concurrent_calls() -> None:
    """Several calls fail because of the skew, and one of them requests the server time."""
    sandbox = Sandbox(accounts=30, clock=VirtualClock())
    respond = httpx.ASGITransport(app=sandbox).handle_async_request
    transport = ScriptedTransport(itertools.repeat(respond), delay=0.05)
    async with HTXClient(KEYS, transport=transport, clock=VirtualClock(900.0)) as htx:
        await asyncio.gather(*map(htx.accounts.balance, sandbox.account_ids))
    probes = [arrival for arrival in sandbox.arrivals if "timestamp" in arrival.path]
    assert len(probes) == 1


@pytest.mark.parametrize(
    "second",
    [httpx.ReadError("x"), respond_with(b"nonsense"), respond_with(b'{"status":"ok","data":"?"}')],
)
async def test_clock_error_is_raised_when_the_clock_probe_fails(
    virtual_time: VirtualClock, second: Step
) -> None:
    """The caller gets the `ClockError` of the call, not the error of the probe."""
    wrong = (
        b'{"status":"error","err-code":"api-signature-not-valid",'
        b'"err-msg":"Signature not valid: Invalid submission time or incorrect time format"}'
    )
    transport = scripted([respond_with(wrong), second], virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        with pytest.raises(ClockError):
            await htx.accounts.list()
    assert len(transport.sent_at) == 2
    assert "Signature" not in transport.requests[1].url.params


def test_rotated_credentials_are_fetched_again_and_the_call_is_retried() -> None:
    """After HTX rejects the old key, the provider is called and the call is retried once."""

    async def main() -> None:
        clock = VirtualClock()
        sandbox = Sandbox(clock=clock)
        credentials = iter([Credentials("access-old", "secret-key"), KEYS])
        fetches = 0

        async def provider() -> Credentials:
            nonlocal fetches
            fetches += 1
            return next(credentials)

        transport = httpx.ASGITransport(app=sandbox)
        async with HTXClient(provider, transport=transport, clock=clock, retry=NO_RETRY) as htx:
            assert fetches == 0
            assert "provider" in repr(htx)
            with pytest.raises(AccessKeyError):  # fetched a moment ago: not fetched again yet
                await htx.accounts.list()
            await clock.sleep(60.0)
            assert await htx.accounts.list()
            assert fetches == 2
            await htx.points.balance()

    run(main())


async def test_expired_key_is_not_retried_without_new_credentials(
    virtual_time: VirtualClock,
) -> None:
    """A provider that returns the same credentials does not cause a retry."""
    (parent, *_) = default_users()
    user = SandboxUser(uid=7, keys=(APIKey("k", "s", expired=True),), accounts=parent.accounts)
    sandbox = Sandbox((user,), clock=virtual_time)

    async def provider() -> Credentials:
        return Credentials("k", "s")

    transport = httpx.ASGITransport(app=sandbox)
    async with HTXClient(provider, transport=transport, clock=virtual_time) as htx:
        with pytest.raises(HTXError):
            await htx.accounts.list()
        await virtual_time.sleep(60.0)
        with pytest.raises(HTXError):
            await htx.accounts.list()
    assert len(sandbox.arrivals) == 2


async def test_closing_between_attempts_reports_the_last_failure(
    virtual_time: VirtualClock,
) -> None:
    """`ClientClosedError` has the delivery of the last attempt and a note about it."""
    transport = scripted([respond_with(BUSY)] * 9, virtual_time)
    policy = RetryPolicy(initial_delay=60.0, max_delay=60.0)
    htx = HTXClient(KEYS, transport=transport, clock=virtual_time, retry=policy, timeout=900.0)
    call = asyncio.create_task(htx.accounts.list())
    await asyncio.sleep(0.02)
    await htx.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await call
    assert caught.value.delivery == "answered"
    assert "attempt 1: ServiceUnavailableError" in caught.value.__notes__[0]


class Vault:
    """A credentials provider that returns or raises *results* in turn, then the last one again."""

    def __init__(self, *results: Credentials | Exception) -> None:
        self.results = list(results)
        self.calls = 0

    async def __call__(self) -> Credentials:
        self.calls += 1
        await asyncio.sleep(0.001)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result


DOWN = OSError("vault down")
OLD = Credentials("access-old", "secret-key")


async def test_failed_provider_is_retried_by_the_policy(virtual_time: VirtualClock) -> None:
    """Nothing is sent before it returns credentials."""
    vault = Vault(DOWN, DOWN, KEYS)
    transport = scripted([respond_with(OK)], virtual_time)
    async with HTXClient(vault, transport=transport, clock=virtual_time) as htx:
        assert await htx.accounts.list() == ()
    assert vault.calls == 3
    assert len(transport.sent_at) == 1


async def test_provider_that_keeps_failing_is_a_retryable_error(virtual_time: VirtualClock) -> None:
    """The cause is in a note, and HTX has seen nothing."""
    vault = Vault(DOWN)
    transport = scripted([], virtual_time)
    policy = RetryPolicy(attempts=3)
    async with HTXClient(vault, transport=transport, clock=virtual_time, retry=policy) as htx:
        with pytest.raises(CredentialsError, match="provider failed with OSError") as caught:
            await htx.accounts.list()
    assert (caught.value.retryable, caught.value.delivery) == (True, "not_sent")
    assert "cause: OSError: vault down" in caught.value.__notes__
    assert vault.calls == 3


async def test_unsigned_request_needs_no_credentials(virtual_time: VirtualClock) -> None:
    """The vault is not asked for them."""
    vault = Vault(DOWN)
    transport = scripted([respond_with(OK)], virtual_time)
    async with HTXClient(vault, transport=transport, clock=virtual_time) as htx:
        await htx.get("/v1/common/currencys", signed=False)
    assert vault.calls == 0


async def test_provider_that_fails_after_a_rotation_is_retried_by_the_policy(
    virtual_time: VirtualClock,
) -> None:
    """HTX has rejected the old key; the vault is down for two calls."""
    vault = Vault(OLD, DOWN, DOWN, KEYS)
    transport = scripted([respond_with(REJECTED), respond_with(OK)], virtual_time)
    options = {"refresh_interval": 0, "retry": RetryPolicy(attempts=3)}
    async with HTXClient(vault, transport=transport, clock=virtual_time, **options) as htx:  # type: ignore[arg-type]
        assert await htx.accounts.list() == ()
    assert vault.calls == 4
    assert len(transport.sent_at) == 2


@pytest.mark.parametrize("source", ["client", "with_options"])
async def test_refresh_interval_is_an_option_and_named_in_the_error(
    virtual_time: VirtualClock, source: str
) -> None:
    """A key that was rotated within the interval is fetched after it."""
    vault = Vault(OLD, KEYS)
    transport = scripted([respond_with(REJECTED)] * 2 + [respond_with(OK)], virtual_time)
    options = {"refresh_interval": 5.0} if source == "client" else {}
    async with HTXClient(vault, transport=transport, clock=virtual_time, **options) as client:  # type: ignore[arg-type]
        htx = client.with_options(refresh_interval=5.0)
        with pytest.raises(AccessKeyError) as caught:
            await htx.accounts.list()
        assert "called again 5 s after that (refresh_interval)" in str(caught.value)
        assert vault.calls == 1
        await asyncio.sleep(5.0)
        assert await htx.accounts.list() == ()
    assert vault.calls == 2


async def test_deadline_names_a_provider_that_does_not_return(virtual_time: VirtualClock) -> None:
    """The call is not queued yet, so making fewer calls would not help."""

    async def provider() -> Credentials:
        await asyncio.Event().wait()
        raise AssertionError

    transport = scripted([], virtual_time)
    async with HTXClient(provider, transport=transport, clock=virtual_time, timeout=3.0) as htx:
        with pytest.raises(DeadlineExceededError) as caught:
            await htx.accounts.list()
    assert str(caught.value).endswith(
        "no response within 3 s (timeout): the call was waiting for the credentials provider. "
        "Increase timeout, or make it faster."
    )
    assert caught.value.delivery == "not_sent"


async def test_deadline_names_settings_that_were_not_read(
    virtual_time: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read in a thread, and blocking code may use all threads of the loop."""
    async with HTXClient(KEYS, clock=virtual_time, timeout=3.0) as htx:
        monkeypatch.setattr(htx._adapter, "prepare", asyncio.Event().wait)
        with pytest.raises(DeadlineExceededError, match="waiting for a thread that reads cert"):
            await htx.accounts.list()


async def test_deadline_of_a_queued_call_does_not_name_what_it_waited_for_before(
    virtual_time: VirtualClock,
) -> None:
    """The only connection is in use until the deadline."""

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    transport = scripted([hang], virtual_time)
    async with HTXClient(
        Vault(KEYS), transport=transport, clock=virtual_time, timeout=3.0, max_connections=1
    ) as htx:
        sent = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceededError, match="the call was still queued"):
            await htx.with_options(timeout=2.0).points.balance()
        with pytest.raises(DeadlineExceededError):
            await sent
