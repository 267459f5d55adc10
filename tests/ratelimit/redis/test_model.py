"""
Laws of the Redis rate limiter in a model with faults, and that each rule of it is needed.

`HTX_EXAMPLES=20000` tries so many scenarios per law.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Final

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, example, find, given, settings
from hypothesis import strategies as st

from htx_async.ratelimit.redis.bucket import RedisBucket
from htx_async.ratelimit.redis.exchange import MARGIN, MAX_ATTEMPT_TIMEOUT, BucketKeys
from htx_async.ratelimit.redis.server import SCRIPT
from htx_async.ratelimit.token_bucket import Permit, RateLimit
from tests.ratelimit.redis.model import Event, FakeRedis, Network, Scenario, Simulation
from tests.redis_process import serving

thorough = settings(max_examples=int(os.environ.get("HTX_EXAMPLES", "60")))
LIMITS: Final = st.sampled_from((RateLimit(1, 1.0), RateLimit(3, 1.0), RateLimit(4, 2.0)))
SEEDS: Final = st.integers(0, 2**16)
AMOUNTS: Final[dict[str, tuple[float, ...]]] = {
    "step": (2.0, -2.0, 3600.0, -3600.0),
    "pause": (1.0, 5.0, 12.0),
    "partition": (1.0, 5.0, 15.0),
    "promote": tuple(range(0, 1000, 7)),
    **dict.fromkeys(("start", "kill", "restart", "flush", "evict", "delete"), (0.0,)),
}


@st.composite
def scenarios(
    draw: st.DrawFn,
    faults: tuple[str, ...] = tuple(AMOUNTS),
    timeout: float = MAX_ATTEMPT_TIMEOUT,
    size: int = 30,
) -> Scenario:
    """Return a scenario with callers and faults of few kinds, one after the other."""
    limit, now = draw(LIMITS), 0.0
    kinds = draw(st.lists(st.sampled_from(faults), min_size=1, max_size=3))
    kind = st.sampled_from(("call", "call") * len(kinds) + tuple(kinds))
    gap = st.sampled_from((0.0, 0.1, 0.3, 1.0, 1.0, 3.0, 12.0))
    events: list[Event] = []
    for seconds, name, worker in draw(
        st.lists(st.tuples(gap, kind, st.integers(0, 3)), min_size=2, max_size=size)
    ):
        now += seconds
        amounts = (2.0, timeout) if name == "call" else AMOUNTS[name]
        amount = draw(st.sampled_from(amounts))
        events.append(Event(now, name, worker, amount, 2 * limit.requests))
    return Scenario(
        limit,
        tuple(draw(st.lists(st.sampled_from((0, 0, 0, 1)), min_size=1, max_size=4))),
        tuple(events),
        Network(
            draw(st.sampled_from((0.01, 0.2))),
            draw(st.sampled_from((0.0, 0.3))),
            draw(st.sampled_from((1.0, 30.0))),
        ),
        ends_at=now + draw(st.sampled_from((1.0, 3.0, 12.0))),
        answered=draw(st.sampled_from((1.0, 0.6, 0.0))),
        seed=draw(SEEDS),
    )


@st.composite
def hiccups(draw: st.DrawFn) -> Scenario:
    """Return a scenario in which Redis stalls or closes all connections, and loses no state."""
    starts_at, workers = draw(st.floats(3, 5)), draw(st.integers(1, 3))
    fault = draw(st.sampled_from(("stall", "cut")))
    seconds = draw(st.sampled_from((0.5, 3.0, 6.0)))
    calls = [Event(at, "call", number) for number in range(workers) for at in range(20)]
    starts = draw(st.sampled_from(((), (Event(starts_at, "start"),))))
    return Scenario(
        draw(LIMITS),
        (0,) * workers,
        (*calls, *starts, Event(starts_at, fault, amount=seconds)),
        Network(0.01, latest=6.0, is_silent=False),
        ends_at=starts_at + seconds,
        seed=draw(SEEDS),
    )


@st.composite
def crowds(draw: st.DrawFn) -> Scenario:
    """Return a scenario with a worker that has 1,000 callers, and then one that has one."""
    at = draw(st.floats(0.1, 5))
    calls = (Event(0.0, "call", 0, count=1000), Event(at, "call", 1))
    return Scenario(draw(LIMITS), (0, 0), calls, Network(0.01), at, seed=draw(SEEDS))


@attrs.frozen
class Version:
    """The script and the bucket, as they are or without one of their rules."""

    script: str = SCRIPT
    bucket: type[RedisBucket] = RedisBucket

    def simulate(self, scenario: Scenario) -> Simulation:
        """Return a simulation when all faults of *scenario* are over."""
        simulation = Simulation(scenario, self.script, self.bucket)
        simulation.run(scenario.ends_at)
        return simulation


def exceeds(scenario: Scenario, version: Version, *, closes: bool = False) -> bool:
    """
    Return whether any window has more requests than the limit.

    With *closes*, return instead whether a caller waits for long after the length of a lease.
    """
    simulation, limit = version.simulate(scenario), scenario.limit
    simulation.answered = 1.0
    for worker in simulation.workers:
        worker.callers.clear()
        worker.add_callers(1, MAX_ATTEMPT_TIMEOUT)
    lease = MAX_ATTEMPT_TIMEOUT + MARGIN + limit.per
    rounds = len(simulation.workers) * (limit.per + 0.5)
    simulation.run(scenario.ends_at + lease + NOTICED + rounds)
    if closes:
        return any(worker.callers for worker in simulation.workers)
    return simulation.worst() > limit.requests


def stays_closed(scenario: Scenario, version: Version) -> bool:
    """Return whether a caller waits for longer than a lease after the faults are over."""
    return exceeds(scenario, version, closes=True)


def stops(scenario: Scenario, version: Version) -> bool:
    """Return whether no call, or only few, go on within 2 s, or a period, after a hiccup."""
    simulation, limit = version.simulate(scenario), scenario.limit
    period, start = limit.per + MAX_LATENCY, scenario.ends_at
    due = start + max(2.0, period)
    if any(event.kind == "start" for event in scenario.events):
        due += period  # the time before the first request of a new worker does not count
    simulation.run(due + 2 * period)
    times = [at for at, _ in simulation.acquired if at >= start]
    return not times or min(times) > due or len(times) < limit.requests


def starves(scenario: Scenario, version: Version) -> bool:
    """Return whether the last caller is not served within two periods."""
    simulation = version.simulate(scenario)
    simulation.run(scenario.ends_at + 2 * (scenario.limit.per + MAX_LATENCY))
    return not any(number == 1 for _, number in simulation.acquired)


NOTICED: Final = 3.0
"""Seconds within which a worker notices that a fault is over, and asks again."""
MAX_LATENCY: Final = 0.35
"""Maximum duration of an attempt with a response, and of messages about it."""


BACK_AND_FORTH: Final = Scenario(
    RateLimit(3, 2.0),
    (0, 0),
    (
        *(Event(0.0, "call", worker) for worker in (0, 1)),
        Event(5.9, "step", amount=-2.0),
        Event(6.0, "call", 1, count=3),
        Event(6.4, "step", amount=2.0),
        Event(6.5, "call", 0, count=3),
    ),
    Network(0.01),
    ends_at=7.0,
)
"""One worker notices that the clock was set back, another one asks after it was set forward."""
NEW_WORKER: Final = attrs.evolve(
    BACK_AND_FORTH,
    events=(
        Event(0.0, "call", 0),
        Event(6.0, "call", 1, count=2),
        Event(6.4, "step", amount=2.0),
        Event(6.5, "call", 0, count=3),
    ),
)
"""The clock is set forward by as much as does not count since a new worker asked."""
EVICTED: Final = Scenario(
    RateLimit(1, 1.0),
    (0,),
    (Event(0.0, "call"), Event(0.2, "kill"), Event(0.3, "evict"), Event(0.4, "call")),
    Network(0.01),
    ends_at=1.0,
)
"""No worker that knows of the evicted bucket is left."""


@thorough
@example(BACK_AND_FORTH)
@example(NEW_WORKER)
@given(scenarios())
def test_model_never_exceeds_the_limit(scenario: Scenario) -> None:
    assert not exceeds(scenario, Version())


@thorough
@given(scenarios())
def test_model_issues_tokens_a_lease_after_the_last_fault(scenario: Scenario) -> None:
    assert not stays_closed(scenario, Version())


@thorough
@given(hiccups())
def test_model_goes_on_after_a_hiccup(scenario: Scenario) -> None:
    assert not stops(scenario, Version())


@thorough
@given(crowds())
def test_model_serves_one_caller_besides_a_crowd(scenario: Scenario) -> None:
    assert not starves(scenario, Version())


# Versions that lack a rule


def without(*replacements: tuple[str, str]) -> Version:
    """Return a version with a changed script."""
    script = SCRIPT
    for old, new in replacements:
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    return Version(script)


class ForgetfulBucket(RedisBucket):
    """Bucket that forgets the names of tokens when their grant may be lost (D1)."""

    def on_failure(self, now: float) -> None:
        super().on_failure(now)
        self._wanted.clear()


class LongAttemptBucket(RedisBucket):
    """Bucket whose attempts may outlast their leases (D2)."""

    def try_acquire(self, now: float, until: float = 0.0) -> Permit | None:
        del until
        return super().try_acquire(now, now)


class LongLeaseBucket(RedisBucket):
    """Bucket whose leases are as long as the timeout of a caller (D2)."""

    def __init__(self, limit: RateLimit, worker: str, fallback: float | None = None) -> None:
        super().__init__(limit, worker, fallback)
        self.lease = 60.0


Violates = Callable[[Scenario, Version], bool]
LOST: Final = scenarios(("restart", "promote", "flush"))
CASES: Final[dict[str, tuple[Version, st.SearchStrategy[Scenario], Violates]]] = {
    "lost replies leave leases": (Version(bucket=ForgetfulBucket), hiccups(), stops),
    "attempts outlast leases": (
        Version(bucket=LongAttemptBucket),
        scenarios(("kill",), timeout=60.0),
        exceeds,
    ),
    "leases are as long as timeouts": (Version(bucket=LongLeaseBucket), LOST, stays_closed),
    "loss of state is not noticed": (
        without(("if packed or generation ~= '' or record ~= trusted then", "if false then")),
        LOST,
        exceeds,
    ),
    "a stale bucket is used": (
        without((" or state.server ~= server", "")),
        scenarios(("promote",)),
        exceeds,
    ),
    "evictions are not noticed": (
        without(("info('stats', 'evicted_keys')", "'0'")),
        st.just(EVICTED),
        exceeds,
    ),
    "short wait after a loss": (
        without(("= record, state.created + lease", "= record, state.created + per")),
        LOST,
        exceeds,
    ),
    "long wait after two losses": (
        without(("math.min(state.blocked - clock, RECHECK)", "state.blocked - clock")),
        LOST,
        stays_closed,
    ),
    "clock is not checked": (
        without(("(is_known and expected or latest) > slack", "now > slack")),
        scenarios(("step",)),
        exceeds,
    ),
    "clock set back is not noticed": (
        without(("if now < least then", "if now < latest then")),
        st.just(BACK_AND_FORTH),
        exceeds,
    ),
    "age of a report counts twice": (without(("- age + per", "- 2 * age + per")), LOST, exceeds),
    "older requests are not dropped": (
        without(("if mine and sequence < mine.sequence then return nil end", "")),
        hiccups(),
        stops,
    ),
    "repeated requests lease more tokens": (
        without((" and not is_repeated", "")),
        hiccups(),
        stops,
    ),
    "workers have no share and turn": (
        without(("math.ceil(limit / sharers)", "limit"), ("other.turn < mine.turn", "false")),
        crowds(),
        starves,
    ),
}


QUICK_SEEDS: Final = {
    "attempts outlast leases": 1,
    "a stale bucket is used": 5,
    "short wait after a loss": 7,
    "long wait after two losses": 4,
    "repeated requests lease more tokens": 3,
}
"""Seeds with which a scenario is found soon."""


@pytest.mark.parametrize("case", CASES)
def test_model_finds_the_lack_of_a_rule(case: str) -> None:
    version, strategy, violates = CASES[case]
    scenario = find(
        strategy,
        lambda scenario: violates(scenario, version),
        settings=settings(
            max_examples=5000,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
        random=Random(QUICK_SEEDS.get(case, 0)),  # noqa: S311 - no secret is made of it
    )
    assert not violates(scenario, Version())


# The fake Redis


@pytest.mark.slow
def test_fake_redis_replies_like_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = FakeRedis.execute
    at_time = SCRIPT.replace("redis.call('TIME')", "{ARGV[2], ARGV[3]}")
    replies: list[bytes | None] = []
    with serving() as process, process.client() as client:
        run_id = client.info("server")["run_id"]

        def execute_both(
            fake: FakeRedis, script: str, keys: BucketKeys, request: bytes
        ) -> bytes | None:
            fake.run_id = run_id
            names = (keys.bucket, keys.record)
            for name in names:  # where a fault deletes it
                if name not in fake.data:
                    client.delete(name)
            time = divmod(round(fake.now * 1_000_000), 1_000_000)
            reply = execute(fake, script, keys, request)
            assert client.eval(at_time, 2, *names, request, *time) == reply
            stored = client.get(keys.bucket)
            state = fake.data[keys.bucket].encode("latin-1")
            assert msgspec.msgpack.decode(stored) == msgspec.msgpack.decode(state)
            replies.append(reply)
            return reply

        monkeypatch.setattr(FakeRedis, "execute", execute_both)
        calls = (Event(at, "call", at % 3, count=2) for at in range(40))
        faults = (Event(20.0, "delete"), Event(35.0, "flush"))
        network = Network(0.2, faulty=0.3, latest=5.0)
        scenario = Scenario(
            RateLimit(3, 1.0), (0, 0, 1), (*calls, *faults), network, 40.0, answered=0.5
        )
        Simulation(scenario).run(40.0)
    assert None in replies
    assert len(replies) > 50
