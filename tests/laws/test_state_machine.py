"""
Stateful property test of all laws: hypothesis calls, responds, fails, cancels and closes at random.

A client runs on virtual time over a simulated network that only acts when a rule says so. The laws
must hold for every sequence of rules; otherwise hypothesis reports the shortest failing sequence.

`HTX_ASYNC_EXAMPLES=5000 pytest --timeout 0 tests/laws/test_state_machine.py` runs more and longer
sequences.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import re
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from decimal import Decimal
from email.utils import formatdate
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qsl

import attrs
import httpx
import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from htx_async import HTXClient
from htx_async.auth.credentials import Credentials
from htx_async.auth.signature import format_timestamp
from htx_async.clock import MAX_UNCORRECTED_SKEW, ServerClock
from htx_async.errors import (
    APIError,
    ClientClosedError,
    ClockError,
    ConnectError,
    DeadlineExceededError,
    DecodeError,
    Delivery,
    HTXError,
    InvalidInputError,
    NoResponseError,
    RateLimitedError,
    RateLimitQueueError,
    ServiceUnavailableError,
    SignatureError,
)
from htx_async.events import Event
from htx_async.middleware.coalescing import CLOSE_TIMEOUT
from htx_async.middleware.rate_limiting import RateLimiting
from htx_async.middleware.retrying import SERVER_TIME
from htx_async.middleware.shared_call import ABANDONED_TIMEOUT
from htx_async.models.points import PointBalance
from htx_async.options import NO_RETRY, RequestOptions, RetryPolicy
from htx_async.ratelimit.headers import EXPIRE_HEADER, REMAINING_HEADER
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response
from tests.laws.test_rate_limit import TICK, ticks
from tests.virtual import DAY, VirtualClock, VirtualLoop

EXAMPLES = int(os.environ.get("HTX_ASYNC_EXAMPLES", "0"))
EPSILON = 1e-6
SETTLE_ROUNDS = 24
"""Iterations of the loop after which no more callbacks are ready."""

MAX_CLOCK_ERROR = 60.0
"""HTX accepts timestamps that differ by at most this many seconds."""

_first_caller: ContextVar[Caller] = ContextVar("first_caller")


@attrs.define(eq=False)
class Caller:
    """One call and its state."""

    called_at: float
    endpoint: Endpoint[PointBalance]
    path: str
    options: RequestOptions
    task: asyncio.Task[None] | None = None
    request_id: int = 0
    cancelled: bool = False
    ended: float | None = None

    @property
    def deadline(self) -> float:
        """Time at which the call times out."""
        return self.called_at + self.options.timeout

    @property
    def key(self) -> tuple[object, ...]:
        """Calls with equal keys are identical."""
        options = self.options
        return (self.endpoint.path, self.path, options.retry, options.attempt_timeout)


@attrs.frozen
class Reply:
    """
    A response of the exchange, and its effect on the call.

    In *body*, `@` stands for the number of the attempt, and `$` for an amount.
    """

    body: str
    error: type[HTXError] | None = None
    status: int = 200
    is_retried: bool = False
    headers: dict[str, str] = attrs.field(factory=dict)


_POINTS_DATA = '{"accountId":@,"accountStatus":"working","acctBalance":$}'
_ERROR_BODY = '{"status":"error","err-code":"CODE","err-msg":"TEXT (#@)","data":null}'


def _error_body(code: str, text: str = "no") -> str:
    return _ERROR_BODY.replace("CODE", code).replace("TEXT", text)


_RATE_LIMITED_BODY = _error_body("rate-too-many-requests")
_CLOCK_ERROR = Reply(
    _error_body("api-signature-not-valid", "Incorrect submission time"), ClockError
)
_SIGNATURE_ERROR = Reply(
    _error_body("api-signature-not-valid", "Signature not valid"), SignatureError
)
_RATE_LIMITED = Reply(_RATE_LIMITED_BODY, RateLimitedError, is_retried=True)
REPLIES: dict[str, Reply] = {
    "success": Reply('{"status":"ok","data":' + _POINTS_DATA + "}"),
    "v2 success": Reply('{"code":200,"data":' + _POINTS_DATA + ',"success":true}'),
    "rate limited": _RATE_LIMITED,
    "429": Reply("(#@)", RateLimitedError, 429, is_retried=True),
    "429 with Retry-After": Reply(
        _RATE_LIMITED_BODY, RateLimitedError, 429, is_retried=True, headers={"retry-after": "0.5"}
    ),
    "busy": Reply(_error_body("system-busy"), ServiceUnavailableError, is_retried=True),
    "502": Reply("<html>Bad Gateway (#@)</html>", ServiceUnavailableError, 502, is_retried=True),
    "signature": _SIGNATURE_ERROR,
    "invalid parameter": Reply(_error_body("invalid-parameter"), APIError),
    "invalid JSON": Reply('{"status":"ok","n":"(#@)","data":', DecodeError),
    "invalid amount": Reply(
        '{"status":"ok","data":' + _POINTS_DATA.replace("$", '"x"') + "}", DecodeError
    ),
}
AMOUNTS = [
    '"91.850043797676510303"',
    "91.850043797676510303",
    '"-0.000000000000000001"',
    "12345678901234567890123456789012345.5",
    '"1e-30"',
]


@attrs.define(eq=False)
class Attempt(httpx.AsyncByteStream):
    """One request in the network, and its state."""

    number: int
    first_caller: Caller
    endpoint: Endpoint[Any]
    path: str
    params: dict[str, str]
    sent_at: float
    waiters: tuple[Caller, ...]
    head: asyncio.Future[httpx.Response]
    body: asyncio.Future[bytes]
    arrived: bool = False
    first_byte_at: float | None = None
    required_reply: Reply | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    reply: Reply | None = None
    amount: str = ""
    ended_at: float | None = None
    delivery: Delivery = "unknown"

    @property
    def is_done(self) -> bool:
        """Whether nothing more can arrive."""
        return self.ended_at is not None or self.body.done()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield await self.body

    async def aclose(self) -> None:
        if not self.body.done() or self.body.cancelled():  # the attempt ended before
            self.reply = None
        self.ended_at = self.ended_at or asyncio.get_running_loop().time()


@attrs.define(eq=False)
class QueueEntry:
    """A queued attempt: its position, and when it was sent."""

    number: int
    sent_at: float | None = None


class Exchange(httpx.AsyncBaseTransport):
    """A network driven by the rules, and an exchange that counts requests."""

    def __init__(self, clock: VirtualClock, *, sliding: bool, reset_format: str) -> None:
        self.clock = clock
        self.time = ServerClock(clock)
        self.sliding = sliding
        self.reset_format = reset_format
        self.endpoints: dict[str, Endpoint[Any]] = {SERVER_TIME.path: SERVER_TIME}
        self.attempts: list[Attempt] = []
        self.arrivals: dict[str, list[float]] = {}
        self.counted: dict[str, list[float]] = {}
        self.opened: dict[str, float] = {}
        self.has_foreign_use = False
        self.callers: list[Caller] = []
        self.queued: dict[tuple[str, int], QueueEntry] = {}
        self.sent: dict[str, list[QueueEntry]] = {}
        self.errors: list[BaseException] = []
        self._numbers = itertools.count(1)

    @property
    def in_flight(self) -> list[Attempt]:
        """The attempts in flight."""
        return [attempt for attempt in self.attempts if attempt.ended_at is None]

    def attempts_of(self, request_id: int) -> list[Attempt]:
        """Return the attempts of a call, without clock probes."""
        return [
            attempt
            for attempt in self.attempts
            if attempt.first_caller.request_id == request_id and attempt.endpoint is not SERVER_TIME
        ]

    def listen(self, event: Event) -> None:
        """Record which request each caller shares."""
        # A request runs in the context of its first caller; a coalesced caller gets its own event.
        caller = _first_caller.get()
        caller.request_id = caller.request_id or event.request_id

    def record_queued(self, request: Request) -> None:
        """Record the order in which attempts are queued."""
        key = (request.endpoint.name, request.call.request_id)
        self.queued[key] = QueueEntry(next(self._numbers))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        now, first_caller = self.clock.monotonic(), _first_caller.get()
        loop = asyncio.get_running_loop()
        attempt = Attempt(
            next(self._numbers),
            first_caller,
            self.endpoints[request.url.path.partition("/at/")[0]],
            request.url.path,
            dict(parse_qsl(request.url.query.decode())),
            now,
            tuple(caller for caller in self.callers if _waits(caller, first_caller.request_id)),
            loop.create_future(),
            loop.create_future(),
        )
        try:
            self._check_sent(attempt)
        except Exception as error:  # noqa: BLE001 - also reports errors of this test
            self.errors.append(error)
        self.attempts.append(attempt)
        try:
            return await attempt.head
        except BaseException:
            # The connection is closed, so a request on its way does not arrive any more.
            await attempt.aclose()
            raise

    def _check_sent(self, attempt: Attempt) -> None:
        now, params = attempt.sent_at, attempt.params
        # Law 1: each attempt is signed when it is sent, by the corrected clock.
        assert attempt.endpoint.signed == ("Signature" in params)
        if attempt.endpoint.signed:
            assert params["Timestamp"] == format_timestamp(self.time.now())
            # Law 9: known clock skew is corrected.
            if self.time.offset() is not None:
                assert abs(self.time.now() - true_time_at(now)) <= MAX_UNCORRECTED_SKEW + 2
        # Laws 3 and 8: a caller waits for it, and the deadline has not passed.
        assert attempt.waiters
        assert now <= max(caller.deadline for caller in attempt.waiters) + EPSILON
        self._check_order(attempt)
        if attempt.endpoint is not SERVER_TIME:
            self._check_retry(attempt)

    def _check_order(self, attempt: Attempt) -> None:
        """Law 3: attempts are sent in the order in which they were queued."""
        name = attempt.endpoint.name
        entry = self.queued.pop((name, attempt.first_caller.request_id))
        entry.sent_at = attempt.sent_at
        sent = self.sent.setdefault(name, [])
        for other in sent:
            assert other.sent_at is not None
            assert other.number < entry.number or other.sent_at >= entry.sent_at - EPSILON, (
                "overtaken"
            )
        sent.append(entry)

    def _check_retry(self, attempt: Attempt) -> None:
        """Law 8: only retryable errors are retried, as often as the policy allows."""
        earlier = self.attempts_of(attempt.first_caller.request_id)
        recovered = [other for other in earlier if other.reply in (_CLOCK_ERROR, _SIGNATURE_ERROR)]
        assert len(recovered) <= 1
        assert len(earlier) - len(recovered) < attempt.first_caller.options.retry.attempts
        for other in earlier:
            assert other.ended_at is not None
            assert other.reply is None or other.reply.is_retried or other in recovered

    # Actions of the network and the exchange, called by the rules.

    def arrive(self, attempt: Attempt) -> None:
        """Deliver a request to the exchange, which counts it and may return 429."""
        if attempt.arrived or attempt.head.done():
            return
        attempt.arrived = True
        now, endpoint = self.clock.monotonic(), attempt.endpoint
        arrivals = self.arrivals.setdefault(endpoint.name, [])
        arrivals.append(now)
        # Law 2, measured at the server.
        limit, per = endpoint.limit.requests, endpoint.limit.per
        in_window = [at for at in arrivals if at > now - per + EPSILON]
        self._check(len(in_window) <= limit, f"{len(in_window)} arrived in {per} s")
        counted = self._counted(endpoint, now)
        if len(counted) >= limit:
            attempt.required_reply = _RATE_LIMITED
            self._check(self.has_foreign_use, "a client alone was rate limited")
        else:
            counted.append(now)
            true_time, signed = true_time_at(now), attempt.params.get("Timestamp")
            if signed and not format_timestamp(
                true_time - MAX_CLOCK_ERROR
            ) <= signed <= format_timestamp(true_time + MAX_CLOCK_ERROR):
                attempt.required_reply = _CLOCK_ERROR
        ends = per if self.sliding else self.opened[endpoint.name] + per - now
        if self.reset_format != "none":
            attempt.headers[REMAINING_HEADER] = str(max(limit - len(counted), 0))
            reset = ends if self.reset_format == "seconds left" else true_time_at(now) + ends
            attempt.headers[EXPIRE_HEADER] = str(math.ceil(reset * 1000))

    def _check(self, holds: bool, text: str) -> None:
        if not holds:
            self.errors.append(AssertionError(text))

    def _counted(self, endpoint: Endpoint[Any], now: float) -> list[float]:
        """Return the requests that the exchange counts in its current window."""
        name, per = endpoint.name, endpoint.limit.per
        counted = self.counted.setdefault(name, [])
        if self.sliding:
            counted[:] = [at for at in counted if at > now - per + EPSILON]
        elif now >= self.opened.get(name, -math.inf) + per - EPSILON:
            self.opened[name] = now
            counted.clear()
        return counted

    def spend(self, endpoint: Endpoint[Any], count: int) -> None:
        """Count requests of another process of the same user."""
        self.has_foreign_use = True
        now = self.clock.monotonic()
        counted = self._counted(endpoint, now)
        counted += [now] * min(count, endpoint.limit.requests - len(counted))

    def respond(self, attempt: Attempt, kind: str, amount: str, remain: int | None) -> None:
        """Deliver the head of a response, which determines the reply."""
        self.arrive(attempt)
        if attempt.head.done():
            return
        attempt.first_byte_at = self.clock.monotonic()
        reply = attempt.required_reply or REPLIES[kind]
        if attempt.endpoint is SERVER_TIME and reply.error is None:
            milliseconds = int(true_time_at(attempt.first_byte_at) * 1000)
            reply = attrs.evolve(reply, body=f'{{"status":"ok","data":{milliseconds}}}')
        attempt.headers |= reply.headers
        attempt.headers["date"] = formatdate(true_time_at(attempt.first_byte_at), usegmt=True)
        if remain is not None:
            attempt.headers[REMAINING_HEADER] = str(remain)
        attempt.reply, attempt.amount = reply, amount
        headers = {name.encode(): value.encode() for name, value in attempt.headers.items()}
        attempt.head.set_result(httpx.Response(reply.status, headers=headers, stream=attempt))

    def finish(self, attempt: Attempt) -> None:
        """Deliver the body of a response."""
        if attempt.reply is not None and not attempt.is_done:
            body = attempt.reply.body.replace("@", str(attempt.number))
            attempt.delivery = "answered"
            attempt.body.set_result(body.replace("$", attempt.amount).encode())

    def fail(self, attempt: Attempt) -> None:
        """Fail to connect, or lose the connection."""
        if attempt.arrived:
            self.cut(attempt)
        elif not attempt.head.done():
            attempt.delivery = "not_sent"
            _break(attempt.head, httpx.ConnectError("no connection"))

    def cut(self, attempt: Attempt) -> None:
        """Lose the connection while sending or receiving."""
        if not attempt.is_done:
            attempt.reply = None
            _break(attempt.body if attempt.head.done() else attempt.head, httpx.ReadError("cut"))


def _break(future: asyncio.Future[Any], error: httpx.TransportError) -> None:
    future.set_exception(error)
    future.exception()  # mark as retrieved: the waiter may have gone


def true_time_at(at: float) -> float:
    """Return the true Unix time."""
    return DAY + at


def _waits(caller: Caller, request_id: int) -> bool:
    return caller.request_id == request_id and caller.ended is None


Selection = Literal["first", "last", "all"] | int
selection = st.sampled_from(["first", "last", "all"]) | st.integers(0, 9)
rounds = st.sampled_from([None, 0, 1, 2, 3, SETTLE_ROUNDS, SETTLE_ROUNDS])
"""Iterations of the loop after an action; `None`: none, so that actions happen simultaneously."""

policies = st.sampled_from(
    [
        NO_RETRY,
        RetryPolicy(attempts=2, initial_delay=0.5),
        RetryPolicy(attempts=4, initial_delay=TICK, max_delay=1.0),
    ]
)
options = st.builds(
    RequestOptions,
    timeout=st.sampled_from([30.0, 30.0, 10.0, 10.0, 2.0, 0.5, TICK]),
    attempt_timeout=st.sampled_from([10.0, 10.0, 3.0, 0.5]),
    retry=policies,
    coalesce=st.sampled_from([True, True, False]),
    queue_timeout=st.sampled_from([None, None, None, 0, TICK, 0.5, 3.0]),
    max_queue=st.sampled_from([None, None, None, 0, 1, 3]),
)


class ClientMachine(RuleBasedStateMachine):
    """One client with its callers, over a simulated network and exchange."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.actions: list[Callable[[], object]] = []
        self.settled = True
        self.closing: list[asyncio.Task[None]] = []
        self.closed_at = math.inf
        self.max_callers = 200

    @initialize(
        limit=st.integers(1, 4),
        per=st.sampled_from([TICK, 0.5, 1.0, 2.0]),
        slots=st.integers(1, 4),
        skew=st.sampled_from([0.0, 0.0, 3.0, -20.0, 100.0]),
        sliding=st.booleans(),
        reset_format=st.sampled_from(["none", "seconds left", "unix time"]),
    )
    def open(
        self, limit: int, per: float, slots: int, skew: float, sliding: bool, reset_format: str
    ) -> None:
        """Create the exchange and its client."""
        self.clock = VirtualClock(skew)
        self.exchange = Exchange(self.clock, sliding=sliding, reset_format=reset_format)
        self.endpoints = (
            Endpoint("/v1/a", RateLimit(limit, per), PointBalance),
            Endpoint("/v2/b", RateLimit(2, per=1.0), PointBalance),
        )
        self.exchange.endpoints |= {endpoint.path: endpoint for endpoint in self.endpoints}
        self.rate_limiter = RateLimiter()
        self.htx = HTXClient(
            Credentials("access-key", "secret-key"),
            base_url="https://htx.test",
            rate_limiter=self.rate_limiter,
            transport=self.exchange,
            max_connections=slots,
            on_event=self.exchange.listen,
            clock=self.clock,
        )
        self.exchange.time = self.htx._server_clock
        layer: Any = self.htx._coalescing._call_next
        while not isinstance(layer.call_next, RateLimiting):
            layer = layer.call_next
        limiting = layer.call_next
        self.slots = limiting.slots

        async def recording(request: Request) -> Response:
            self.exchange.record_queued(request)
            return await limiting(request)

        msgspec.structs.force_setattr(layer, "call_next", recording)  # the struct is frozen

    # Rules.

    @precondition(lambda self: len(self.exchange.callers) < self.max_callers)
    @rule(
        endpoint=st.integers(0, 1),
        path=st.sampled_from(["/x", "/y"]),
        options=options,
        count=st.sampled_from([1, 1, 1, 2, 5]),
        rounds=rounds,
    )
    def call(
        self, endpoint: int, path: str, options: RequestOptions, count: int, rounds: int | None
    ) -> None:
        """Start one or more identical calls."""

        def action() -> None:
            for _ in range(count):
                now = self.clock.monotonic()
                caller = Caller(now, self.endpoints[endpoint], path, options)
                self.exchange.callers.append(caller)
                caller.task = self.loop.create_task(self._call(caller))
                caller.task.add_done_callback(partial(self._ended, caller))

        self._do(action, rounds)

    @rule()
    def call_with_an_invalid_account(self) -> None:
        """An invalid argument raises before anything is sent."""
        with pytest.raises(InvalidInputError):
            self.loop.run_until_complete(self.htx.accounts.balance("1x"))

    @precondition(lambda self: self.exchange.in_flight)
    @rule(selection=selection, rounds=rounds)
    def arrive(self, selection: Selection, rounds: int | None) -> None:
        """Deliver requests to the exchange."""
        self._do(lambda: self._for_each(selection, self.exchange.arrive), rounds)

    @precondition(lambda self: self.exchange.in_flight)
    @rule(
        selection=selection,
        kind=st.sampled_from(["success", "v2 success", "success"])
        | st.sampled_from(sorted(REPLIES)),
        amount=st.sampled_from(AMOUNTS),
        remain=st.sampled_from([None, None, None, 0, 1, 99]),
        whole=st.sampled_from([True, True, False]),
        rounds=rounds,
    )
    def respond(
        self,
        *,
        selection: Selection,
        kind: str,
        amount: str,
        remain: int | None,
        whole: bool,
        rounds: int | None,
    ) -> None:
        """Deliver responses, or only their heads: data, API errors or invalid bodies."""

        def action(attempt: Attempt) -> None:
            self.exchange.respond(attempt, kind, amount, remain)
            if whole:
                self.exchange.finish(attempt)

        self._do(lambda: self._for_each(selection, action), rounds)

    @precondition(
        lambda self: any(attempt.first_byte_at is not None for attempt in self.exchange.in_flight)
    )
    @rule(selection=selection, rounds=rounds)
    def finish(self, selection: Selection, rounds: int | None) -> None:
        """Deliver response bodies."""
        self._do(lambda: self._for_each(selection, self.exchange.finish), rounds)

    @precondition(lambda self: self.exchange.in_flight)
    @rule(selection=selection, cut=st.booleans(), rounds=rounds)
    def fail(self, selection: Selection, cut: bool, rounds: int | None) -> None:
        """Fail connections."""
        action = self.exchange.cut if cut else self.exchange.fail
        self._do(lambda: self._for_each(selection, action), rounds)

    @rule(endpoint=st.integers(0, 1), count=st.integers(1, 4))
    def use_limit_elsewhere(self, endpoint: int, count: int) -> None:
        """Another process of the same user uses the rate limit."""
        self._do(lambda: self.exchange.spend(self.endpoints[endpoint], count), 0)

    @precondition(lambda self: any(caller.ended is None for caller in self.exchange.callers))
    @rule(selection=selection, rounds=rounds)
    def cancel(self, selection: Selection, rounds: int | None) -> None:
        """Cancel callers."""

        def action() -> None:
            waiting = [caller for caller in self.exchange.callers if caller.ended is None]
            for caller in _select(waiting, selection):
                assert caller.task is not None
                caller.cancelled = True
                caller.task.cancel()

        self._do(action, rounds)

    @rule(
        seconds=ticks(80) | st.sampled_from([0.5, 1.0, 2.0, 6.0, 31.0]),
        rounds=st.sampled_from([0, 1, SETTLE_ROUNDS]),
    )
    def wait(self, seconds: float, rounds: int) -> None:
        """Advance the time."""
        self._run(rounds, seconds)

    @precondition(lambda self: self.exchange.in_flight)
    @rule(
        times=st.integers(1, 6),
        kind=st.sampled_from(["success", "v2 success", "success", "busy", "429"]),
        amount=st.sampled_from(AMOUNTS),
        seconds=ticks(70),
    )
    def serve(self, times: int, kind: str, amount: str, seconds: float) -> None:
        """Respond to all requests in flight, several times."""

        def action(attempt: Attempt) -> None:
            self.exchange.respond(attempt, kind, amount, None)
            self.exchange.finish(attempt)

        for _ in range(times):
            self._do(lambda: self._for_each("all", action), SETTLE_ROUNDS)
            self._run(SETTLE_ROUNDS, seconds)

    @precondition(lambda self: len(self.exchange.attempts) > 4 and len(self.closing) < 2)
    @rule(rounds=rounds)
    def close(self, rounds: int | None) -> None:
        """Close the client, up to twice."""
        self.max_callers = min(self.max_callers, len(self.exchange.callers) + 3)

        def action() -> None:
            self.closed_at = min(self.closed_at, self.clock.monotonic())
            self.closing.append(self.loop.create_task(self._close()))

        self._do(action, rounds)

    # Execution.

    def _for_each(self, selection: Selection, action: Callable[[Attempt], object]) -> None:
        for attempt in _select(self.exchange.in_flight, selection):
            action(attempt)

    def _do(self, action: Callable[[], object], rounds: int | None) -> None:
        self.actions.append(action)
        if rounds is None:
            self.settled = False
        else:
            self._run(rounds)

    def _run(self, rounds: int, seconds: float = 0.0) -> None:
        async def main() -> None:
            actions, self.actions = self.actions, []
            for action in actions:
                action()
            if seconds:
                await asyncio.sleep(seconds)
            for _ in range(rounds):
                await asyncio.sleep(0)

        self.loop.run_until_complete(main())
        self.settled = rounds == SETTLE_ROUNDS

    async def _close(self) -> None:
        started_at = self.clock.monotonic()
        try:
            await self.htx.aclose()
            assert self.clock.monotonic() <= started_at + CLOSE_TIMEOUT + EPSILON
        except BaseException as error:
            self.exchange.errors.append(error)
            raise

    def _ended(self, caller: Caller, _: object) -> None:
        if caller.ended is None:  # cancelled before it started
            caller.ended = self.loop.time()

    async def _call(self, caller: Caller) -> None:
        _first_caller.set(caller)
        overrides = msgspec.structs.asdict(caller.options)
        path = f"{caller.endpoint.path}/at{caller.path}"
        outcome: PointBalance | BaseException
        try:
            outcome = await self.htx.with_options(**overrides)._request(caller.endpoint, path=path)
        except BaseException as error:  # noqa: BLE001 - checked below
            outcome = error
        caller.ended = self.clock.monotonic()
        try:
            self._check_outcome(caller, outcome)
        except AssertionError as error:
            error.add_note(f"{caller} got {outcome!r}")
            self.exchange.errors.append(error)

    # Checks and invariants.

    def _check_outcome(self, caller: Caller, outcome: PointBalance | BaseException) -> None:
        assert caller.ended is not None
        assert caller.ended <= caller.deadline + EPSILON, "late"
        attempts = self.exchange.attempts_of(caller.request_id) if caller.request_id else []
        if isinstance(outcome, asyncio.CancelledError):
            assert caller.cancelled
        elif isinstance(outcome, PointBalance):
            _check_balance(caller, attempts, outcome)
        else:
            assert isinstance(outcome, HTXError)
            assert outcome.endpoint == caller.endpoint.name
            assert outcome.__cause__ is None
            self._check_error(caller, attempts, outcome)

    def _check_error(self, caller: Caller, attempts: list[Attempt], error: HTXError) -> None:
        if isinstance(error, RateLimitQueueError):
            _check_queue_error(caller, attempts, error)
        elif isinstance(error, ClientClosedError):
            assert self.closed_at <= caller.deadline
            assert error.delivery in _possible_deliveries(attempts, caller)
        elif isinstance(error, DeadlineExceededError):
            assert caller.ended is not None
            assert caller.ended >= caller.deadline - EPSILON, "early"
            assert error.delivery in _possible_deliveries(attempts, caller)
        else:
            attempt = [other for other in attempts if other.ended_at is not None][-1]
            assert attempt.sent_at >= caller.called_at
            assert error.delivery == attempt.delivery
            if attempt.reply is None:
                kind = ConnectError if attempt.delivery == "not_sent" else NoResponseError
                assert type(error) is kind
            else:
                assert type(error) is attempt.reply.error
                match = re.search(r"\(#(\d+)\)", str(error))
                assert match is None or int(match[1]) == attempt.number

    @invariant()
    def no_check_failed(self) -> None:
        """No check of a caller or of the network has failed."""
        if self.exchange.errors:
            raise self.exchange.errors[0]

    @invariant()
    def tokens_are_conserved(self) -> None:
        """Every token is free, in use or returning."""
        for queue in self._queues():
            bucket = queue.bucket
            assert bucket.free + bucket.in_use + len(bucket._returns) == bucket.limit.requests
            assert min(bucket.free, bucket.in_use) >= 0
        assert len(self.exchange.in_flight) <= self.slots.limit

    @invariant()
    def available_tokens_are_granted(self) -> None:
        """Once the loop is idle, nothing waits for an available token or past its deadline."""
        if not self.settled or self.actions:
            return
        now = self.loop.time()
        for queue in self._queues():
            bucket = queue.bucket
            if queue.queued and self.slots.free:
                assert bucket.next_available_at() > now - EPSILON
                assert queue._timers or bucket.next_available_at() == math.inf
            elif not queue.queued:
                assert not queue._timers
        in_use = sum(queue.bucket.in_use for queue in self._queues())
        assert in_use == self.slots.in_use == len(self.exchange.in_flight)
        shared: dict[object, int] = {}
        for caller in self.exchange.callers:
            if caller.ended is not None:
                continue
            assert caller.deadline >= now - EPSILON
            options = caller.options
            if (
                options.coalesce
                and options.queue_timeout != 0
                and not self.exchange.attempts_of(caller.request_id)
            ):
                # Law 4: identical queued calls share one request.
                assert shared.setdefault(caller.key, caller.request_id) == caller.request_id

    @invariant()
    def attempts_are_bounded(self) -> None:
        """By `attempt_timeout`, and by 2 s once the last caller has left."""
        now = self.loop.time()
        for attempt in self.exchange.in_flight:
            assert now <= attempt.sent_at + attempt.first_caller.options.attempt_timeout + EPSILON
            left = [caller.ended for caller in attempt.waiters if caller.ended is not None]
            if len(left) == len(attempt.waiters):
                assert now <= max(left) + ABANDONED_TIMEOUT + EPSILON

    def _queues(self) -> list[TokenQueue]:
        return [*self.rate_limiter._queues.values()]

    def teardown(self) -> None:
        """Let all calls end, close the client, and check that nothing remains."""
        try:
            if hasattr(self, "htx"):
                self._end()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    def _end(self) -> None:
        self._run(SETTLE_ROUNDS, 40.0)
        self.no_check_failed()
        assert all(caller.ended is not None for caller in self.exchange.callers), "hangs"
        self._check_rest()
        assert all(queue.bucket.is_full(self.loop.time()) for queue in self._queues())
        self.closed_at = min(self.closed_at, self.loop.time())
        self.loop.run_until_complete(self._close())
        self.no_check_failed()
        self._check_rest()

    def _check_rest(self) -> None:
        """Law 10: no task, timer, waiter, token or slot remains."""
        assert not asyncio.all_tasks(self.loop)
        assert not self.exchange.in_flight
        assert not [timer for timer in self.loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        for queue in self._queues():
            assert not queue.queued
            assert not queue._timers
            assert not queue.bucket.in_use
        assert not self.slots.in_use


def _select(items: list[Any], selection: Selection) -> list[Any]:
    if isinstance(selection, int):
        return [items[selection % len(items)]] if items else []
    return {"first": items[:1], "last": items[-1:], "all": items}[selection]


def _check_balance(caller: Caller, attempts: list[Attempt], points: PointBalance) -> None:
    """Law 4: the request was sent after the call. Law 5: the amount is exact."""
    attempt = attempts[-1]
    assert attempt.number == points.account_id
    assert attempt.sent_at >= caller.called_at
    assert attempt.endpoint is caller.endpoint
    assert attempt.path.endswith(caller.path)
    assert type(points.acct_balance) is Decimal
    assert str(points.acct_balance) == str(Decimal(attempt.amount.strip('"')))
    assert attempt.reply is not None
    assert attempt.reply.error is None


def _check_queue_error(caller: Caller, attempts: list[Attempt], error: RateLimitQueueError) -> None:
    """Nothing was sent for the call, and the error was raised in time."""
    options = caller.options
    assert caller.ended is not None
    assert error.delivery == "not_sent"
    assert (error.retry_after or 0.0) >= 0.0
    if options.queue_timeout is None and options.max_queue is None:
        assert "timeout is" in str(error)  # it could not be served before its deadline
        assert caller.ended + (error.retry_after or 0.0) >= caller.deadline - EPSILON
    if options.queue_timeout is not None:
        assert caller.ended <= caller.called_at + options.queue_timeout + EPSILON
    # At the moment of its timeout, the request may be sent for the other callers.
    assert all(len(attempt.waiters) > 1 and attempt.sent_at == caller.ended for attempt in attempts)


def _possible_deliveries(attempts: list[Attempt], caller: Caller) -> set[Delivery]:
    """Return the allowed deliveries; an attempt that ends just now may still be unknown."""
    if not attempts:
        return {"not_sent"}
    last = attempts[-1]
    if last.ended_at is None:
        return {"unknown"}
    return {last.delivery} | ({"unknown"} if last.ended_at == caller.ended else set())


TestClientMachine = ClientMachine.TestCase
TestClientMachine.settings = settings(
    max_examples=EXAMPLES or 250, stateful_step_count=100 if EXAMPLES else 40
)
