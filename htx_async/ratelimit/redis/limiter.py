"""Rate limiter that several processes and machines share."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from types import TracebackType
from typing import NoReturn, Self, cast

import attrs

from htx_async.clock import Clock, running_loop
from htx_async.errors import InvalidInputError
from htx_async.ratelimit.limiter import LimitedEndpoint, RateLimiter, registry_lock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.redis.connection import RedisServer, address_of
from htx_async.ratelimit.redis.lease_queue import LeaseQueue
from htx_async.ratelimit.redis.protocol import BucketKey, user_key


def _validate_fraction(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        return
    msg = f"{attribute.name} must be a number above 0 and at most 1, got {value!r:.40}"
    raise InvalidInputError(msg)


@attrs.frozen
class Share:
    """
    Continue with a fraction of HTX's limits while Redis is unavailable.

    Attributes:
        fraction: Fraction of every limit that each process uses, above 0 and at most 1; at least
            one request. The fractions of all processes together should not exceed 1.
    """

    fraction: float = attrs.field(validator=_validate_fraction)


class RedisRateLimiter(RateLimiter):
    """
    Rate limiter of one HTX user that processes and machines share through Redis or Valkey.

    Pass it as `rate_limiter=` to the clients of all processes. It serves any number of clients
    and event loops. The first call opens its connections, and closing the last client of the loop
    closes them; `async with`, or `aclose()`, closes them in any case.

    While Redis is unavailable, calls that need a token fail with `RateLimitQueueError`, which is
    retried like other retryable errors, unless *on_outage* is set. The logger `htx_async` reports
    the outage once.

    Args:
        url: URL of the server: `redis://`, `rediss://` (TLS) or `unix://`, with user, password
            and options as redis-py accepts them. Redis 6.2 or later; a primary, not a cluster.
        user: Your own name for the HTX user; clients with different keys of that user share the
            limits by it. `None`: the access key identifies the user. Redis only stores a hash.
        on_outage: `Share(0.25)`: continue with a fraction of the limits; `None`: fail.

    Raises:
        InvalidInputError: An argument is not valid, or the extra `redis` is not installed.
    """

    _display = "..."  # until __init__ has checked the arguments

    def __init__(
        self, url: str, *, user: str | None = None, on_outage: Share | None = None
    ) -> None:
        super().__init__()
        address = _problem(user, on_outage) or address_of(url)
        del url  # it may contain a password, which a traceback must not show
        if isinstance(address, str):
            raise InvalidInputError(address)
        self._address, self._user, self._on_outage = address, user, on_outage
        self._display = address.display
        # The servers by event loop, which the limiters of single keys share.
        self._servers: dict[asyncio.AbstractEventLoop, RedisServer] = {}
        self._by_key: dict[Hashable, RedisRateLimiter] = {}

    def for_owner(self, owner: Hashable) -> RedisRateLimiter:
        """Return the rate limiter for a client whose credentials are those of *owner*."""
        if self._user is not None:
            return self
        if not isinstance(owner, str):
            msg = (
                "the access key of a credentials provider is not known yet. "
                "Name the user: RedisRateLimiter(url, user=...)"
            )
            raise InvalidInputError(msg)
        with registry_lock:
            if owner not in self._by_key:
                self._by_key[owner] = self._copy(f"key {owner}")
            return self._by_key[owner]

    def _copy(self, user: str) -> RedisRateLimiter:
        copied = RedisRateLimiter.__new__(RedisRateLimiter)
        vars(copied).update(vars(self) | {"_user": user, "_queues": {}})
        return copied

    def _new_queue(
        self, previous: TokenQueue | None, endpoint: LimitedEndpoint, clock: Clock
    ) -> TokenQueue:
        """Return a queue; the server knows the tokens of a closed loop."""
        del previous
        if self._user is None:
            msg = (
                "this RedisRateLimiter has no user yet. "
                "Set one, RedisRateLimiter(url, user=...), or pass it to a client"
            )
            raise InvalidInputError(msg)
        key = BucketKey(user_key(self._user), endpoint.name, endpoint.limit)
        fraction = self._on_outage.fraction if self._on_outage else None
        return LeaseQueue(key, self._server(), clock, fraction)

    def _server(self) -> RedisServer:
        loop, share = running_loop(), self._on_outage
        policy = f"calls use {share.fraction:g} of the limits" if share else "calls fail"
        server = self._servers.get(loop) if loop else None
        if server is None:
            server = RedisServer(self._address, policy)
            if loop is not None:
                self._forget_closed_loops()
                self._servers[loop] = server
        return server

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._servers if loop.is_closed()]:
            del self._servers[loop]

    async def flush(self) -> None:
        """Send all pending updates to Redis; close the connections if they are not in use."""
        loop = asyncio.get_running_loop()
        for queue in self._queues_of(loop):
            await queue.flush()
        server = self._servers.get(loop)
        if server is not None and all(queue.is_idle for queue in self._queues_of(loop)):
            await server.aclose()

    def _queues_of(self, loop: asyncio.AbstractEventLoop) -> list[LeaseQueue]:
        limiters: Iterable[RedisRateLimiter] = tuple(self._by_key.values()) or (self,)
        return [queue for limiter in limiters for queue in limiter._own_queues_of(loop)]  # noqa: SLF001 - its own

    def _own_queues_of(self, loop: asyncio.AbstractEventLoop) -> list[LeaseQueue]:
        queues = [by_loop.get(loop) for by_loop in tuple(self._queues.values())]
        return cast("list[LeaseQueue]", [queue for queue in queues if queue is not None])

    async def aclose(self) -> None:
        """
        Close the connections of the running loop. Closing twice is allowed.

        Close the clients first: a later call opens new connections.
        """
        await self.flush()
        server = self._servers.pop(asyncio.get_running_loop(), None)
        if server is not None:
            await server.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        msg = (
            "a RedisRateLimiter cannot be pickled: its URL may contain a password. "
            "Create one in each process"
        )
        raise TypeError(msg)

    def __repr__(self) -> str:
        return f"RedisRateLimiter({self._display!r})"


def _problem(user: object, on_outage: object) -> str:
    """Return what is wrong with the arguments; empty if nothing is."""
    if user is not None and (not isinstance(user, str) or not user):
        return "user must not be empty" if user == "" else f"user must be a str, got {_kind(user)}"
    if on_outage is not None and not isinstance(on_outage, Share):
        return f"on_outage must be Share(...) or None, got {_kind(on_outage)}"
    return ""


def _kind(value: object) -> str:
    return type(value).__name__
