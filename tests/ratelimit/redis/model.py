"""
Model of workers, Redis and HTX on one time line, with faults: the script runs in this process.

The buckets and the script are the real ones. The network, the clocks and HTX are simulated.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from functools import cache, partial
from random import Random
from typing import Any, Final

import attrs
import msgspec
from lupa import lua51

from htx_async.ratelimit.redis.bucket import RedisBucket
from htx_async.ratelimit.redis.exchange import (
    MAX_ATTEMPT_TIMEOUT,
    BucketKeys,
    Request,
    decode,
    encode,
)
from htx_async.ratelimit.redis.server import SCRIPT
from htx_async.ratelimit.token_bucket import Permit, RateLimit
from tests.world import most_in_a_window

COMMAND_TIMEOUT: Final = 2.0
ENDPOINTS: Final = 2
EPOCH: Final = 1_700_000_000


class FakeRedis:
    """The commands and functions of Redis that the script calls."""

    def __init__(self, run_id: str, data: Mapping[str, str]) -> None:
        self.run_id, self.evicted = run_id, 0
        self.now: float = EPOCH
        self.data: dict[str, str] = dict(data)

    def execute(self, script: str, keys: BucketKeys, *arguments: bytes) -> bytes | None:
        """Run *script*, and return its reply."""
        runtime, function = _compiled(script)
        reply = function(
            self.call,
            runtime.table(keys.bucket, keys.record),
            runtime.table(*(argument.decode("latin-1") for argument in arguments)),
        )
        return None if reply is None else reply.encode("latin-1")

    def call(self, command: str, *arguments: str) -> Any:
        """Execute one command."""
        match command, arguments:
            case "TIME", ():
                seconds, micros = divmod(round(self.now * 1_000_000), 1_000_000)
                return _runtime().table(str(seconds), str(micros))
            case "INFO", ("server" | "stats",):
                return f"# Info\r\nrun_id:{self.run_id}\r\nevicted_keys:{self.evicted}\r\n"
            case "GET", (key,):
                return self.data.get(key, False)
            case "SET", (key, value) | (key, value, "PX", 86_400_000):
                self.data[key] = value
                return None
        raise NotImplementedError(command, arguments)


@cache
def _runtime() -> Any:
    """Return Lua 5.1 as in Redis. Its strings are bytes: as text, characters up to 255."""
    return lua51.LuaRuntime(encoding="latin-1")


@cache
def _compiled(script: str) -> tuple[Any, Any]:
    runtime = _runtime()
    wrap = runtime.eval(
        "function(pack, unpack_) cmsgpack = {pack = pack, unpack = unpack_}; redis = {} end"
    )
    wrap(_pack, _unpack)
    return runtime, runtime.eval(f"function(call, KEYS, ARGV) redis.call = call; {script}\nend")


def _pack(value: Any) -> str:
    return msgspec.msgpack.encode(_plain(value)).decode("latin-1")


def _plain(value: Any) -> Any:
    """Return a Lua value as Redis packs it: a table with the keys 1 to n is an array."""
    if lua51.lua_type(value) != "table":
        return value
    table = {key: _plain(item) for key, item in value.items()}
    if table.keys() == set(range(1, len(table) + 1)):
        return [table[key] for key in range(1, len(table) + 1)]
    return table


def _unpack(data: str) -> Any:
    return _runtime().table_from(msgspec.msgpack.decode(data.encode("latin-1")), recursive=True)


@attrs.frozen
class Network:
    """
    Delays and failures of exchanges.

    Attributes:
        delay: Maximum delay of a message in one direction, usually.
        faulty: Fraction of the exchanges that are lost, repeated or late.
        latest: Maximum delay of a late request.
        is_silent: Whether a worker may have to wait for `COMMAND_TIMEOUT` to notice a failure.
    """

    delay: float = 0.01
    faulty: float = 0.0
    latest: float = 0.0
    is_silent: bool = True


@attrs.frozen
class Event:
    """
    Callers that arrive (`call`), or a fault.

    Attributes:
        at: Seconds since the start.
        kind: A case of `Simulation.apply`.
        target: Number of the worker, or of what else is affected.
        amount: `attempt_timeout` of the callers, or how long or how much.
        count: Number of callers.
    """

    at: float
    kind: str
    target: int = 0
    amount: float = MAX_ATTEMPT_TIMEOUT
    count: int = 1


@attrs.frozen
class Scenario:
    """
    A history of callers and faults.

    Attributes:
        limit: The limit of each endpoint.
        workers: The endpoint of each worker.
        events: What happens.
        network: The network until `ends_at`.
        ends_at: When all faults are over.
        answered: Fraction of the attempts with a response after at most 0.3 s. Others are slow,
            cancelled, or do not connect.
        seed: Seed of the delays.
    """

    limit: RateLimit
    workers: tuple[int, ...]
    events: tuple[Event, ...]
    network: Network
    ends_at: float
    answered: float = 1.0
    seed: int = 0


class Worker:
    """A worker as `RedisQueue` drives its bucket; each of its callers has a connection slot."""

    def __init__(self, simulation: Simulation, endpoint: int) -> None:
        self._simulation, self.endpoint = simulation, endpoint
        self.number: int = next(simulation.numbers)
        self.bucket: RedisBucket = simulation.bucket(simulation.limit, f"w{self.number}")
        self.callers: deque[float] = deque()
        self.is_dead = False
        self.paused_until = self.partitioned_until = 0.0
        self._clock_zero = simulation.random.uniform(0, 1000)
        self._exchanges, self._exchange = itertools.count(1), 0
        self._timers, self._timer = itertools.count(1), 0
        self._known_at = -1.0  # when the script was executed for the last reply

    @property
    def now(self) -> float:
        """The worker's monotonic clock."""
        return self._simulation.now + self._clock_zero

    def add_callers(self, count: int, timeout: float) -> None:
        self.callers.extend([timeout] * count)
        self._later(0.0, lambda: None)

    def _later(self, seconds: float, step: Callable[[], None], timer: int = 0) -> None:
        """Take a step after *seconds*, or when the worker is no longer paused."""

        def run() -> None:
            pause = self.paused_until - self._simulation.now
            if self.is_dead or timer not in (0, self._timer):
                return
            if pause > 0:
                self._later(pause, step, timer)
            else:
                step()
                self._dispatch()

        self._simulation.later(seconds, run)

    def _dispatch(self) -> None:
        """Start attempts with the available tokens, and an exchange when one is due."""
        while self.callers:
            until = self.now + self.callers[0]
            permit = self.bucket.try_acquire(self.now, until)
            if permit is None:
                break
            self.callers.popleft()
            self._simulation.acquired.append((self._simulation.now, self.number))
            self._start_attempt(permit, until)
        if not self.bucket.is_available:
            self.bucket.is_missed |= bool(self.callers)
        delay = self.bucket.exchange_at(len(self.callers)) - self.now
        self._timer = next(self._timers)
        if not self._exchange and delay < float("inf"):
            self._later(max(delay, 0.0), self._start_exchange, self._timer)

    def _start_attempt(self, permit: Permit, until: float) -> None:
        simulation, random = self._simulation, self._simulation.random
        is_answered, longest, ends_at = random.random() < simulation.answered, 0.1, until
        if not is_answered:
            longest = random.choice((1.0, until - self.now))
            ends_at = self.now + random.uniform(0, until - self.now)
        connecting, sending, responding = (random.uniform(0, longest) for _ in range(3))

        def connected() -> None:
            if not is_answered and random.random() < 0.3:
                self.bucket.release_unused(permit)
            elif self.now >= ends_at:  # the connection layer does not write
                self.bucket.release_at(permit, self.now)
            else:
                left = ends_at - self.now
                simulation.later(min(sending, left), lambda: simulation.arrive(self.endpoint))
                over_in = min(sending + responding, left)
                self._later(over_in, lambda: self.bucket.release_at(permit, self.now))

        self._later(connecting, connected)

    def _start_exchange(self) -> None:
        simulation, sent_at, number = self._simulation, self.now, next(self._exchanges)
        request = self.bucket.next_request(sent_at, len(self.callers))
        times = (self._known_at, simulation.now)
        self._exchange = number

        def execute(down: float) -> None:
            data, at = simulation.exchange(self.endpoint, request, times), simulation.now
            if not self._is_partitioned:
                self._later(down, lambda: finish(data, at))

        def finish(data: bytes | None, executed_at: float = 0.0) -> None:
            if number != self._exchange:
                return
            self._exchange = 0
            if data is None:
                self.bucket.on_failure(self.now)
                return
            reply = decode(data)
            self.bucket.on_reply(request, reply, sent_at, self.now)
            if reply.is_verified:
                self._known_at = executed_at

        self._later(COMMAND_TIMEOUT, lambda: finish(None))
        trips, closed_in = simulation.trips()
        if closed_in is not None:
            self._later(closed_in, lambda: finish(None))
        if not self._is_partitioned:
            for up, down in trips:
                simulation.later(up, partial(execute, down))

    @property
    def _is_partitioned(self) -> bool:
        return self.partitioned_until > self._simulation.now


class Simulation:
    """The course of a scenario. Times are seconds since its start."""

    def __init__(
        self, scenario: Scenario, script: str = SCRIPT, bucket: type[RedisBucket] = RedisBucket
    ) -> None:
        self.scenario, self.limit, self.bucket = scenario, scenario.limit, bucket
        self.answered, self._script = scenario.answered, script
        self.random = Random(scenario.seed)  # noqa: S311 - no secret is made of it
        self.numbers = itertools.count()
        self.now = 0.0
        self.acquired: list[tuple[float, int]] = []
        self._arrivals: defaultdict[int, list[float]] = defaultdict(list)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event_numbers = itertools.count()
        self._keys = [BucketKeys.of("user", str(key), self.limit) for key in range(ENDPOINTS)]
        self._servers = itertools.count()
        self._replace_redis({self._keys[0].record: "run0 0"})
        self._past = [dict(self._redis.data)]
        self._stalled_until = self._cut_until = self._step = 0.0
        self._stepped_at, self._unnoticed = {1: -1.0, -1: -1.0}, set[int]()
        self._doomed = set[int]()
        self.workers = [Worker(self, endpoint) for endpoint in scenario.workers]
        for event in scenario.events:
            self.later(event.at, partial(self.apply, event))

    # Time

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(
            self._events, (self.now + max(seconds, 0.0), next(self._event_numbers), event)
        )

    def run(self, until: float) -> None:
        """Let everything happen that happens before *until*."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    # HTX and callers

    def arrive(self, endpoint: int) -> None:
        self._arrivals[endpoint].append(self.now)

    def worst(self) -> int:
        """Return the maximum number of requests of an endpoint in a window."""
        per = self.limit.per - 1e-5  # times are rounded to microseconds
        return max((most_in_a_window(times, per) for times in self._arrivals.values()), default=0)

    # Network

    def trips(self) -> tuple[list[tuple[float, float]], float | None]:
        """Return the delays to and from Redis of each copy, and when the connection is closed."""
        random, network = self.random, self.scenario.network
        up, down, late = (
            random.uniform(0, longest) for longest in (network.delay, network.delay, network.latest)
        )
        up = max(up, self._stalled_until - self.now)
        rest, lost = self.scenario.ends_at - self.now, 100.0
        if rest <= 0 or (self.now >= self._cut_until and random.random() >= network.faulty):
            return [(up, down)], None
        late = min(late, rest)
        closed_in = random.choice((None,) * network.is_silent + (random.uniform(0, 0.3),))
        return random.choice(
            (
                ([], closed_in),
                ([(up, lost)], closed_in),
                ([(up, down), (late, lost)], None),
                ([(late, down)], closed_in),
            )
        )

    # Redis

    def exchange(self, endpoint: int, request: Request, times: tuple[float, float]) -> bytes | None:
        """Execute now a request, whose worker knows the clock of a time, that was sent later."""
        redis, keys = self._redis, self._keys[endpoint]
        redis.now = EPOCH + self.now + self._step
        if endpoint in self._doomed and request.generation:  # a worker that knows the bucket asks
            self._doomed.discard(endpoint)
            redis.data.pop(keys.bucket, None)
        known_at, sent_at = times
        if self._stepped_at[1] < known_at < self._stepped_at[-1] and self.now < sent_at + 0.5:
            self._unnoticed.discard(endpoint)
        reply = redis.execute(self._script, keys, encode(request))
        self._past.append(dict(redis.data))
        return reply

    def _replace_redis(self, data: Mapping[str, str]) -> None:
        self._redis = FakeRedis(f"run{next(self._servers)}", data)

    # Events

    def apply(self, event: Event) -> None:
        """Let something happen now."""
        worker = self.workers[event.target % len(self.workers)]
        lasts_until = min(self.now + abs(event.amount), self.scenario.ends_at)
        match event.kind:
            case "call":
                worker.add_callers(event.count, event.amount)
            case "stall":
                self._stalled_until = lasts_until
            case "cut":
                self._cut_until = lasts_until
            case "start" | "kill":
                worker.is_dead = event.kind == "kill"
                self.workers[self.workers.index(worker)] = Worker(self, worker.endpoint)
            case "pause":
                worker.paused_until = lasts_until
            case "partition":
                worker.partitioned_until = lasts_until
            case _:
                self._apply_to_redis(event)

    def _apply_to_redis(self, event: Event) -> None:
        data = self._redis.data
        match event.kind:
            case "restart":
                self._replace_redis({})
            case "promote":
                self._replace_redis(self._past[int(event.amount) % len(self._past)])
            case "flush":
                data.clear()
            case "evict" if data:
                del data[sorted(data)[event.target % len(data)]]
                self._redis.evicted += 1
            case "delete":
                self._doomed.add(event.target % ENDPOINTS)
            case "step":
                self._step_clock(event.amount)

    def _step_clock(self, seconds: float) -> None:
        """Set the clock forward only if a worker has noticed that it was set back."""
        if seconds < 0:
            self._unnoticed.update(range(ENDPOINTS))
        elif any(self._keys[endpoint].bucket in self._redis.data for endpoint in self._unnoticed):
            return
        self._step += seconds
        self._stepped_at[1 if seconds > 0 else -1] = self.now
