"""`RedisRateLimiter` with a real server: arguments, errors, connections and logging."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import pickle
import re
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from htx_async import (
    NO_RETRY,
    Credentials,
    DeadlineExceededError,
    HTXClient,
    InvalidInputError,
    RateLimiter,
    RateLimitQueueError,
    RedisRateLimiter,
    Share,
)
from htx_async.clock import Clock
from htx_async.ratelimit.redis import connection, fallback, lease_queue
from htx_async.ratelimit.redis.protocol import Unavailable
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from htx_async.resources import accounts, points
from htx_async.sandbox import Sandbox
from tests.error_text import PACKAGE
from tests.ratelimit.redis.processes import limited
from tests.redis_process import RedisProcess, free_port, serving

pytestmark = pytest.mark.slow
KEYS = Credentials("access-key", "secret-key")
SECRET = "pass-word-0815"


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    async with Sandbox().serve() as base_url:
        yield base_url


async def list_accounts(base_url: str, limiter: RateLimiter, **options: Any) -> int:
    """List the accounts with a client of its own; return their number."""
    options = {"timeout": 10.0, "retry": NO_RETRY, "coalesce": False, **options}
    async with HTXClient(KEYS, base_url=base_url, rate_limiter=limiter, **options) as htx:
        return len(await htx.accounts.list())


async def failure(url: str, base_url: str, **options: Any) -> str:
    """Return the error of a call that gets no token, after checking that it shows no secret."""
    limiter = RedisRateLimiter(url, user="me", **options)
    with pytest.raises(RateLimitQueueError) as caught:
        await list_accounts(base_url, limiter)
    await limiter.aclose()
    error = caught.value
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame.f_locals for frame in frames if frame.f_code.co_filename.startswith(PACKAGE)]
    assert ours
    assert SECRET not in repr(ours) + repr(limiter) + repr(vars(error)) + str(error)
    assert SECRET.encode() not in pickle.dumps(error)
    assert error.__context__ is error.__cause__ is None
    assert error.delivery == "not_sent"
    return f"{error.retryable}: {error}"


def test_redis_is_not_imported_with_the_package() -> None:
    """It is an optional extra."""
    code = "import sys, htx_async; assert 'redis' not in sys.modules; htx_async.RedisRateLimiter"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_redis_rate_limiter_names_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised at construction."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
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
def test_redis_rate_limiter_invalid_url_shows_no_password(url: Any) -> None:
    """The message shows no part of the URL."""
    with pytest.raises(InvalidInputError, match="url must be the URL of a Redis") as caught:
        RedisRateLimiter(url)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    text = "".join(repr(frame.f_locals) for frame in frames) + repr(caught.value)
    assert SECRET not in text
    assert caught.value.__context__ is None


@pytest.mark.parametrize("share", [0, -1, 1.5, True, "a quarter", float("nan")])
def test_share_rejects_fraction_out_of_range(share: Any) -> None:
    with pytest.raises(InvalidInputError, match="fraction must be a number above 0 and at most 1"):
        Share(share)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"user": ""}, "user must not be empty"),
        ({"user": 7}, "user must be a str, got int"),
        ({"on_outage": 0.25}, r"on_outage must be Share\(...\) or None, got float"),
    ],
)
def test_redis_rate_limiter_rejects_invalid_arguments(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        RedisRateLimiter(f"redis://:{SECRET}@localhost", **options)


def test_redis_rate_limiter_hides_password_and_is_not_picklable() -> None:
    """The same holds for its address."""
    limiter = RedisRateLimiter(f"redis://me:{SECRET}@example.org:7000/2", user="me")
    assert repr(limiter) == "RedisRateLimiter('example.org:7000')"
    assert SECRET not in repr(vars(limiter))
    for value in (limiter, limiter._address):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(value)


async def test_redis_rate_limiter_identifies_user_by_access_key(
    redis_process: RedisProcess,
) -> None:
    """Unless `user=` is set, which a credentials provider requires."""
    limiter = RedisRateLimiter(redis_process.url)
    htx, same, other = (
        HTXClient(Credentials(key, "secret-key"), rate_limiter=limiter)
        for key in ("one", "one", "two")
    )
    assert htx._rate_limiter is same._rate_limiter is not other._rate_limiter
    named = RedisRateLimiter(redis_process.url, user="me")
    assert HTXClient(KEYS, rate_limiter=named)._rate_limiter is named

    async def provider() -> Credentials:
        return KEYS

    assert HTXClient(provider, rate_limiter=named)._rate_limiter is named
    with pytest.raises(
        InvalidInputError, match="the access key of a credentials provider is not known"
    ):
        HTXClient(provider, rate_limiter=limiter)
    with pytest.raises(InvalidInputError, match="has no user yet"):
        limiter.peek(accounts.LIST, htx._clock, None)


async def test_redis_rate_limiter_closes_connections_with_last_client(
    redis_process: RedisProcess, base_url: str
) -> None:
    """No task and no connection is left, with or without `aclose()`."""
    connected = redis_process.connected()
    redis_process.grow(5.0)
    async with RedisRateLimiter(redis_process.url) as limiter:
        outer = HTXClient(KEYS, base_url=base_url, rate_limiter=limiter, timeout=2.0)
        assert outer.limits()["GET /v1/account/accounts"].available == 100
        await list_accounts(base_url, limiter, timeout=2.0)
        await outer.accounts.list()
        assert outer.limits()["GET /v1/account/accounts"].available < 100
        await outer.aclose()
        gc.collect()
        assert redis_process.connected() == connected
    await limiter.aclose()
    ours = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not ours


def test_redis_rate_limiter_serves_successive_loops(redis_process: RedisProcess) -> None:
    """Tokens used in the first loop are used in the second."""
    limiter = RedisRateLimiter(redis_process.url, user=f"loops {time.time()}")
    redis_process.grow(6.0)

    async def read_points() -> None:
        options: dict[str, Any] = {"rate_limiter": limiter, "timeout": 1.0, "queue_timeout": 0.0}
        transport = httpx.ASGITransport(app=Sandbox())
        async with HTXClient(KEYS, transport=transport, **options) as htx:
            await htx.points.balance()
            await htx.points.balance()

    with limited(points, RateLimit(2, per=2.0)):
        asyncio.run(read_points())
        with pytest.raises(RateLimitQueueError):
            asyncio.run(read_points())
    assert len(limiter._servers) == 1


async def test_unreachable_server_is_named_in_retryable_error(
    base_url: str, tmp_path: Path
) -> None:
    message = await failure(f"unix://me:{SECRET}@{tmp_path}/none", base_url)
    assert message.startswith("True: GET /v1/account/accounts: no token: Redis at ")
    assert "/none could not be reached (ConnectionError)" in message


async def test_wait_notification_returns_false_for_unreachable_server(tmp_path: Path) -> None:
    address = connection.address_of(f"unix://{tmp_path}/none")
    assert isinstance(address, connection.Address)
    assert not await connection.RedisServer(address, "").wait_notification("key")


async def test_wait_notification_can_be_cancelled_at_any_point(redis_process: RedisProcess) -> None:
    """In every loop iteration, also while it connects; otherwise a client could not close."""
    for turns in range(40):
        address = connection.address_of(redis_process.url)
        assert isinstance(address, connection.Address)
        server = connection.RedisServer(address, "")
        listening = asyncio.create_task(server.wait_notification("key"))
        for _ in range(turns):
            await asyncio.sleep(0)
        listening.cancel()
        await asyncio.wait([listening], timeout=5.0)
        assert listening.cancelled()
        await server.aclose()


class UncancellableConnection:
    """A connection that suppresses cancellation."""

    is_connected = False

    async def connect(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    async def disconnect(self, *, nowait: bool = False) -> None:
        """Do nothing."""


async def test_wait_notification_raises_cancellation_that_redis_py_loses() -> None:
    """On every Python version."""
    server = connection.RedisServer(connection.Address("here", UncancellableConnection), "")  # type: ignore[arg-type]
    listening = asyncio.create_task(server.wait_notification("key"))
    await asyncio.sleep(0)
    listening.cancel()
    await asyncio.wait([listening], timeout=5.0)
    assert listening.cancelled()


async def test_server_that_hangs_fails_calls_in_time(base_url: str) -> None:
    """It accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://:{SECRET}@127.0.0.1:{silent.getsockname()[1]}?socket_timeout=0.2"
        start = time.monotonic()
        assert "did not respond in time" in await failure(url, base_url)
        assert time.monotonic() - start < 1.5


@pytest.mark.parametrize(
    ("error", "text", "passes"),
    [
        ("_VersionError", "is too old: use 6.2 or later", False),
        ("KeyError", "does not respond like a Redis server", False),
        ("ReadOnlyError", "is a read-only replica: use the URL of the primary", False),
        ("OSError", "could not be reached (OSError)", True),
    ],
)
def test_redis_errors_are_translated(error: str, text: str, passes: bool) -> None:
    """By the name of their class, or by a word of their text."""
    kind = getattr(connection, error, None) or type(error, (Exception,), {})
    away = connection._translate(kind("secret text"), "here")
    assert away == Unavailable(f"Redis at here {text}", passes)


async def test_server_that_is_too_old_is_rejected(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MIN_VERSION", (999, 0))
    with serving() as server:
        assert "is too old" in await failure(server.url, base_url)


def documented_permissions() -> str:
    """Return the permissions that the docs list for a user of its own."""
    page = Path(__file__).parents[3] / "docs" / "workers.md"
    [commands] = re.findall(r"these commands:\s+`(.*?)`", page.read_text("utf-8"), re.DOTALL)
    return " ".join(commands.split())


async def test_wrong_password_and_missing_permissions_are_reported(
    redis_process: RedisProcess, base_url: str
) -> None:
    """The permissions that the docs list suffice for waiting and notifications."""
    with redis_process.client() as client:
        client.execute_command(
            *f"ACL SETUSER htx on >{SECRET} ~htx_async:* {documented_permissions()}".split()
        )
        client.execute_command(*f"ACL SETUSER few on >{SECRET} ~* -@all +info".split())
    path = redis_process.path
    wrong = await failure(f"unix://htx:{SECRET}x@{path}", base_url)
    assert wrong.startswith("False: ")
    assert "does not accept the user or password in its URL" in wrong
    few = await failure(f"unix://few:{SECRET}@{path}", base_url)
    assert "denies its user a command that RedisRateLimiter needs" in few

    await asyncio.to_thread(redis_process.grow, 6.0)
    async with RedisRateLimiter(
        f"unix://htx:{SECRET}@{path}", user=f"permissions {time.time()}"
    ) as limiter:
        queue = limiter.queue_for(Endpoint("/v1/test", RateLimit(1, per=1.0), int), Clock())
        grants = [await queue.acquire()]
        for seconds in (0.0, 0.2):
            waiter = asyncio.create_task(queue.acquire())
            await asyncio.sleep(seconds)
            queue.release_unused(grants.pop())
            grants.append(await waiter)
        queue.release_unused(grants.pop())


async def test_missing_password_is_reported(base_url: str) -> None:
    with serving("--requirepass", SECRET) as server:
        assert "does not accept the user or password" in await failure(server.url, base_url)


async def test_unused_token_notifies_other_limiter_on_real_server(
    redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiter of another limiter wakes up when a token returns unused."""
    monkeypatch.setattr(connection, "LISTEN_TIMEOUT", 0.1)
    await asyncio.to_thread(redis_process.grow, 6.0)
    endpoint = Endpoint("/v1/test", RateLimit(1, per=600.0), int)
    user, clock = f"notification {time.time()}", Clock()
    async with (
        RedisRateLimiter(redis_process.url, user=user) as one,
        RedisRateLimiter(redis_process.url, user=user) as other,
    ):
        # Leases are longer than the server's age, so pretend that it started long ago.
        for limiter in (one, other):
            monkeypatch.setattr(connection._Connection, "_identify", _long_ago)
            assert repr(limiter.queue_for(endpoint, clock))
        grant = await one.queue_for(endpoint, clock).acquire()
        waiter = asyncio.create_task(other.queue_for(endpoint, clock).acquire())
        await listeners_started(redis_process, 2)
        one.queue_for(endpoint, clock).release_unused(grant)
        await asyncio.wait_for(waiter, 2.0)
        other.queue_for(endpoint, clock).release_unused(waiter.result())


async def listeners_started(server: RedisProcess, count: int) -> None:
    """Wait for *count* more BLPOP commands; some versions count those that still wait."""

    def counted() -> int:
        with server.client() as client:
            return int(client.info("commandstats").get("cmdstat_blpop", {}).get("calls", 0))

    wanted = counted() + count
    async with asyncio.timeout(5):
        while counted() < wanted:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.02)


async def _long_ago(_: object) -> connection._Identity:
    return connection._Identity("one", 0)


async def test_closed_idle_connection_is_not_an_outage(
    redis_process: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """The next call opens a new connection."""
    async with RedisRateLimiter(redis_process.url, user=f"idle {time.time()}") as limiter:
        queue = limiter.queue_for(Endpoint("/v1/test", RateLimit(9, per=0.01), int), Clock())
        await asyncio.to_thread(redis_process.grow, 4.0)
        queue.release_unused(await queue.acquire())
        await asyncio.sleep(0.05)
        with redis_process.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        queue.release_unused(await queue.acquire())
    assert not caplog.records


def test_limits_work_outside_of_a_loop() -> None:
    """They show a full bucket, and no connection is opened."""
    htx = HTXClient(KEYS, rate_limiter=RedisRateLimiter("redis://localhost"))
    assert htx.limits()["GET /v1/account/accounts"].available == 100


async def test_read_only_replica_is_reported(base_url: str) -> None:
    with serving("--replicaof", "127.0.0.1", "1") as replica:
        assert "is a read-only replica" in await failure(replica.url, base_url)


async def test_tls_to_plain_server_fails_in_time(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server waits for the rest of a command."""
    monkeypatch.setattr(connection, "SOCKET_TIMEOUT", 0.2)
    with serving(port=free_port()) as server:
        url = f"rediss://127.0.0.1:{server.port}"
        assert "did not respond in time" in await failure(url, base_url)


async def test_outage_and_recovery_are_logged_once(
    base_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for every call; the fallback is used meanwhile."""
    caplog.set_level(logging.INFO, logger="htx_async")
    monkeypatch.setattr(lease_queue, "RECONNECT_DELAY", 0.1)
    monkeypatch.setattr(fallback, "GRANT_TTL", 0.1)
    with serving() as server, limited(points, RateLimit(2, per=0.2)):
        limiter = RedisRateLimiter(server.url, user="me", on_outage=Share(0.25))
        server.kill()
        async with HTXClient(KEYS, base_url=base_url, rate_limiter=limiter, timeout=10.0) as htx:
            await asyncio.gather(htx.points.balance(), htx.points.balance(sub_uid=1001))
            server.start()
            brief = htx.with_options(timeout=0.4)
            while len(caplog.records) < 2:
                with contextlib.suppress(DeadlineExceededError):
                    await brief.points.balance()
            with pytest.raises(DeadlineExceededError):  # it started recently and is empty
                await brief.points.balance()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "could not be reached" in messages[0]
    assert messages[0].endswith("until it recovers, calls use 0.25 of the limits")
    assert messages[1].endswith("is available again")
