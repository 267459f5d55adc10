"""`RedisRateLimiter`: arguments, users, secrets, and what it shares and closes."""

from __future__ import annotations

import asyncio
import gc
import pickle
import subprocess
import sys
import traceback
import weakref
from typing import Any, ClassVar

import httpx
import pytest
from msgspec.structs import replace

from htx_async import (
    NO_RETRY,
    Credentials,
    HTXClient,
    InvalidInputError,
    RateLimitQueueError,
    RedisRateLimiter,
)
from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.redis.exchange import BucketKeys, Unavailable
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.resources import accounts
from htx_async.sandbox import Sandbox
from tests.ratelimit.redis.virtual_server import FakeServer
from tests.virtual import VirtualClock
from tests.world import endpoint

KEYS = Credentials("access-key", "secret-key")
SECRET = "pass-word-0815"
URL = f"redis://me:{SECRET}@localhost"


async def provider() -> Credentials:
    return KEYS


class Connected(FakeServer):
    """Replaces `RedisServer`."""

    instances: ClassVar[list[Connected]] = []

    def __init__(self, display: str, policy: str, pool: object) -> None:
        super().__init__()
        self.policy, self.closed = policy, 0
        self.instances.append(self)
        assert SECRET not in f"{display}{policy}{type(pool)}"

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Connected]:
    """Let limiters use simulated servers, and return them."""
    monkeypatch.setattr("htx_async.ratelimit.redis.server.RedisServer", Connected)
    monkeypatch.setattr(Connected, "instances", [])
    return Connected.instances


def htx_client(limiter: RedisRateLimiter, credentials: Any = KEYS, **options: Any) -> HTXClient:
    transport = httpx.ASGITransport(app=Sandbox())
    return HTXClient(credentials, transport=transport, rate_limiter=limiter, **options)


# Arguments


def test_redis_is_not_imported_with_the_package() -> None:
    """It is an optional extra."""
    code = "import sys, htx_async; assert 'redis' not in sys.modules; htx_async.RedisRateLimiter"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    monkeypatch.delitem(sys.modules, "htx_async.ratelimit.redis.server", raising=False)
    with pytest.raises(InvalidInputError, match=r'pip install "htx-async\[redis\]"'):
        RedisRateLimiter("redis://localhost")


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@localhost",
        f"redis://:{SECRET}/x@localhost",
        f"redis://user:{SECRET}#x@localhost",
        f"redis://:{SECRET}",
        f"redis://[{SECRET}",
        f"redis://:{SECRET}@localhost?socket_timeout=soon",
        f"redis://:{SECRET}@localhost?no_option_of_redis_py=1",
        "",
        7,
    ],
)
def test_invalid_url_shows_no_password(url: Any) -> None:
    with pytest.raises(InvalidInputError, match="url must be the URL of a Redis") as caught:
        RedisRateLimiter(url)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert SECRET not in "".join(repr(frame.f_locals) for frame in frames) + repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"user": ""}, "user must not be empty"),
        ({"user": 7}, "user must be text or None, got 7"),
        ({"fallback": 0}, "fallback must be a number above 0 and at most 1, got 0"),
        ({"fallback": 1.5}, "at most 1, got 1.5"),
        ({"fallback": float("nan")}, "got nan"),
        ({"fallback": True}, "got True"),
        ({"fallback": "a quarter"}, "got str"),
        ({"command_timeout": 0}, "command_timeout must be a positive number of seconds, got 0"),
        (
            {"command_timeout": float("inf")},
            "command_timeout must be a positive number of seconds, got inf",
        ),
    ],
)
def test_invalid_arguments_are_rejected(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text) as caught:
        RedisRateLimiter(URL, **options)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://me:{SECRET}@example.org:7000/2", "example.org:7000"),
        (f"unix://me:{SECRET}@/run/redis.sock", "/run/redis.sock"),
        ("rediss://", "localhost:6379"),
    ],
)
def test_password_is_in_no_repr_and_no_pickle(url: str, shown: str) -> None:
    limiter = RedisRateLimiter(url, user="me")
    assert repr(limiter) == f"RedisRateLimiter({shown!r})"
    assert SECRET not in repr(vars(limiter))
    for value in (limiter, limiter._address):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(value)
    half = RedisRateLimiter.__new__(RedisRateLimiter)
    assert repr(half) == "RedisRateLimiter('...')"


def test_attempt_timeout_is_at_most_ten_seconds() -> None:
    """An attempt must not outlast its lease."""
    limiter = RedisRateLimiter(URL, user="me")
    with pytest.raises(InvalidInputError, match=r"attempt_timeout must be at most 10 s .* got 11"):
        HTXClient(KEYS, rate_limiter=limiter, attempt_timeout=11)
    htx = HTXClient(KEYS, rate_limiter=limiter)
    with pytest.raises(InvalidInputError, match="attempt_timeout must be at most 10 s"):
        htx.with_options(attempt_timeout=10.5)


def test_user_is_identified_by_access_key_or_name() -> None:
    """A credentials provider requires a name."""
    limiter, named = RedisRateLimiter(URL), RedisRateLimiter(URL, user="me")
    one, same, other = (
        HTXClient(Credentials(key, "secret-key"), rate_limiter=limiter)._rate_limiter
        for key in ("one", "one", "two")
    )
    assert one is same is not other
    assert HTXClient(KEYS, rate_limiter=named)._rate_limiter is named
    assert HTXClient(provider, rate_limiter=named)._rate_limiter is named
    with pytest.raises(InvalidInputError, match="the access key of a credentials provider is not"):
        HTXClient(provider, rate_limiter=limiter)
    with pytest.raises(InvalidInputError, match="has no user yet"):
        limiter.queue_for(accounts.LIST, Clock())


def test_keys_contain_a_hash_of_the_user() -> None:
    keys = BucketKeys.of("our account", "GET /x", RateLimit(2, per=1.0))
    assert keys.bucket.startswith("htx_async:")
    assert keys.bucket.endswith(":GET /x:2/1")
    assert keys.record == "htx_async:record:1"
    assert "our account" not in keys.bucket
    assert keys.bucket != BucketKeys.of("other", "GET /x", RateLimit(2, per=1.0)).bucket


# Use


async def test_last_client_of_the_loop_closes_connections(connected: list[Connected]) -> None:
    async with RedisRateLimiter(URL) as limiter:
        await limiter.flush()
        outer = htx_client(limiter)
        async with htx_client(limiter, Credentials("other-key", "secret-key")) as htx:
            assert htx.limits()["GET /v1/account/accounts"].available == 100
            waiting = asyncio.create_task(outer.accounts.list())
            await asyncio.sleep(0)
        await waiting
        [server] = connected
        assert server.policy == "calls fail"
        assert server.closed < 1
        await outer.aclose()
        assert server.closed == 1
        assert not server.leased
    assert server.closed == 3
    await limiter.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_each_loop_has_a_worker(connected: list[Connected]) -> None:
    """And limiters that were not used in a loop have nothing to close."""
    limiter = RedisRateLimiter(URL, user="me", fallback=0.25)

    async def main() -> None:
        async with htx_client(limiter) as htx:
            await htx.points.balance()

    for _ in range(2):
        asyncio.run(main())
    asyncio.run(limiter.aclose())
    assert len(connected) == 2
    assert len({server.requests[0].worker for server in connected}) == 2
    assert connected[0].policy == "each process uses 0.25 of the limits"


async def test_unsigned_requests_are_limited_in_the_process(connected: list[Connected]) -> None:
    """HTX counts them by IP address."""
    limiter = RedisRateLimiter(URL, user="me")
    async with htx_client(limiter) as htx:
        await htx.get("/v1/common/timestamp", signed=False)
    assert not connected or not connected[0].requests


@pytest.mark.usefixtures("virtual_time")
async def test_queues_of_idle_users_are_forgotten(connected: list[Connected]) -> None:
    """Not those that are in use."""
    limiter, target = RedisRateLimiter(URL), endpoint(2, 1.0)

    def queue_for(key: str) -> TokenQueue:
        return limiter.for_owner(key).queue_for(target, VirtualClock())

    async with queue_for("one").token(ConnectionSlots(1), 10.0):
        async with queue_for("two").token(ConnectionSlots(1), 10.0):
            pass
        await asyncio.sleep(100.0)
        assert queue_for("three") is queue_for("three")
        worker = limiter._workers[asyncio.get_running_loop()]
        assert [user for user, _ in worker._queues] == ["key one", "key three"]
    assert len(connected) == 1


async def test_queue_timeout_zero_fails_at_once_in_an_outage(connected: list[Connected]) -> None:
    limiter = RedisRateLimiter(URL, user="me")
    async with htx_client(limiter, queue_timeout=0.0, retry=NO_RETRY) as htx:
        htx.limits()
        connected[0].outage = Unavailable("Redis at here hangs")
        for _ in range(2):
            with pytest.raises(RateLimitQueueError, match="no token: Redis at here ha") as caught:
                await htx.points.balance()
            assert caught.value.retry_after == pytest.approx(1.0, abs=0.2)


def test_queue_outside_of_a_loop_has_a_worker_of_its_own(connected: list[Connected]) -> None:
    """`limits()` is not async, and may be called when the loop has ended."""
    limiter = RedisRateLimiter(URL, user="me")
    for _ in range(2):
        assert limiter.queue_for(accounts.BALANCE, Clock()).status().queued == 0
    assert len(connected) == 2


def test_limiters_of_keys_end_with_their_clients() -> None:
    """A service may see any number of keys."""
    root = RedisRateLimiter(URL)
    first = root.for_owner("one")
    assert root.for_owner("one") is first
    del first
    gc.collect()
    assert not root._by_key


async def test_unsigned_endpoints_keep_their_queue() -> None:
    """Its limiter would be forgotten with its tokens."""
    limiter = RedisRateLimiter(URL, user="me")
    clock, unsigned = VirtualClock(), replace(endpoint(), signed=False)
    queue = weakref.ref(limiter.queue_for(unsigned, clock))
    gc.collect()
    assert queue() is limiter.queue_for(unsigned, clock)
