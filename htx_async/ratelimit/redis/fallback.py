"""The fixed share of a limit that a queue goes on with while the server of the tokens is away."""

from __future__ import annotations

import itertools
import math

from htx_async.ratelimit.redis.protocol import VALID, Lease, Note
from htx_async.ratelimit.token_bucket import Bucket, Grant, RateLimit


class Spare:
    """
    A bucket of its own, shut as long as the server is there. *share*: `None`: it never opens.

    It opens drained, and leaves the server's bucket drained as it shuts: what others were granted
    by the server before, or have taken of their shares meanwhile, is counted by HTX all the same.
    """

    def __init__(self, limit: RateLimit, share: float | None) -> None:
        self._limit = None
        if share is not None:
            self._limit = RateLimit(max(1, math.floor(limit.requests * share)), limit.per)
        self._per = limit.per
        self._bucket: Bucket | None = None
        self._out: dict[str, Lease] = {}
        self._numbers = itertools.count()

    @property
    def is_open(self) -> bool:
        """Whether it is what callers get tokens from."""
        return self._bucket is not None

    @property
    def can_open(self) -> bool:
        """Whether there is a share to go on with."""
        return self._limit is not None

    def open(self, now: float) -> None:
        """Begin. What the server has granted until *now* may leave for a moment yet."""
        assert self._limit is not None
        self._bucket = bucket = Bucket(self._limit)
        while bucket.take(now):
            bucket.settle(now + VALID)

    def shut(self, now: float) -> list[Note]:
        """End, and return what the server should know: others may be about to find it again."""
        notes = [
            Note("kept", lease.token, lease.covers + self._per) for lease in self._out.values()
        ]
        self._bucket = None
        self._out.clear()
        return [*notes, Note("closed", at=now + VALID + self._per)]

    def take(self, now: float, owner: str, until: float) -> Lease | None:
        """Take a token for an attempt that ends at *until*; `None`: there is none."""
        grant = self._bucket.take(now) if self._bucket is not None else None
        if grant is None:
            return None
        # A name that no token of the server has.
        token = f"{owner}:spare{next(self._numbers)}"
        lease = Lease(grant.free, grant.number, token, now + VALID, max(until, now + VALID))
        self._out[token] = lease
        return lease

    def settle(self, lease: Lease, began: float) -> bool:
        """Return a token whose answer *began* then; tell whether it was one of these."""
        if self._bucket is None or not self._out.pop(lease.token, None):
            return False
        self._bucket.settle(began)
        return True

    def give_back(self, lease: Lease) -> bool:
        """Return a token that no request has used; tell whether it was one of these."""
        if self._bucket is None or not self._out.pop(lease.token, None):
            return False
        self._bucket.give_back()
        return True

    def hear(self, grant: Grant, remain: int, until: float) -> None:
        """Believe HTX that only *remain* requests are left until *until*."""
        if self._bucket is not None:
            self._bucket.hear(grant, remain, until)

    def close(self, until: float) -> None:
        """Grant nothing until *until*: HTX has refused a request."""
        if self._bucket is not None:
            self._bucket.close(until)

    def next_at(self) -> float:
        """Return when there will be a token; infinity while all are out."""
        return math.inf if self._bucket is None else self._bucket.next_at()

    def wait(self, now: float, ahead: int) -> float:
        """Return the least seconds until a token for someone with *ahead* before them."""
        assert self._bucket is not None
        return self._bucket.wait(now, ahead)

    def __repr__(self) -> str:
        return f"<Spare {self._bucket!r}>" if self._bucket else "<Spare, shut>"
