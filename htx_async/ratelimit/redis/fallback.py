"""The fraction of a limit that a queue uses while the lease server is unavailable."""

from __future__ import annotations

import itertools
import math

from htx_async.ratelimit.redis.protocol import GRANT_TTL, Lease, LeaseUpdate
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket


class LocalFallback:
    """
    A local bucket that is active while the server is unavailable. *fraction* `None`: never.

    The bucket starts empty, and the server's bucket is blocked for `per` when it ends: HTX counts
    the earlier grants of the server, and the requests that other processes sent meanwhile.
    """

    def __init__(self, limit: RateLimit, fraction: float | None) -> None:
        self._limit = None
        if fraction is not None:
            self._limit = RateLimit(max(1, math.floor(limit.requests * fraction)), limit.per)
        self._per = limit.per
        self._bucket: TokenBucket | None = None
        self._in_use: dict[str, Lease] = {}
        self._numbers = itertools.count()

    @property
    def is_active(self) -> bool:
        """Whether callers get their tokens from here."""
        return self._bucket is not None

    @property
    def available(self) -> bool:
        """Whether a fraction is configured."""
        return self._limit is not None

    def activate(self, now: float) -> None:
        """Start. Grants of the server may be used for `GRANT_TTL` after *now*."""
        assert self._limit is not None
        self._bucket = bucket = TokenBucket(self._limit)
        while bucket.try_acquire(now):
            bucket.release_at(now + GRANT_TTL)

    def deactivate(self, now: float) -> list[LeaseUpdate]:
        """Stop; return updates for the server, which other processes may reach a little later."""
        updates = [
            LeaseUpdate("held", lease.token, lease.covers + self._per)
            for lease in self._in_use.values()
        ]
        self._bucket = None
        self._in_use.clear()
        return [*updates, LeaseUpdate("blocked", at=now + GRANT_TTL + self._per)]

    def try_acquire(self, now: float, queue_id: str, deadline: float) -> Lease | None:
        """Acquire a token for an attempt that ends at *deadline*; `None`: none is available."""
        permit = self._bucket.try_acquire(now) if self._bucket is not None else None
        if permit is None:
            return None
        # A name that no token of the server has.
        token = f"{queue_id}:fallback{next(self._numbers)}"
        covers = max(deadline, now + GRANT_TTL)
        lease = Lease(permit.free_after, permit.sequence, token, now + GRANT_TTL, covers)
        self._in_use[token] = lease
        return lease

    def release_at(self, lease: Lease, first_byte_at: float) -> bool:
        """Release a token after its response; return whether it was one of this bucket."""
        if self._bucket is None or not self._in_use.pop(lease.token, None):
            return False
        self._bucket.release_at(first_byte_at)
        return True

    def release_unused(self, lease: Lease) -> bool:
        """Release a token that no request used; return whether it was one of this bucket."""
        if self._bucket is None or not self._in_use.pop(lease.token, None):
            return False
        self._bucket.release_unused()
        return True

    def apply_server_remaining(self, permit: Permit, remaining: int, until: float) -> None:
        """Withhold tokens until *until* if HTX reports fewer *remaining* requests."""
        if self._bucket is not None:
            self._bucket.apply_server_remaining(permit, remaining, until)

    def block_until(self, until: float) -> None:
        """Issue no permit before *until*: HTX returned a 429."""
        if self._bucket is not None:
            self._bucket.block_until(until)

    def next_available_at(self) -> float:
        """Return when a token will be available; infinity while all tokens are in use."""
        return math.inf if self._bucket is None else self._bucket.next_available_at()

    def wait(self, now: float, ahead: int) -> float:
        """Return the minimum number of seconds until a token is available behind *ahead*."""
        assert self._bucket is not None
        return self._bucket.wait(now, ahead)

    def __repr__(self) -> str:
        return f"<LocalFallback {self._bucket or 'inactive'}>"
