"""Rate limiter that several processes and machines share."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import OrderedDict
from collections.abc import Hashable
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn, Self
from weakref import WeakKeyDictionary, WeakValueDictionary

from htx_async import validation
from htx_async.clock import Clock, running_loop
from htx_async.errors import InvalidInputError
from htx_async.ratelimit.limiter import LimitedEndpoint, RateLimiter, registry_lock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.redis.bucket import RedisBucket
from htx_async.ratelimit.redis.exchange import MAX_ATTEMPT_TIMEOUT, BucketKeys
from htx_async.ratelimit.redis.queue import RedisQueue

if TYPE_CHECKING:
    from htx_async.ratelimit.redis.server import Address, RedisServer

_SWEPT_AT_ONCE: Final = 2
_NOT_INSTALLED = 'RedisRateLimiter needs the package redis: pip install "htx-async[redis]"'


class RedisRateLimiter(RateLimiter):
    """
    Rate limiter of one HTX user that processes and machines share through Redis or Valkey.

    Pass it as `rate_limiter=` to the clients of all processes. It serves any number of clients
    and event loops. The first call opens its connections, and closing the last client of the loop
    closes them; `async with`, or `aclose()`, closes them in any case.

    While Redis is unavailable, calls that need a token fail with `RateLimitQueueError`, which is
    retried like other retryable errors, unless *fallback* is set. The logger `htx_async` reports
    when that begins and ends.

    Clients that use it have an `attempt_timeout` of at most 10 s.

    Args:
        url: URL of the server: `redis://`, `rediss://` (TLS) or `unix://`, with user, password
            and options as redis-py accepts them. Redis 6.2 or later; a primary, not a cluster.
        user: Your own name for the HTX user; clients with different keys of that user share the
            limits by it. Required with a credentials provider. `None`: the access key identifies
            the user. Redis only stores a hash.
        fallback: Fraction of every limit, above 0 and at most 1, that each process uses while
            Redis is unavailable; at least one request. The fractions of all processes together
            should not exceed 1. `None`: calls fail.
        command_timeout: Seconds for one command, connecting not included.

    Raises:
        InvalidInputError: An argument is not valid, or the extra `redis` is not installed.
    """

    _display = "..."  # until __init__ has checked the arguments

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        fallback: float | None = None,
        command_timeout: float = 2.0,
    ) -> None:
        super().__init__()
        problem = _problem(user, fallback, command_timeout)
        address = problem or _address(url, command_timeout)
        del url  # it may contain a password, which a traceback must not show
        if isinstance(address, str):
            raise InvalidInputError(address)
        self._address, self._user, self._fallback = address, user, fallback
        self._display = address.display
        # The state of each event loop, which the limiters of single keys share.
        self._workers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Worker] = WeakKeyDictionary()
        self._by_key: WeakValueDictionary[Hashable, RedisRateLimiter] = WeakValueDictionary()

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
            limiter = self._by_key.get(owner)
            if limiter is None:
                limiter = self._by_key[owner] = self._copy(f"key {owner}")
            return limiter

    def _copy(self, user: str) -> RedisRateLimiter:
        copied = RedisRateLimiter.__new__(RedisRateLimiter)
        vars(copied).update(vars(self) | {"_user": user, "_queues": {}})
        return copied

    def check(self, attempt_timeout: float) -> None:
        """Raise `InvalidInputError` if an attempt could outlast its lease."""
        if attempt_timeout > MAX_ATTEMPT_TIMEOUT:
            msg = (
                f"attempt_timeout must be at most {MAX_ATTEMPT_TIMEOUT:g} s with a "
                f"RedisRateLimiter, got {attempt_timeout:g}"
            )
            raise InvalidInputError(msg)

    def queue_for(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        """Return the queue for *endpoint* in the running loop."""
        if not endpoint.signed:
            return super().queue_for(endpoint, clock)
        if self._user is None:
            msg = (
                "this RedisRateLimiter has no user yet. "
                "Set one, RedisRateLimiter(url, user=...), or pass it to a client"
            )
            raise InvalidInputError(msg)
        return self._worker().queue(self._user, endpoint, clock, self._fallback)

    def _worker(self) -> _Worker:
        loop = running_loop()
        worker = self._workers.get(loop) if loop else None
        if worker is None:
            policy = "calls fail"
            if self._fallback is not None:
                policy = f"each process uses {self._fallback:g} of the limits"
            worker = _Worker(self._address.server(policy))
            if loop is not None:
                self._workers[loop] = worker
        return worker

    async def flush(self) -> None:
        """Send all reports to Redis; close the connections if they are not in use."""
        worker = self._workers.get(asyncio.get_running_loop())
        if worker is not None:
            await worker.flush(self._user)

    async def aclose(self) -> None:
        """
        Close the connections of the running loop. Closing twice is allowed.

        Close the clients first: a later call opens new connections.
        """
        worker = self._workers.get(asyncio.get_running_loop())
        if worker is not None:
            await worker.flush(None)
            await worker.server.aclose()

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


class _Worker:
    """What one event loop has in Redis."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._id = secrets.token_hex(6)
        # By user and endpoint, those that were not used for long first.
        self._queues: OrderedDict[tuple[str, str], RedisQueue] = OrderedDict()
        # Those that may have something to report.
        self._active: dict[RedisQueue, str] = {}

    def queue(
        self, user: str, endpoint: LimitedEndpoint, clock: Clock, fallback: float | None
    ) -> RedisQueue:
        """Return the queue for *endpoint* of *user*."""
        key = (user, endpoint.name)
        queue = self._queues.get(key)
        if queue is None:
            self._sweep(clock.monotonic())
            bucket = RedisBucket(endpoint.limit, self._id, fallback)
            keys = BucketKeys.of(user, endpoint.name, endpoint.limit)
            queue = self._queues[key] = RedisQueue(bucket, keys, self.server, clock, endpoint.name)
        self._active[queue] = user
        return queue

    def _sweep(self, now: float) -> None:
        """Forget users that have left."""
        for key, queue in list(itertools.islice(self._queues.items(), _SWEPT_AT_ONCE)):
            if queue.is_idle_full(now):
                del self._queues[key]
                self._active.pop(queue, None)
            else:
                self._queues.move_to_end(key)

    async def flush(self, user: str | None) -> None:
        """Send the reports of *user*, or all; close the connections if they are not in use."""
        ours = [queue for queue, of in self._active.items() if user in (of, None)]
        await asyncio.gather(*(queue.flush() for queue in ours))
        self._active = {queue: of for queue, of in self._active.items() if not queue.is_idle}
        if not self._active:
            await self.server.aclose()


def _address(url: str, command_timeout: float) -> Address | str:
    try:
        from htx_async.ratelimit.redis.server import Address  # noqa: PLC0415 - an extra
    except ImportError:
        return _NOT_INSTALLED
    return Address.of(url, command_timeout)


def _problem(user: object, fallback: object, command_timeout: object) -> str:
    """Return what is wrong with the arguments; empty if nothing is."""
    try:
        if user is not None and not validation.instance_of(user, str, "user", "text or None"):
            return "user must not be empty"
        if fallback is not None:
            validation.fraction(fallback, "fallback")
        validation.positive_seconds(command_timeout, "command_timeout")
    except InvalidInputError as error:
        return str(error)
    return ""
