"""One budget for many processes and machines."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import attrs

from htx_async.clock import running_loop
from htx_async.errors import InvalidInputError
from htx_async.ratelimit.limiter import RateLimiter, lock

if TYPE_CHECKING:
    from htx_async.clock import Clock
    from htx_async.ratelimit.queue import TokenQueue
    from htx_async.ratelimit.redis.connection import RedisServer
    from htx_async.ratelimit.redis.lease_queue import LeaseQueue
    from htx_async.request import Endpoint


def _of_share(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        return
    msg = f"{attribute.name} must be a number above 0, at most 1: got {value!r:.40}"
    raise InvalidInputError(msg)


@attrs.frozen
class Share:
    """
    Go on with a part of HTX's limits while Redis is away.

    Attributes:
        of_limit: The part of every limit that each process takes, above 0, at most 1; one request
            at least. The parts of all processes should not exceed 1 together.
    """

    of_limit: float = attrs.field(validator=_of_share)


class RedisRateLimiter(RateLimiter):
    """
    The tokens of one HTX user, shared by processes and machines through a Redis or Valkey server.

    Pass it as `rate_limiter=` to the clients of all of them. It may serve any number of clients and
    event loops. Its connections are opened by the first read, and closed with the last client of
    the loop; `async with`, or `aclose()`, closes them in any case.

    While Redis is away, reads that need a token fail with `RateLimitQueueError`, which is repeated as
    other retryable errors are, unless *on_outage* says what to do instead. Either way it is
    logged once, by the logger `htx_async`.

    Args:
        url: Where the server is: `redis://`, `rediss://` (TLS) or `unix://`, with user, password
            and options as redis-py reads them. Redis 6.2 or later; a primary, no cluster.
        user: A name of your own for the HTX user: clients with different keys of that user join
            by it. `None`: the access key stands for its user. In Redis there is only a hash.
        on_outage: `Share(0.25)`: go on with a part of the limits; `None`: fail.

    Raises:
        InvalidInputError: An argument cannot be right, or the extra `redis` is not installed.
    """

    _shown = "..."  # until it is made

    def __init__(
        self, url: str, *, user: str | None = None, on_outage: Share | None = None
    ) -> None:
        from htx_async.ratelimit.redis.connection import address_of  # noqa: PLC0415 - few make one

        super().__init__()
        found = _fault(user, on_outage) or address_of(url)
        del url  # it may hold a password, and must not show in a traceback
        if isinstance(found, str):
            raise InvalidInputError(found)
        self._address, self._user, self._on_outage = found, user, on_outage
        self._shown = found.shown
        # What runs on a loop, and the budgets of single keys, which share it.
        self._servers: dict[asyncio.AbstractEventLoop, RedisServer] = {}
        self._of_keys: dict[Hashable, RedisRateLimiter] = {}

    def for_keys(self, owner: Hashable) -> RedisRateLimiter:
        """Return the budget that a client spends whose keys are *owner*'s."""
        if self._user is not None:
            return self
        if not isinstance(owner, str):
            msg = "a provider does not tell whose keys they are: RedisRateLimiter(url, user=...)"
            raise InvalidInputError(msg)
        with lock:
            if owner not in self._of_keys:
                self._of_keys[owner] = self._copy(f"key {owner}")
            return self._of_keys[owner]

    def _copy(self, user: str) -> RedisRateLimiter:
        copied = RedisRateLimiter.__new__(RedisRateLimiter)
        vars(copied).update(vars(self) | {"_user": user, "_queues": {}})
        return copied

    def _found(self, left: TokenQueue | None, endpoint: Endpoint[Any], clock: Clock) -> TokenQueue:
        """Return a queue; the server knows what a closed loop has left."""
        from htx_async.ratelimit.redis.lease_queue import LeaseQueue  # noqa: PLC0415 - few make one
        from htx_async.ratelimit.redis.protocol import Place, user_key  # noqa: PLC0415 - few make one

        del left
        if self._user is None:
            msg = "this budget has no user yet: RedisRateLimiter(url, user=...), or pass it to a client"
            raise InvalidInputError(msg)
        place = Place(user_key(self._user), endpoint.name, endpoint.limit)
        share = self._on_outage.of_limit if self._on_outage else None
        return LeaseQueue(place, self._server(), clock, share)

    def _server(self) -> RedisServer:
        from htx_async.ratelimit.redis.connection import RedisServer  # noqa: PLC0415 - few make one

        loop, share = running_loop(), self._on_outage
        then = f"calls go on with {share.of_limit:g} of the limits" if share else "calls fail"
        server = self._servers.get(loop) if loop else None
        if server is None:
            server = RedisServer(self._address, then)
            if loop is not None:
                self._forget_closed()
                self._servers[loop] = server
        return server

    def _forget_closed(self) -> None:
        for loop in [each for each in self._servers if each.is_closed()]:
            del self._servers[loop]

    async def settled(self) -> None:
        """Tell Redis what it should know yet; close the connections if nobody uses them."""
        loop = asyncio.get_running_loop()
        queues = self._queues_of(loop)
        for queue in queues:
            await queue.settled()
        server = self._servers.get(loop)
        if server is not None and all(queue.is_idle for queue in self._queues_of(loop)):
            await server.aclose()

    def _queues_of(self, loop: asyncio.AbstractEventLoop) -> list[LeaseQueue]:
        budgets: Iterable[RedisRateLimiter] = tuple(self._of_keys.values()) or (self,)
        return [queue for budget in budgets for queue in budget._lent(loop)]  # noqa: SLF001 - its own

    def _lent(self, loop: asyncio.AbstractEventLoop) -> list[LeaseQueue]:
        found = [of_loops.get(loop) for of_loops in tuple(self._queues.values())]
        return cast("list[LeaseQueue]", [queue for queue in found if queue is not None])

    async def aclose(self) -> None:
        """
        Close the connections of the running loop; closing twice is fine.

        Close the clients first. One that asks again opens new connections.
        """
        await self.settled()
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
        msg = "a RedisRateLimiter is not pickled: its URL may hold a password. Make one in each process"
        raise TypeError(msg)

    def __repr__(self) -> str:
        return f"RedisRateLimiter({self._shown!r})"


def _fault(user: object, on_outage: object) -> str:
    """Return what is wrong with the arguments, if anything."""
    if user is not None and (not isinstance(user, str) or not user):
        return f"user must be a name, not {type(user).__name__}" if user != "" else "user is empty"
    if on_outage is not None and not isinstance(on_outage, Share):
        return f"on_outage must be Share(...) or None, not {type(on_outage).__name__}"
    return ""
