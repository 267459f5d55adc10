"""
All laws at once, as a machine: hypothesis asks, answers, fails, cancels, closes, in any order.

A client stands over a network in which nothing happens by itself, on virtual time. Whatever
hypothesis makes of that, the laws hold; if they do not, it hands out the shortest story in which
one breaks.

`HTX_ASYNC_STORIES=5000 pytest --timeout 0 tests/laws/test_machine.py` tells longer and many more.
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
from htx_async.middleware.coalescing import DRAIN_TIMEOUT
from htx_async.middleware.rate_limiting import RateLimiting
from htx_async.middleware.retrying import SERVER_TIME
from htx_async.models.points import PointBalance
from htx_async.options import NO_RETRY, RequestOptions, RetryPolicy
from htx_async.ratelimit.headers import EXPIRE_HEADER, REMAINING_HEADER
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response
from tests.laws.test_rate_limit import TICK, ticks
from tests.virtual import DAY, VirtualClock, VirtualLoop

STORIES = int(os.environ.get("HTX_ASYNC_STORIES", "0"))
EPSILON = 1e-6
SETTLED = 24
"""Rounds of the loop after which everything that can happen now has happened."""

MINUTE = 60.0
"""HTX takes requests whose time is off by that much."""

_starter: ContextVar[Caller] = ContextVar("starter")


@attrs.define(eq=False)
class Caller:
    """Somebody who asks, and what became of it."""

    asked: float
    endpoint: Endpoint[PointBalance]
    path: str
    options: RequestOptions
    task: asyncio.Task[None] | None = None
    flight: int = 0
    cancelled: bool = False
    ended: float | None = None

    @property
    def deadline(self) -> float:
        """When it gives up."""
        return self.asked + self.options.timeout

    @property
    def key(self) -> tuple[str, str, RetryPolicy]:
        """What makes two reads equal."""
        return (self.endpoint.path, self.path, self.options.retry)


@attrs.frozen
class Saying:
    """
    What the exchange can say, and what that is to the caller.

    In *body*, `@` is the number of the attempt, and `$` an amount.
    """

    body: str
    error: type[HTXError] | None = None
    status: int = 200
    repeated: bool = False
    headers: dict[str, str] = attrs.field(factory=dict)


_POINTS = '{"accountId":@,"accountStatus":"working","acctBalance":$}'
_NO = '{"status":"error","err-code":"CODE","err-msg":"TEXT (#@)","data":null}'


def _no(code: str, text: str = "no") -> str:
    return _NO.replace("CODE", code).replace("TEXT", text)


_MANY = _no("rate-too-many-requests")
_CLOCK = Saying(_no("api-signature-not-valid", "Incorrect submission time"), ClockError)
_SIGNATURE = Saying(_no("api-signature-not-valid", "Signature not valid"), SignatureError)
_REFUSED = Saying(_MANY, RateLimitedError, repeated=True)
SAYINGS: dict[str, Saying] = {
    "yes": Saying('{"status":"ok","data":' + _POINTS + "}"),
    "yes, v2": Saying('{"code":200,"data":' + _POINTS + ',"success":true}'),
    "too many": _REFUSED,
    "429": Saying("(#@)", RateLimitedError, 429, repeated=True),
    "429, later": Saying(
        _MANY, RateLimitedError, 429, repeated=True, headers={"retry-after": "0.5"}
    ),
    "busy": Saying(_no("system-busy"), ServiceUnavailableError, repeated=True),
    "502": Saying("<html>Bad Gateway (#@)</html>", ServiceUnavailableError, 502, repeated=True),
    "signature": _SIGNATURE,
    "wrong": Saying(_no("invalid-parameter"), APIError),
    "no JSON": Saying('{"status":"ok","n":"(#@)","data":', DecodeError),
    "no amount": Saying('{"status":"ok","data":' + _POINTS.replace("$", '"x"') + "}", DecodeError),
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
    """One request in the network, how far it has come, and what became of it."""

    number: int
    starter: Caller
    endpoint: Endpoint[Any]
    path: str
    said: dict[str, str]
    left: float
    wanted_by: tuple[Caller, ...]
    head: asyncio.Future[httpx.Response]
    body: asyncio.Future[bytes]
    arrived: bool = False
    began: float | None = None
    verdict: Saying | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    saying: Saying | None = None
    amount: str = ""
    over: float | None = None
    delivery: Delivery = "unknown"

    @property
    def is_done(self) -> bool:
        """Whether all that can come has come."""
        return self.over is not None or self.body.done()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield await self.body

    async def aclose(self) -> None:
        self.over = self.over or asyncio.get_running_loop().time()


@attrs.define(eq=False)
class Entry:
    """An attempt that asks to be let go: its place in the order, and when it left."""

    number: int
    left: float | None = None


class Exchange(httpx.AsyncBaseTransport):
    """A network that does nothing by itself, and an HTX that counts what arrives."""

    def __init__(self, clock: VirtualClock, *, sliding: bool, tells: str) -> None:
        self.clock = clock
        self.time = ServerClock(clock)
        self.sliding = sliding
        self.tells = tells
        self.endpoints: dict[str, Endpoint[Any]] = {SERVER_TIME.path: SERVER_TIME}
        self.attempts: list[Attempt] = []
        self.arrivals: dict[str, list[float]] = {}
        self.counted: dict[str, list[float]] = {}
        self.opened: dict[str, float] = {}
        self.foreign = False
        self.callers: list[Caller] = []
        self.asking: dict[tuple[str, int], Entry] = {}
        self.departed: dict[str, list[Entry]] = {}
        self.broken: list[BaseException] = []
        self._numbers = itertools.count(1)

    @property
    def out(self) -> list[Attempt]:
        """The attempts that are under way."""
        return [attempt for attempt in self.attempts if attempt.over is None]

    def of(self, flight: int) -> list[Attempt]:
        """Return the attempts of a read; to ask for the time is none."""
        return [
            attempt
            for attempt in self.attempts
            if attempt.starter.flight == flight and attempt.endpoint is not SERVER_TIME
        ]

    def listen(self, event: Event) -> None:
        """Note who flies with whom."""
        # A flight runs in the context of who started it; who joins one is told in its own.
        caller = _starter.get()
        caller.flight = caller.flight or event.request_id

    def enter(self, request: Request) -> None:
        """Note in which order attempts ask to be let go."""
        asking = (request.endpoint.name, request.call.request_id)
        self.asking[asking] = Entry(next(self._numbers))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        now, starter = self.clock.monotonic(), _starter.get()
        loop = asyncio.get_running_loop()
        attempt = Attempt(
            next(self._numbers),
            starter,
            self.endpoints[request.url.path.partition("/at/")[0]],
            request.url.path,
            dict(parse_qsl(request.url.query.decode())),
            now,
            tuple(each for each in self.callers if _waits(each, starter.flight)),
            loop.create_future(),
            loop.create_future(),
        )
        try:
            self._check_departure(attempt)
        except Exception as error:  # noqa: BLE001 - a fault of this machine, too
            self.broken.append(error)
        self.attempts.append(attempt)
        try:
            return await attempt.head
        except BaseException:
            # Whatever is not over yet: its connection is closed, and it arrives no more.
            await attempt.aclose()
            raise

    def _check_departure(self, attempt: Attempt) -> None:
        now, said = attempt.left, attempt.said
        # Law 1: signed now, by the corrected clock, each attempt anew.
        assert attempt.endpoint.signed == ("Signature" in said)
        if attempt.endpoint.signed:
            assert said["Timestamp"] == format_timestamp(self.time.now())
            # Law 9: a clock that is known to be wrong is corrected.
            if self.time.offset() is not None:
                assert abs(self.time.now() - true_of(now)) <= MAX_UNCORRECTED_SKEW + 2
        # Laws 3 and 8: somebody waits for it, and its time is not over.
        assert attempt.wanted_by
        assert now <= max(caller.deadline for caller in attempt.wanted_by) + EPSILON
        self._check_order(attempt)
        if attempt.endpoint is not SERVER_TIME:
            self._check_repeat(attempt)

    def _check_order(self, attempt: Attempt) -> None:
        """Law 3: none that came later has left before."""
        name = attempt.endpoint.name
        entry = self.asking.pop((name, attempt.starter.flight))
        entry.left = attempt.left
        departed = self.departed.setdefault(name, [])
        for other in departed:
            assert other.left is not None
            assert other.number < entry.number or other.left >= entry.left - EPSILON, "overtaken"
        departed.append(entry)

    def _check_repeat(self, attempt: Attempt) -> None:
        """Law 8: repeated is what may help, as often as was agreed."""
        earlier = self.of(attempt.starter.flight)
        mended = [each for each in earlier if each.saying in (_CLOCK, _SIGNATURE)]
        assert len(mended) <= 1
        assert len(earlier) - len(mended) < attempt.starter.options.retry.attempts
        for each in earlier:
            assert each.over is not None
            assert each.saying is None or each.saying.repeated or each in mended

    # What the network and the exchange do, when the machine says so.

    def arrive(self, attempt: Attempt) -> None:
        """Let a request reach the exchange, which counts it, and may refuse it."""
        if attempt.arrived or attempt.head.done():
            return
        attempt.arrived = True
        now, endpoint = self.clock.monotonic(), attempt.endpoint
        arrivals = self.arrivals.setdefault(endpoint.name, [])
        arrivals.append(now)
        # Law 2, where the server stands.
        limit, per = endpoint.limit.requests, endpoint.limit.per
        inside = [at for at in arrivals if at > now - per + EPSILON]
        self._check(len(inside) <= limit, f"{len(inside)} arrived in {per} s")
        counted = self._counted(endpoint, now)
        if len(counted) >= limit:
            attempt.verdict = _REFUSED
            self._check(self.foreign, "a lone client was refused")
        else:
            counted.append(now)
            true, signed = true_of(now), attempt.said.get("Timestamp")
            if signed and not format_timestamp(true - MINUTE) <= signed <= format_timestamp(
                true + MINUTE
            ):
                attempt.verdict = _CLOCK
        ends = per if self.sliding else self.opened[endpoint.name] + per - now
        if self.tells != "nothing":
            attempt.headers[REMAINING_HEADER] = str(max(limit - len(counted), 0))
            told = ends if self.tells == "seconds left" else true_of(now) + ends
            attempt.headers[EXPIRE_HEADER] = str(math.ceil(told * 1000))

    def _check(self, holds: bool, text: str) -> None:
        if not holds:
            self.broken.append(AssertionError(text))

    def _counted(self, endpoint: Endpoint[Any], now: float) -> list[float]:
        """Return what the exchange counts in its present window."""
        name, per = endpoint.name, endpoint.limit.per
        counted = self.counted.setdefault(name, [])
        if self.sliding:
            counted[:] = [at for at in counted if at > now - per + EPSILON]
        elif now >= self.opened.get(name, -math.inf) + per - EPSILON:
            self.opened[name] = now
            counted.clear()
        return counted

    def spend(self, endpoint: Endpoint[Any], count: int) -> None:
        """Let another process ask, which the exchange counts together with ours."""
        self.foreign = True
        now = self.clock.monotonic()
        counted = self._counted(endpoint, now)
        counted += [now] * min(count, endpoint.limit.requests - len(counted))

    def answer(self, attempt: Attempt, kind: str, amount: str, remain: int | None) -> None:
        """Let the head of an answer come: what it will be is known then."""
        self.arrive(attempt)
        if attempt.head.done():
            return
        attempt.began = self.clock.monotonic()
        saying = attempt.verdict or SAYINGS[kind]
        if attempt.endpoint is SERVER_TIME and saying.error is None:
            milliseconds = int(true_of(attempt.began) * 1000)
            saying = attrs.evolve(saying, body=f'{{"status":"ok","data":{milliseconds}}}')
        attempt.headers |= saying.headers
        attempt.headers["date"] = formatdate(true_of(attempt.began), usegmt=True)
        if remain is not None:
            attempt.headers[REMAINING_HEADER] = str(remain)
        attempt.saying, attempt.amount = saying, amount
        headers = {name.encode(): value.encode() for name, value in attempt.headers.items()}
        attempt.head.set_result(httpx.Response(saying.status, headers=headers, stream=attempt))

    def finish(self, attempt: Attempt) -> None:
        """Let the body of an answer come."""
        if attempt.saying is not None and not attempt.is_done:
            body = attempt.saying.body.replace("@", str(attempt.number))
            attempt.delivery = "answered"
            attempt.body.set_result(body.replace("$", attempt.amount).encode())

    def fail(self, attempt: Attempt) -> None:
        """Find no connection, or lose it."""
        if attempt.arrived:
            self.cut(attempt)
        elif not attempt.head.done():
            attempt.delivery = "not_sent"
            _break(attempt.head, httpx.ConnectError("no connection"))

    def cut(self, attempt: Attempt) -> None:
        """Lose the connection, on the way up or down."""
        if not attempt.is_done:
            attempt.saying = None
            _break(attempt.body if attempt.head.done() else attempt.head, httpx.ReadError("cut"))


def _break(future: asyncio.Future[Any], error: httpx.TransportError) -> None:
    future.set_exception(error)
    future.exception()  # whoever waited may have gone


def true_of(at: float) -> float:
    """Return the true time of day."""
    return DAY + at


def _waits(caller: Caller, flight: int) -> bool:
    return caller.flight == flight and caller.ended is None


Which = Literal["first", "last", "all"] | int
which = st.sampled_from(["first", "last", "all"]) | st.integers(0, 9)
rounds = st.sampled_from([None, 0, 1, 2, 3, SETTLED, SETTLED])
"""How far the loop runs after something has happened; `None`: not at all, more happens at once."""

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
    retry=policies,
    coalesce=st.sampled_from([True, True, False]),
    queue_timeout=st.sampled_from([None, None, None, 0, TICK, 0.5, 3.0]),
    max_queue=st.sampled_from([None, None, None, 0, 1, 3]),
)


class Machine(RuleBasedStateMachine):
    """One client, its callers, a network and an exchange."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.acts: list[Callable[[], object]] = []
        self.settled = True
        self.closing: list[asyncio.Task[None]] = []
        self.closed_at = math.inf
        self.most_callers = 200

    @initialize(
        limit=st.integers(1, 4),
        per=st.sampled_from([TICK, 0.5, 1.0, 2.0]),
        slots=st.integers(1, 4),
        skew=st.sampled_from([0.0, 0.0, 3.0, -20.0, 100.0]),
        sliding=st.booleans(),
        tells=st.sampled_from(["nothing", "seconds left", "time of day"]),
    )
    def open(
        self, limit: int, per: float, slots: int, skew: float, sliding: bool, tells: str
    ) -> None:
        """Make a client of the exchange."""
        self.clock = VirtualClock(skew)
        self.exchange = Exchange(self.clock, sliding=sliding, tells=tells)
        self.endpoints = (
            Endpoint("/v1/a", RateLimit(limit, per), PointBalance),
            Endpoint("/v2/b", RateLimit(2, per=1.0), PointBalance),
        )
        self.exchange.endpoints |= {endpoint.path: endpoint for endpoint in self.endpoints}
        self.budget = RateLimiter()
        self.htx = HTXClient(
            Credentials("access-key", "secret-key"),
            base_url="https://htx.test",
            rate_limiter=self.budget,
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

        async def entering(request: Request) -> Response:
            self.exchange.enter(request)
            return await limiting(request)

        msgspec.structs.force_setattr(layer, "call_next", entering)  # frozen, and right so

    # What happens.

    @precondition(lambda self: len(self.exchange.callers) < self.most_callers)
    @rule(
        endpoint=st.integers(0, 1),
        path=st.sampled_from(["/x", "/y"]),
        options=options,
        count=st.sampled_from([1, 1, 1, 2, 5]),
        rounds=rounds,
    )
    def ask(
        self, endpoint: int, path: str, options: RequestOptions, count: int, rounds: int | None
    ) -> None:
        """One or more callers ask."""

        def act() -> None:
            for _ in range(count):
                asked = self.clock.monotonic()
                caller = Caller(asked, self.endpoints[endpoint], path, options)
                self.exchange.callers.append(caller)
                caller.task = self.loop.create_task(self._call(caller))
                caller.task.add_done_callback(partial(self._ended, caller))

        self._do(act, rounds)

    @rule()
    def ask_wrongly(self) -> None:
        """What cannot be right is told before anything is sent."""
        with pytest.raises(InvalidInputError):
            self.loop.run_until_complete(self.htx.accounts.balance("all"))

    @precondition(lambda self: self.exchange.out)
    @rule(which=which, rounds=rounds)
    def arrive(self, which: Which, rounds: int | None) -> None:
        """Requests reach the exchange."""
        self._do(lambda: self._each(which, self.exchange.arrive), rounds)

    @precondition(lambda self: self.exchange.out)
    @rule(
        which=which,
        kind=st.sampled_from(["yes", "yes, v2", "yes"]) | st.sampled_from(sorted(SAYINGS)),
        amount=st.sampled_from(AMOUNTS),
        remain=st.sampled_from([None, None, None, 0, 1, 99]),
        whole=st.sampled_from([True, True, False]),
        rounds=rounds,
    )
    def answer(
        self,
        *,
        which: Which,
        kind: str,
        amount: str,
        remain: int | None,
        whole: bool,
        rounds: int | None,
    ) -> None:
        """Answers come, or their heads: what was asked for, a refusal, or nonsense."""

        def act(attempt: Attempt) -> None:
            self.exchange.answer(attempt, kind, amount, remain)
            if whole:
                self.exchange.finish(attempt)

        self._do(lambda: self._each(which, act), rounds)

    @precondition(lambda self: any(each.began is not None for each in self.exchange.out))
    @rule(which=which, rounds=rounds)
    def finish(self, which: Which, rounds: int | None) -> None:
        """Bodies come in whole."""
        self._do(lambda: self._each(which, self.exchange.finish), rounds)

    @precondition(lambda self: self.exchange.out)
    @rule(which=which, cut=st.booleans(), rounds=rounds)
    def fail(self, which: Which, cut: bool, rounds: int | None) -> None:
        """The network fails."""
        act = self.exchange.cut if cut else self.exchange.fail
        self._do(lambda: self._each(which, act), rounds)

    @rule(endpoint=st.integers(0, 1), count=st.integers(1, 4))
    def others_spend(self, endpoint: int, count: int) -> None:
        """Another process of the same user asks."""
        self._do(lambda: self.exchange.spend(self.endpoints[endpoint], count), 0)

    @precondition(lambda self: any(caller.ended is None for caller in self.exchange.callers))
    @rule(which=which, rounds=rounds)
    def cancel(self, which: Which, rounds: int | None) -> None:
        """Callers leave."""

        def act() -> None:
            waiting = [caller for caller in self.exchange.callers if caller.ended is None]
            for caller in _chosen(waiting, which):
                assert caller.task is not None
                caller.cancelled = True
                caller.task.cancel()

        self._do(act, rounds)

    @rule(
        seconds=ticks(80) | st.sampled_from([0.5, 1.0, 2.0, 6.0, 31.0]),
        rounds=st.sampled_from([0, 1, SETTLED]),
    )
    def wait(self, seconds: float, rounds: int) -> None:
        """Time passes."""
        self._run(rounds, seconds)

    @precondition(lambda self: self.exchange.out)
    @rule(
        times=st.integers(1, 6),
        kind=st.sampled_from(["yes", "yes, v2", "yes", "busy", "429"]),
        amount=st.sampled_from(AMOUNTS),
        seconds=ticks(70),
    )
    def serve(self, times: int, kind: str, amount: str, seconds: float) -> None:
        """The exchange answers all that is under way, again and again."""

        def act(attempt: Attempt) -> None:
            self.exchange.answer(attempt, kind, amount, None)
            self.exchange.finish(attempt)

        for _ in range(times):
            self._do(lambda: self._each("all", act), SETTLED)
            self._run(SETTLED, seconds)

    @precondition(lambda self: len(self.exchange.attempts) > 4 and len(self.closing) < 2)
    @rule(rounds=rounds)
    def close(self, rounds: int | None) -> None:
        """The client is closed; twice is fine."""
        self.most_callers = min(self.most_callers, len(self.exchange.callers) + 3)

        def act() -> None:
            self.closed_at = min(self.closed_at, self.clock.monotonic())
            self.closing.append(self.loop.create_task(self._close()))

        self._do(act, rounds)

    # How it happens.

    def _each(self, which: Which, act: Callable[[Attempt], object]) -> None:
        for attempt in _chosen(self.exchange.out, which):
            act(attempt)

    def _do(self, act: Callable[[], object], rounds: int | None) -> None:
        self.acts.append(act)
        if rounds is None:
            self.settled = False
        else:
            self._run(rounds)

    def _run(self, rounds: int, seconds: float = 0.0) -> None:
        async def main() -> None:
            acts, self.acts = self.acts, []
            for act in acts:
                act()
            if seconds:
                await asyncio.sleep(seconds)
            for _ in range(rounds):
                await asyncio.sleep(0)

        self.loop.run_until_complete(main())
        self.settled = rounds == SETTLED

    async def _close(self) -> None:
        began = self.clock.monotonic()
        try:
            await self.htx.aclose()
            assert self.clock.monotonic() <= began + DRAIN_TIMEOUT + EPSILON
        except BaseException as error:
            self.exchange.broken.append(error)
            raise

    def _ended(self, caller: Caller, _: object) -> None:
        if caller.ended is None:  # it was cancelled before it began
            caller.ended = self.loop.time()

    async def _call(self, caller: Caller) -> None:
        _starter.set(caller)
        chosen = msgspec.structs.asdict(caller.options)
        path = f"{caller.endpoint.path}/at{caller.path}"
        outcome: PointBalance | BaseException
        try:
            outcome = await self.htx.with_options(**chosen)._request(caller.endpoint, path=path)
        except BaseException as error:  # noqa: BLE001 - all of it is looked at
            outcome = error
        caller.ended = self.clock.monotonic()
        try:
            self._check_outcome(caller, outcome)
        except AssertionError as error:
            error.add_note(f"{caller} got {outcome!r}")
            self.exchange.broken.append(error)

    # What must be.

    def _check_outcome(self, caller: Caller, outcome: PointBalance | BaseException) -> None:
        assert caller.ended is not None
        assert caller.ended <= caller.deadline + EPSILON, "late"
        attempts = self.exchange.of(caller.flight) if caller.flight else []
        if isinstance(outcome, asyncio.CancelledError):
            assert caller.cancelled
        elif isinstance(outcome, PointBalance):
            _check_answer(caller, attempts, outcome)
        else:
            assert isinstance(outcome, HTXError)
            assert outcome.endpoint == caller.endpoint.name
            assert outcome.__cause__ is None
            self._check_error(caller, attempts, outcome)

    def _check_error(self, caller: Caller, attempts: list[Attempt], error: HTXError) -> None:
        if isinstance(error, RateLimitQueueError):
            _check_budget(caller, attempts, error)
        elif isinstance(error, ClientClosedError):
            assert self.closed_at <= caller.deadline
            assert error.delivery in _fates(attempts, caller)
        elif isinstance(error, DeadlineExceededError):
            assert caller.ended is not None
            assert caller.ended >= caller.deadline - EPSILON, "early"
            assert error.delivery in _fates(attempts, caller)
        else:
            attempt = [each for each in attempts if each.over is not None][-1]
            assert attempt.left >= caller.asked
            assert error.delivery == attempt.delivery
            if attempt.saying is None:
                kind = ConnectError if attempt.delivery == "not_sent" else NoResponseError
                assert type(error) is kind
            else:
                assert type(error) is attempt.saying.error
                said = re.search(r"\(#(\d+)\)", str(error))
                assert said is None or int(said[1]) == attempt.number

    @invariant()
    def nothing_was_broken(self) -> None:
        """What the callers and the network have noted."""
        if self.exchange.broken:
            raise self.exchange.broken[0]

    @invariant()
    def tokens_are_free_out_or_on_their_way_back(self) -> None:
        """None is lost, none is made."""
        for queue in (*self._queues(), self.slots):
            bucket = queue.bucket
            assert bucket.free + bucket.in_use + len(bucket._returns) == bucket.limit.requests
            assert min(bucket.free, bucket.in_use) >= 0
        assert len(self.exchange.out) <= self.slots.bucket.limit.requests

    @invariant()
    def who_can_go_goes(self) -> None:
        """Once all is settled, nobody waits before a free token, nor beyond its time."""
        if not self.settled or self.acts:
            return
        now = self.loop.time()
        for queue in (*self._queues(), self.slots):
            bucket = queue.bucket
            if queue._waiting:
                assert bucket.next_available_at() > now - EPSILON
                assert queue._timer is not None or bucket.next_available_at() == math.inf
            else:
                assert queue._timer is None
        out = sum(queue.bucket.in_use for queue in self._queues())
        assert out == len(self.exchange.out) + len(self.slots._waiting)
        assert self.slots.bucket.in_use == len(self.exchange.out)
        shared: dict[object, int] = {}
        for caller in self.exchange.callers:
            if caller.ended is not None:
                continue
            assert caller.deadline >= now - EPSILON
            options = caller.options
            if (
                options.coalesce
                and options.queue_timeout != 0
                and not self.exchange.of(caller.flight)
            ):
                # Law 4: equal reads that wait are one flight.
                assert shared.setdefault(caller.key, caller.flight) == caller.flight

    def _queues(self) -> list[TokenQueue]:
        return [
            queue for queues in self.budget._queues.values() for queue in tuple(queues.values())
        ]

    def teardown(self) -> None:
        """Everybody ends by itself; then the client is closed, and nothing is left."""
        try:
            if hasattr(self, "htx"):
                self._end()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    def _end(self) -> None:
        self._run(SETTLED, 40.0)
        self.nothing_was_broken()
        assert all(caller.ended is not None for caller in self.exchange.callers), "hangs"
        self._check_rest()
        assert all(queue.bucket.is_full(self.loop.time()) for queue in self._queues())
        self.closed_at = min(self.closed_at, self.loop.time())
        self.loop.run_until_complete(self._close())
        self.nothing_was_broken()
        self._check_rest()

    def _check_rest(self) -> None:
        """Law 10: no task, no timer, no waiter, no token, no slot."""
        assert not asyncio.all_tasks(self.loop)
        assert not self.exchange.out
        assert not [timer for timer in self.loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        for queue in (*self._queues(), self.slots):
            assert not queue._waiting
            assert queue._timer is None
            assert not queue.bucket.in_use


def _chosen(there: list[Any], which: Which) -> list[Any]:
    if isinstance(which, int):
        return [there[which % len(there)]] if there else []
    return {"first": there[:1], "last": there[-1:], "all": there}[which]


def _check_answer(caller: Caller, attempts: list[Attempt], points: PointBalance) -> None:
    """Law 4: it left after it was asked for. Law 5: the amount is what was sent."""
    attempt = attempts[-1]
    assert attempt.number == points.account_id
    assert attempt.left >= caller.asked
    assert attempt.endpoint is caller.endpoint
    assert attempt.path.endswith(caller.path)
    assert type(points.acct_balance) is Decimal
    assert str(points.acct_balance) == str(Decimal(attempt.amount.strip('"')))
    assert attempt.saying is not None
    assert attempt.saying.error is None


def _check_budget(caller: Caller, attempts: list[Attempt], error: RateLimitQueueError) -> None:
    """Nothing was sent for it, and it was told in time."""
    options = caller.options
    assert caller.ended is not None
    assert error.delivery == "not_sent"
    assert (error.retry_after or 0.0) >= 0.0
    assert options.queue_timeout is not None or options.max_queue is not None
    if options.queue_timeout is not None:
        assert caller.ended <= caller.asked + options.queue_timeout + EPSILON
    # At the very moment at which it gives up, its flight may leave for those who stay.
    assert all(len(each.wanted_by) > 1 and each.left == caller.ended for each in attempts)


def _fates(attempts: list[Attempt], caller: Caller) -> set[Delivery]:
    """Return what may be said of the last attempt; of one that ends just now, also the old."""
    if not attempts:
        return {"not_sent"}
    last = attempts[-1]
    if last.over is None:
        return {"unknown"}
    return {last.delivery} | ({"unknown"} if last.over == caller.ended else set())


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=STORIES or 250, stateful_step_count=100 if STORIES else 40
)
