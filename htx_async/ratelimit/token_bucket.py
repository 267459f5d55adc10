"""
Token bucket that stays below HTX's rate limit in every window.

HTX allows `requests` requests of one user to one endpoint in any `per` seconds. The bucket holds
`requests` tokens. A request acquires one token, and the token becomes available again `per`
seconds after the first byte of the response has arrived.

Why no window exceeds the limit, however HTX aligns its windows and whatever the network jitter:
HTX counts a request before it sends the first byte of the response. When a token is acquired
again, HTX has therefore counted the previous request of that token at least `per` seconds ago,
and the next request has yet to arrive. So each token is counted at most once in any window of
`per` seconds, and `requests` tokens at most `requests` times.

A request without a response is over once its connection is closed, and its token returns `per`
seconds later. An attempt is over at a time that is known when it starts (`until`): if it never
returns its token, e.g. because its event loop was abandoned, the token returns `MARGIN` and `per`
seconds after that time.

Assumptions: no part of a request arrives after its attempt is over, and HTX never counts a request
for which no connection was established.

Why not the usual algorithms: a bucket that refills while it is drained admits nearly
`2 * requests` requests in its first window. A bucket that counts from the time of sending admits
too many when one request is slow on its way and the next one is fast, as both arrive in one
window.
"""

from __future__ import annotations

import heapq
import math
from typing import Final

import attrs
import msgspec

MARGIN: Final = 1.0
"""Seconds by which an attempt may be late, before its token is taken back."""


@attrs.frozen
class RateLimit:
    """
    Number of requests that HTX allows one user at one endpoint.

    Attributes:
        requests: Maximum number of requests in any `per` seconds.
        per: Length of the window in seconds.
    """

    requests: int
    per: float


class Permit(msgspec.Struct, frozen=True):
    """
    Permission to send one request.

    Attributes:
        free_after: Number of free tokens left after this one was acquired.
        sequence: Number of permits that the bucket had issued, this one included.
        until: Latest end of the attempt, in monotonic seconds.
    """

    free_after: int
    sequence: int
    until: float = math.inf


class TokenBucket:
    """
    Tokens that are free, in use by a request, or returning. All times are monotonic seconds.

    The cost of an operation is `log(limit)` and does not depend on the number of waiters.
    """

    __slots__ = (
        "_expires_from",
        "_returns",
        "_sequence",
        "_until",
        "blocked_until",
        "free",
        "limit",
    )

    def __init__(self, limit: RateLimit) -> None:
        self.limit: RateLimit = limit
        self.free: int = limit.requests
        self.blocked_until: float = -math.inf
        # A heap of the times at which the returning tokens become free.
        self._returns: list[float] = []
        self._sequence = 0
        # When the tokens in use are taken back, by sequence; and a lower bound of those times.
        self._until: dict[int, float] = {}
        self._expires_from = math.inf

    @property
    def in_use(self) -> int:
        """The number of tokens of attempts that may still run."""
        return len(self._until)

    def try_acquire(self, now: float, until: float = math.inf) -> Permit | None:
        """Acquire a token for an attempt that is over at *until*; `None` if none is available."""
        self.refill(now)
        if not self.free or now < self.blocked_until:
            return None
        self.free -= 1
        self._sequence += 1
        self._until[self._sequence] = until + MARGIN
        self._expires_from = min(self._expires_from, until + MARGIN)
        return Permit(self.free, self._sequence, until)

    def refill(self, now: float) -> None:
        """Free the tokens that have returned by *now*."""
        if now >= self._expires_from:
            self._expire(now)
        returns = self._returns
        while returns and returns[0] <= now:
            heapq.heappop(returns)
            self.free += 1

    def _expire(self, now: float) -> None:
        """Let the tokens of attempts that must be over return."""
        for sequence in [key for key, until in self._until.items() if until <= now]:
            heapq.heappush(self._returns, self._until.pop(sequence) + self.limit.per)
        self._expires_from = min(self._until.values(), default=math.inf)

    def release_unused(self, permit: Permit) -> None:
        """Free a token at once: no request used it."""
        if self._until.pop(permit.sequence, None) is not None:
            self.free += 1

    def release_at(self, permit: Permit, first_byte_at: float) -> None:
        """Free a token `per` seconds after *first_byte_at*, when its response began to arrive."""
        if self._until.pop(permit.sequence, None) is not None:
            heapq.heappush(self._returns, first_byte_at + self.limit.per)

    def apply_server_remaining(self, permit: Permit, remaining: int, until: float) -> int:
        """
        Withhold free tokens until *until* if HTX reports fewer *remaining* requests than expected.

        Return the number of requests that others have sent.

        When HTX wrote the response to *permit*, it had counted no request of this bucket other
        than those whose tokens were not free at that time. If nobody else uses the limit,
        *remaining* is therefore at least the number of tokens that were free after the permit
        was issued, minus the permits issued since. Other clients of the user have consumed the
        difference.
        """
        issued_since = self._sequence - permit.sequence
        used_by_others = max(permit.free_after - issued_since - remaining, 0)
        for _ in range(min(used_by_others, self.free)):
            self.free -= 1
            heapq.heappush(self._returns, until)
        return used_by_others

    def block_until(self, until: float) -> None:
        """Issue no permit before *until*: HTX returned a 429."""
        self.blocked_until = max(self.blocked_until, until)

    def open_attempts(self) -> dict[int, float]:
        """Return when each attempt that may still run will be over, by sequence of its permit."""
        return dict(self._until)

    def is_full(self, now: float) -> bool:
        """Return whether every token is free by *now*."""
        self.refill(now)
        return self.free == self.limit.requests and now >= self.blocked_until

    def next_available_at(self) -> float:
        """Return the earliest time at which a token may be available, if none is released."""
        if self.free:
            return self.blocked_until
        returned_at = self._returns[0] if self._returns else math.inf
        return max(min(returned_at, self._expires_from + self.limit.per), self.blocked_until)

    def wait(self, now: float, ahead: int = 0) -> float:
        """
        Return the minimum number of seconds until a token is available behind *ahead* waiters.

        The estimate assumes that all open requests, and those of the waiters ahead, get their
        responses immediately.
        """
        self.refill(now)
        rounds, position = divmod(ahead, self.limit.requests)
        available_at = max(self._free_at(position, now), self.blocked_until)
        return max(available_at + rounds * self.limit.per - now, 0.0)

    def _free_at(self, position: int, now: float) -> float:
        if position < self.free:
            return now
        index = position - self.free
        returns = sorted(self._returns)[index : index + 1]
        return returns[0] if returns else now + self.limit.per

    def __repr__(self) -> str:
        limit, per = self.limit.requests, self.limit.per
        return (
            f"<TokenBucket {self.free}/{limit} free, {self.in_use} in use, {limit} per {per:g} s>"
        )


class UnlimitedBucket(TokenBucket):
    """Bucket that always has a token, for servers without a rate limit."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(RateLimit(10**9, per=0.0))

    def apply_server_remaining(self, permit: Permit, remaining: int, until: float) -> int:
        """Ignore the number of remaining requests."""
        del permit, remaining, until
        return 0

    def block_until(self, until: float) -> None:
        """Ignore a 429."""
