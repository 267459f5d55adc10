"""Redis and Valkey servers: errors, permissions, TLS, and what is logged."""

from __future__ import annotations

import asyncio
import logging
import pickle
import re
import ssl
import traceback
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from redis import exceptions

from htx_async import NO_RETRY, Credentials, HTXClient, RateLimitQueueError, RedisRateLimiter
from htx_async.ratelimit.redis import server as module
from htx_async.ratelimit.redis.bucket import RedisBucket
from htx_async.ratelimit.redis.exchange import BucketKeys, Reply, Unavailable
from htx_async.ratelimit.redis.server import Address, RedisServer
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.sandbox import Sandbox
from tests.error_text import PACKAGE
from tests.redis_process import RedisProcess, free_port, serving
from tests.tcp_proxy import Proxy

SECRET = "pass-word-0815"
KEYS = Credentials("access-key", "secret-key")
LIMIT = RateLimit(10, per=2.0)
KEYS_OF_ME = BucketKeys.of("me", "GET /x", LIMIT)


def address_of(url: str, command_timeout: float = 2.0) -> Address:
    address = Address.of(url, command_timeout)
    assert isinstance(address, Address)
    return address


async def exchange(server: RedisServer) -> Reply | Unavailable:
    request = RedisBucket(LIMIT, "worker").next_request(0.0, 1)
    return await server.exchange(KEYS_OF_ME, request)


async def failure(url: str, base_url: str, **options: Any) -> str:
    """Return the error of a call that gets no token, after checking that it shows no secret."""
    limiter = RedisRateLimiter(url, user="me", **options)
    async with HTXClient(KEYS, base_url=base_url, rate_limiter=limiter, retry=NO_RETRY) as htx:
        with pytest.raises(RateLimitQueueError) as caught:
            await htx.accounts.list()
    error = caught.value
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame.f_locals for frame in frames if frame.f_code.co_filename.startswith(PACKAGE)]
    assert ours
    assert SECRET not in repr(ours) + repr(limiter) + repr(vars(error)) + str(error)
    assert SECRET.encode() not in pickle.dumps(error)
    assert error.__context__ is error.__cause__ is None
    assert error.delivery == "not_sent"
    return f"{error.retryable}: {error}"


@pytest.fixture
async def base_url() -> Any:
    async with Sandbox().serve() as base_url:
        yield base_url


# Errors of redis-py


@pytest.mark.parametrize(
    ("error", "text", "retryable"),
    [
        (module._ClusterError(), "is a Redis Cluster, which is not supported", False),
        (exceptions.ResponseError("MOVED 1 here:1"), "is a Redis Cluster", False),
        (exceptions.AuthenticationError(SECRET), "does not accept the user or password", False),
        (exceptions.ResponseError(f"WRONGPASS {SECRET}"), "does not accept the user", False),
        (exceptions.ReadOnlyError("READONLY"), "is a read-only replica", True),
        (exceptions.ResponseError("Error: READONLY You can't"), "is a read-only replica", True),
        (exceptions.BusyLoadingError("LOADING"), "is loading its data (BusyLoadingError)", True),
        (exceptions.TryAgainError("TRYAGAIN"), "is not ready", True),
        (exceptions.ClusterDownError("CLUSTERDOWN"), "is not ready", True),
        (exceptions.MasterDownError("MASTERDOWN"), "is not ready", True),
        (exceptions.NoPermissionError("NOPERM"), "denies its user a command", False),
        (exceptions.ResponseError("DB index is out of range"), "has no database with", False),
        (exceptions.ConnectionError("SSL: wrong"), "does not support TLS, or its cert", False),
        (exceptions.InvalidResponse("?"), "does not respond like a Redis server", False),
        (msgspec.DecodeError("?"), "does not respond like a Redis server", False),
        (exceptions.TimeoutError(SECRET), "did not respond in time (TimeoutError)", True),
        (exceptions.ConnectionError(SECRET), "could not be reached (ConnectionError)", True),
        (ConnectionResetError(SECRET), "could not be reached (ConnectionResetError)", True),
        (exceptions.OutOfMemoryError("OOM"), "could not run the command (OutOfMemory", True),
        (KeyError(SECRET), "could not run the command (KeyError)", True),
    ],
)
async def test_errors_are_translated(error: Exception, text: str, retryable: bool) -> None:
    """Without their text."""
    outage = module._translate(error, "here")
    assert outage.reason.startswith(f"Redis at here {text}")
    assert outage.retryable is retryable
    assert SECRET not in outage.reason


class Client:
    """Replaces redis-py's client: it responds to INFO with *info*, or raises *error*."""

    def __init__(self, info: dict[str, Any], error: Exception | None = None) -> None:
        self.information, self.error = info, error

    async def info(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return self.information

    async def script(self, keys: list[str], args: list[bytes]) -> bytes:
        assert keys == [KEYS_OF_ME.bucket, KEYS_OF_ME.record]
        [request] = args
        assert msgspec.msgpack.decode(request)[0] == "worker"
        return msgspec.msgpack.encode(["one", 1, True, [1], [], 9, 1, 4000, 0, 0])


def server_with(client: Client) -> RedisServer:
    server = address_of(f"redis://:{SECRET}@here:1").server("calls fail")
    vars(server).update(_client=client, _script=client.script)
    return server


async def test_outage_is_logged_once_and_its_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At INFO; again if its cause changes."""
    caplog.set_level(logging.DEBUG)
    client = Client({}, exceptions.ConnectionError(SECRET))
    server, disconnected = server_with(client), list[bool]()

    async def disconnect(*, inuse_connections: bool = True) -> None:
        disconnected.append(inuse_connections)

    monkeypatch.setattr(server._pool, "disconnect", disconnect)
    for number in range(1, 4):
        assert isinstance(await exchange(server), Unavailable)
        assert disconnected == [False] * number  # a name may lead to another server now
    client.error = exceptions.ResponseError("READONLY")
    await exchange(server)
    client.error = None
    for _ in range(2):
        assert isinstance(await exchange(server), Reply)
    replica = "is a read-only replica: use the URL of the primary (ResponseError)"
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert [record.getMessage() for record in caplog.records] == [
        "Redis at here:1 could not be reached (ConnectionError); until it recovers, calls fail",
        f"Redis at here:1 {replica}; until it recovers, calls fail",
        "Redis at here:1 is available again",
    ]
    await server.aclose()


@pytest.mark.parametrize(
    ("info", "warns"),
    [
        ({"maxmemory": 10**6, "maxmemory_policy": "allkeys-lru"}, True),
        ({"maxmemory": 10**6, "maxmemory_policy": "noeviction"}, False),
        ({"maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, False),
    ],
)
async def test_policy_that_evicts_is_warned_about_once(
    info: dict[str, Any], warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = server_with(Client(info))
    for _ in range(2):
        assert isinstance(await exchange(server), Reply)
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(messages) == warns
    assert not warns or "its maxmemory-policy is allkeys-lru" in messages[0]


async def test_cluster_is_not_supported() -> None:
    outcome = await exchange(server_with(Client({"cluster_enabled": 1})))
    reason = "Redis at here:1 is a Redis Cluster, which is not supported"
    assert outcome == Unavailable(reason, retryable=False)


async def test_exchanges_that_wait_for_a_connection_fail_with_the_others() -> None:
    """A server that hangs delays nobody for longer than `command_timeout`."""
    client = Client({})
    server, started = server_with(client), list[int]()

    async def info() -> dict[str, Any]:
        started.append(len(started))
        await asyncio.sleep(0.01)
        raise exceptions.TimeoutError(SECRET)

    client.info = info  # type: ignore[method-assign]
    outcomes = await asyncio.gather(*(exchange(server) for _ in range(3 * module.MAX_CONNECTIONS)))
    assert len(started) == module.MAX_CONNECTIONS
    assert {type(outcome) for outcome in outcomes} == {Unavailable}


# Real servers


@pytest.mark.slow
async def test_server_serves_on_socket_tcp_and_tls(
    redis_process: RedisProcess, tmp_path: Path
) -> None:
    """The proxy speaks TLS, because not every server of the tests does."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    plain, secure = Proxy(redis_process.path), Proxy(redis_process.path)
    async with plain.serving(), secure.serving(context):
        trusting = f"{secure.url}?ssl_ca_certs={tmp_path}/ca.pem"
        for url in (redis_process.url, f"{plain.url}/1", trusting):
            server = address_of(url).server("")
            assert isinstance(await exchange(server), Reply), url
            await server.aclose()
        server = address_of(secure.url).server("")
        outcome = await exchange(server)
        assert isinstance(outcome, Unavailable)
        assert "does not support TLS, or its certificate is not trusted" in outcome.reason


def permissions() -> str:
    """Return the permissions that the docs list for a user of its own."""
    path = Path(__file__).parents[3] / "docs/operations/multiple-processes.md"
    page = path.read_text("utf-8")
    [commands] = re.findall(r"these commands:\s+`(.*?)`", page, re.DOTALL)
    return f"~htx_async:* {' '.join(commands.split())}"


@pytest.mark.slow
async def test_wrong_password_and_missing_permissions_are_named(
    redis_process: RedisProcess, base_url: str
) -> None:
    """The documented permissions suffice."""
    with redis_process.client() as client:
        client.execute_command(*f"ACL SETUSER htx on >{SECRET} {permissions()}".split())
        client.execute_command(*f"ACL SETUSER few on >{SECRET} ~* -@all +info".split())
        client.execute_command(*f"ACL SETUSER keys on >{SECRET} ~other +@all".split())
    path = redis_process.path
    wrong = await failure(f"unix://htx:{SECRET}x@{path}", base_url)
    assert wrong.startswith("False: ")
    assert "does not accept the user or password in its URL" in wrong
    for user in ("few", "keys"):
        few = await failure(f"unix://{user}:{SECRET}@{path}", base_url)
        assert "denies its user a command that RedisRateLimiter needs" in few
    server = address_of(f"unix://htx:{SECRET}@{path}").server("")
    assert isinstance(await exchange(server), Reply)
    await server.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--requirepass", SECRET), "False: .* does not accept the user or password"),
        (("--replicaof", "127.0.0.1", "1"), "True: .* is a read-only replica: use the URL of the"),
        (("--cluster-enabled", "yes"), "False: .* is a Redis Cluster, which is not supported"),
    ],
)
async def test_servers_that_cannot_be_used_are_named(
    base_url: str, options: tuple[str, ...], text: str
) -> None:
    with serving(*options, port=free_port()) as server:
        error = await failure(server.url, base_url)
    assert re.search(text, error), error


@pytest.mark.slow
async def test_server_that_loads_its_data_is_retried(base_url: str) -> None:
    """And one that cannot be reached."""
    with serving("--rdbcompression", "no", "--key-load-delay", "4000") as server:
        with server.client() as client:
            client.mset({f"key {number}": "x" * 2**16 for number in range(1000)})
            client.save()
        server.restart()
        error = await failure(server.url, base_url)
    assert error.startswith("True: ")
    assert "is loading its data (BusyLoadingError)" in error
    assert (await failure(server.url, base_url)).endswith("could not be reached (ConnectionError)")


@pytest.mark.slow
async def test_closed_idle_connection_is_not_an_outage(
    redis_process: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """The next exchange opens a new one."""
    caplog.set_level(logging.INFO)
    server = address_of(redis_process.url).server("")
    await exchange(server)
    with redis_process.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert isinstance(await exchange(server), Reply)
    await server.aclose()
    assert not caplog.records
