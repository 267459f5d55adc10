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

import attrs
import msgspec


@attrs.frozen
class RateLimit:
    """
    What HTX allows one user at one endpoint.

    Attributes:
        requests: Number of requests.
        per: Seconds: no window of so many may have more.
    """

    requests: int
    per: float


class Grant(msgspec.Struct, frozen=True):
    """
    The right to send one request.

    Attributes:
        free: Tokens that were left after this one was taken.
        number: The how-manieth grant of the bucket it is.
    """

    free: int
    number: int


class Bucket:
    """
    Tokens: free, out with a request, or on their way back. All times are monotonic seconds.

    Nothing here costs more with more who wait; a token costs `log(limit)`.
    """

    __slots__ = ("_granted", "_returns", "closed_until", "free", "limit", "out")

    def __init__(self, limit: RateLimit) -> None:
        self.limit: RateLimit = limit
        self.free: int = limit.requests
        self.out: int = 0
        self.closed_until: float = -math.inf
        # When the tokens that are on their way back will be here, a heap.
        self._returns: list[float] = []
        self._granted = 0

    def take(self, now: float) -> Grant | None:
        """Take a token; `None`: there is none."""
        self.collect(now)
        if not self.free or now < self.closed_until:
            return None
        self.free -= 1
        self.out += 1
        self._granted += 1
        return Grant(self.free, self._granted)

    def collect(self, now: float) -> None:
        """Let the tokens in that are back."""
        returns = self._returns
        while returns and returns[0] <= now:
            heapq.heappop(returns)
            self.free += 1

    def give_back(self) -> None:
        """Return a token that no request has used."""
        self.out -= 1
        self.free += 1

    def settle(self, began: float) -> None:
        """Return a token, to be used `per` seconds after its answer *began*."""
        self.out -= 1
        heapq.heappush(self._returns, began + self.limit.per)

    def hear(self, grant: Grant, remain: int, until: float) -> None:
        """
        Believe HTX that only *remain* requests are left until *until*: somebody else asks, too.

        When the answer to *grant* was made, HTX had counted nothing of ours but tokens that were
        not free then. So if nobody else asked, *remain* is at least what was free at the grant,
        less what was granted since; what it falls short of that, others have spent.
        """
        spent = grant.free - (self._granted - grant.number) - remain
        for _ in range(min(spent, self.free)):
            self.free -= 1
            heapq.heappush(self._returns, until)

    def close(self, until: float) -> None:
        """Grant nothing until *until*: HTX has refused a request."""
        self.closed_until = max(self.closed_until, until)

    def successor(self, now: float) -> Bucket:
        """
        Return a bucket that goes on where this one stopped: the loop that used it is closed.

        What is out is over. The old one may still be told so when its tasks are collected, and
        must not count twice: hence a new one.
        """
        bucket = Bucket(self.limit)
        bucket.closed_until = self.closed_until
        bucket.free = self.free
        bucket._returns = [*self._returns, *[now + self.limit.per] * self.out]
        heapq.heapify(bucket._returns)
        return bucket

    def is_full(self, now: float) -> bool:
        """Tell whether every token is, or could be, free. Changes nothing: any thread may ask."""
        return not self.out and now >= max((self.closed_until, *self._returns))

    def next_at(self) -> float:
        """Return when there will be a token; infinity while all are out."""
        if self.free:
            return self.closed_until
        return max(self._returns[0], self.closed_until) if self._returns else math.inf

    def wait(self, now: float, ahead: int = 0) -> float:
        """
        Return the least seconds until a token for someone with *ahead* before them.

        Requests that are out are taken to be answered now, and those ahead at once.
        """
        self.collect(now)
        rounds, place = divmod(ahead, self.limit.requests)
        at = max(self._back_at(place, now), self.closed_until) + rounds * self.limit.per
        return max(at - now, 0.0)

    def _back_at(self, place: int, now: float) -> float:
        if place < self.free:
            return now
        back = sorted(self._returns)[place - self.free : place - self.free + 1]
        return back[0] if back else now + self.limit.per

    def __repr__(self) -> str:
        limit, per = self.limit.requests, self.limit.per
        return f"<Bucket {self.free}/{limit} free, {self.out} out, {limit} per {per:g} s>"


class Bottomless(Bucket):
    """Always has a token, whatever HTX says: for servers that do not count."""

    __slots__ = ()

    out: int

    def __init__(self) -> None:
        super().__init__(RateLimit(10**9, per=0.0))

    def take(self, now: float) -> Grant | None:
        """Take a token."""
        del now
        self.out += 1
        return Grant(0, 0)

    def give_back(self) -> None:
        """Return a token that no request has used."""
        self.out -= 1

    def settle(self, began: float) -> None:
        """Return a token."""
        del began
        self.out -= 1

    def hear(self, grant: Grant, remain: int, until: float) -> None:
        """Ignore what HTX says."""

    def close(self, until: float) -> None:
        """Ignore a refusal."""

    def successor(self, now: float) -> Bucket:
        """Return another one."""
        del now
        return Bottomless()
