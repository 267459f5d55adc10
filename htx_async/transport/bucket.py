"""
The rule that HTX never has a reason to refuse us.

HTX allows `limit` requests of one user to one endpoint in `per` seconds. A bucket holds `limit`
tokens. A request takes one, and the token comes back `per` seconds after the answer *began to
arrive*.

Why that is enough, whatever window HTX counts in and whatever the network does: HTX has counted
a request before its answer can begin. So when a token is used again, its earlier request was
counted at least `per` seconds ago, and the next one is still to arrive. One token is therefore
counted at most once in any window of `per` seconds, and `limit` tokens at most `limit` times.

What it assumes: a request without an answer is over once its connection is closed (nothing of it
arrives later), and a request that found no connection was never counted.

Why not the plain ways: a bucket that refills while it is drained lets nearly `2 * limit` through
in its first window; one that counts from the sending lets a request that was slow on its way and
a quick one after it arrive in one window.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from htx_async.transport.request import RateLimit


@attrs.frozen
class Grant:
    """
    The right to send one request.

    Attributes:
        free: Tokens that were left after this one was taken.
        number: The how-manieth grant of the bucket it is.
    """

    free: int
    number: int


class Bucket:
    """Tokens: free, out with a request, or on their way back. All times are monotonic seconds."""

    __slots__ = ("_granted", "_returns", "free", "limit", "out")

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.free = limit.limit
        self.out = 0
        # When the tokens that are on their way back will be here, a heap.
        self._returns: list[float] = []
        self._granted = 0

    def take(self, now: float) -> Grant | None:
        """Take a token; `None`: there is none."""
        returns = self._returns
        while returns and returns[0] <= now:
            heapq.heappop(returns)
            self.free += 1
        if not self.free:
            return None
        self.free -= 1
        self.out += 1
        self._granted += 1
        return Grant(self.free, self._granted)

    def give_back(self) -> None:
        """Return a token that no request has used."""
        self.out -= 1
        self.free += 1

    def settle(self, began: float) -> None:
        """Return a token, to be used `per` seconds after its answer *began*."""
        self.out -= 1
        heapq.heappush(self._returns, began + self.limit.per)

    def next_at(self) -> float:
        """Return when there will be a token; infinity while all are out."""
        if self.free:
            return -math.inf
        return self._returns[0] if self._returns else math.inf

    def __repr__(self) -> str:
        limit, per = self.limit.limit, self.limit.per
        return f"<Bucket {self.free}/{limit} free, {self.out} out, {limit} per {per:g} s>"
