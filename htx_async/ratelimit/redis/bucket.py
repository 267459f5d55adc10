"""The tokens that one worker has of a bucket in Redis. Time is an argument; there is no I/O."""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import Final

from msgspec.structs import replace

from htx_async.ratelimit.redis.exchange import (
    MARGIN,
    MAX_ATTEMPT_TIMEOUT,
    MICRO,
    Reply,
    Request,
    micros,
)
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket

REPORT_DELAY: Final = 0.02
"""Seconds for which a report waits for others."""
RECONNECT_DELAY: Final = 1.0
"""Seconds between two attempts to reach Redis while it is unavailable."""
_TOLERANCE: Final = 0.1
"""Seconds by which the server's clock may be ahead, besides the duration of an exchange."""
_POLL_TOLERANCE: Final = 0.05
_MEMORY: Final = 12 * 3600.0
"""Seconds for which a reply counts, less than Redis keeps a bucket."""


class RedisPermit(Permit, frozen=True, kw_only=True):
    """A token that Redis has leased, and the generation of its bucket."""

    name: int
    generation: str
    usable_until: float


class RedisBucket(TokenBucket):
    """
    The tokens that Redis has leased to one worker, and what the worker has yet to report.

    While Redis is unavailable, tokens come from *fallback*, a bucket in this process, if there is
    one.

    Attributes:
        worker: Random id of the worker.
        lease: Length of a lease in seconds.
        fallback: Bucket with a fraction of the limit, or `None`.
        is_available: Whether the last exchange succeeded.
        is_missed: Whether a caller needed Redis while it was not available.
        poll_at: When to request tokens again that were not available, or to reconnect.
        report_at: When to report, at the latest.
    """

    __slots__ = (
        "_block",
        "_block_sent",
        "_counted",
        "_fallback_names",
        "_held",
        "_in_use",
        "_names",
        "_replied_at",
        "_reply",
        "_requests",
        "_resync",
        "_round_trip",
        "_stash",
        "_unused",
        "_used",
        "_wanted",
        "fallback",
        "is_available",
        "is_missed",
        "lease",
        "poll_at",
        "report_at",
        "worker",
    )

    def __init__(self, limit: RateLimit, worker: str, fallback: float | None = None) -> None:
        super().__init__(limit)
        self.free: int = limit.requests
        self.blocked_until: float = -math.inf
        self.worker: str = worker
        self.lease: float = MAX_ATTEMPT_TIMEOUT + MARGIN + limit.per
        self.fallback: TokenBucket | None = None
        if fallback is not None:
            requests = max(1, math.floor(limit.requests * fallback))
            self.fallback = TokenBucket(RateLimit(requests, limit.per))
        self.is_available: bool = True
        self.is_missed: bool = False
        self.poll_at: float = -math.inf
        self.report_at: float = math.inf
        self._names = itertools.count(1)
        self._requests = 0
        self._reply: Reply | None = None
        self._replied_at = -math.inf
        self._round_trip = 0.0
        self._resync = False
        # Tokens by name: wanted, since when; leased and not yet issued; in use; to be reported, and
        # when the response began to arrive, or since when nobody needs them.
        self._wanted: dict[int, float] = {}
        self._stash: deque[RedisPermit] = deque()
        self._in_use: set[int] = set()
        self._used: dict[int, float] = {}
        self._unused: dict[int, float] = {}
        self._held: dict[int, float] = {}
        # The names by which Redis knows tokens of the fallback, by their sequence number.
        self._fallback_names: dict[int, int] = {}
        # Until when HTX's 429s block the bucket, as far as Redis has not confirmed it.
        self._block = self._block_sent = -math.inf
        self._counted = (-1, 0.0)

    @property
    def in_use(self) -> int:
        """The number of tokens of attempts that may still run."""
        return len(self._in_use) + (self.fallback.in_use if self.fallback else 0)

    @property
    def _active_fallback(self) -> TokenBucket | None:
        return None if self.is_available else self.fallback

    # Tokens

    def try_acquire(self, now: float, until: float = math.inf) -> Permit | None:
        """Acquire a token for an attempt that is over at *until*; `None` if none is available."""
        if fallback := self._active_fallback:
            self.is_missed = True
            return fallback.try_acquire(now, until)
        while self._stash and now >= self.blocked_until:
            permit = self._stash.popleft()
            if until <= permit.usable_until:
                self._in_use.add(permit.name)
                return replace(permit, until=until)
            self._unused[permit.name] = now
        return None

    def release_unused(self, permit: Permit) -> None:
        """Let the next caller have a token that no request used, or Redis."""
        if isinstance(permit, RedisPermit):
            self._in_use.discard(permit.name)
            self._stash.append(permit)
        else:
            assert self.fallback is not None
            self.fallback.release_unused(permit)
            if name := self._fallback_names.pop(permit.sequence, 0):
                self._unused[name] = self._replied_at
        self.report_at = -math.inf

    def release_at(self, permit: Permit, first_byte_at: float) -> None:
        """Report a token whose response began to arrive at *first_byte_at*."""
        if isinstance(permit, RedisPermit):
            self._in_use.discard(permit.name)
            self._used[permit.name] = first_byte_at
        else:
            assert self.fallback is not None
            self.fallback.release_at(permit, first_byte_at)
            if name := self._fallback_names.pop(permit.sequence, 0):
                self._used[name] = first_byte_at
        self.report_at = min(self.report_at, first_byte_at + REPORT_DELAY)

    def apply_server_remaining(self, permit: Permit, remaining: int, until: float) -> int:
        """
        Report what HTX has counted, from the requests that it allows until *until*.

        Return the number of requests that others have sent: 0, because the reply of Redis has it.
        """
        if not isinstance(permit, RedisPermit):
            assert self.fallback is not None
            return self.fallback.apply_server_remaining(permit, remaining, until)
        if self._reply and permit.generation == self._reply.generation:
            counted = permit.free_after + permit.sequence - remaining
            if counted > max(self._reply.issued, self._counted[0]):
                self._counted = (counted, until)
        return 0

    def block_until(self, until: float) -> None:
        """Issue no permit before *until*, in any process: HTX returned a 429."""
        super().block_until(until)
        self._block = self.blocked_until
        self.report_at = -math.inf
        if self.fallback is not None:
            self.fallback.block_until(until)

    # Waiting

    def refill(self, now: float) -> None:
        """Update the number of free tokens that the last reply stated."""
        if fallback := self._active_fallback:
            fallback.refill(now)
            self.free = fallback.free

    def is_full(self, now: float) -> bool:
        """Return whether every token is free, as far as this worker knows."""
        return not self.in_use and not self.has_reports and now >= self._replied_at + self.lease

    def next_available_at(self) -> float:
        """Return when a token will be available without an exchange."""
        fallback = self._active_fallback
        return fallback.next_available_at() if fallback else math.inf

    def wait(self, now: float, ahead: int = 0) -> float:
        """Return the minimum number of seconds until a token is available, from the last reply."""
        if fallback := self._active_fallback:
            return fallback.wait(now, ahead)
        if not self.is_available:  # it is not known, and the caller fails at once
            return 0.0
        available_at = max(self.poll_at, self.blocked_until)
        return max(available_at - now, 0.0) + ahead // self.limit.requests * self.limit.per

    def exchange_at(self, wanted: int) -> float:
        """Return when to send a request, if callers can use *wanted* tokens."""
        if not self.is_available:
            is_of_use = wanted or self.is_missed or self.has_reports
            return self.poll_at if is_of_use else math.inf
        if self._stash and not wanted:  # nobody can use it now
            return -math.inf
        return min(self.poll_at if wanted else math.inf, self.report_at)

    @property
    def has_reports(self) -> bool:
        """Whether there is anything to report to Redis."""
        reports = (self._used, self._unused, self._held, self._stash, self._wanted)
        return any(reports) or self._block > -math.inf

    # Exchanges

    def next_request(self, now: float, wanted: int) -> Request:
        """Return the next request, for *wanted* tokens."""
        if now > self._replied_at + _MEMORY:
            self._reply = None
        self._name_wanted(now, 0 if self._active_fallback else wanted)
        self._requests += 1
        self.report_at = math.inf
        self.is_missed = False
        self._block_sent = self._block
        counted, counted_until = self._counted
        reply, per = self._reply, self.limit.per
        return Request(
            worker=self.worker,
            sequence=self._requests,
            limit=self.limit.requests,
            per=micros(per),
            lease=micros(self.lease),
            generation=reply.generation if reply else "",
            expected=reply.clock + micros(now - self._replied_at) if reply else -1,
            slack=micros(self._slack),
            resync=self._resync,
            poll_tolerance=micros(_POLL_TOLERANCE + self._round_trip),
            want=list(self._wanted),
            used=[(name, micros(now - at)) for name, at in self._used.items()],
            unused=list(self._unused),
            held=[(name, micros(until - now)) for name, until in self._held.items()],
            block=micros(max(self._block - now, 0.0)),
            counted=counted,
            counted_for=micros(min(max(counted_until - now, 0.0), per)),
        )

    def _name_wanted(self, now: float, wanted: int) -> None:
        """Name *wanted* tokens; repeat recent names whose reply was lost."""
        self._unused.update((permit.name, now) for permit in self._stash)
        self._stash.clear()
        names = [name for name, since in self._wanted.items() if now < since + MARGIN][:wanted]
        self._unused.update((name, now) for name in self._wanted.keys() - set(names))
        names += itertools.islice(self._names, wanted - len(names))
        self._wanted = {name: self._wanted.get(name, now) for name in names}

    @property
    def _slack(self) -> float:
        return min(_TOLERANCE + 1.5 * self._round_trip, MARGIN)

    def on_reply(self, request: Request, reply: Reply, sent_at: float, now: float) -> None:
        """Take the tokens that Redis has leased, and forget what it knows now."""
        round_trip = now - sent_at
        # A clock that is ahead although the exchange was fast has been set forward.
        self._resync = not reply.is_verified and round_trip <= self._slack
        self._round_trip = round_trip
        if self._active_fallback is not None:
            self._end_fallback(self._active_fallback, now)
        self.is_available = True
        if reply.is_verified:
            self._on_verified(request, reply, now)
        else:
            self.poll_at = self.report_at = now

    def _on_verified(self, request: Request, reply: Reply, now: float) -> None:
        self._reply, self._replied_at, self.free = reply, now, reply.free
        for name, _ in request.used:
            self._used.pop(name, None)
        for name in request.unused:
            self._unused.pop(name, None)
        for name, _ in request.held:
            self._held.pop(name, None)
        if self._block == self._block_sent:
            self._block = -math.inf
        self.blocked_until = max(self._block, now + reply.blocked / MICRO)
        if self._counted[0] == request.counted:
            self._counted = (-1, 0.0)
        is_satisfied = len(reply.leased) + len(reply.leased_before) == len(request.want)
        # The next request takes time to arrive.
        poll_in = max(reply.poll / MICRO - self._round_trip, 0.0)
        self.poll_at = -math.inf if is_satisfied else now + poll_in
        for behind, name in enumerate(reversed(reply.leased)):
            self._take(name, Permit(reply.free + behind, reply.issued - behind))
        for name in reversed(reply.leased_before):
            self._take(name, Permit(0, 0))
        self._wanted.clear()

    def _take(self, name: int, permit: Permit) -> None:
        assert self._reply is not None
        usable_until = self._wanted[name] + MARGIN + MAX_ATTEMPT_TIMEOUT
        self._stash.appendleft(
            RedisPermit(
                permit.free_after,
                permit.sequence,
                name=name,
                generation=self._reply.generation,
                usable_until=usable_until,
            )
        )

    def on_failure(self, now: float) -> None:
        """Note that a request may not have reached Redis, or that its reply was lost."""
        if self.is_available and self.fallback is not None:
            # HTX counts the requests that other workers send with the tokens that they have.
            self.fallback.block_until(now + MARGIN + self.limit.per)
        self.is_available = False
        self.poll_at = now + RECONNECT_DELAY
        for reports in (self._used, self._unused):
            for name in [name for name, at in reports.items() if at < now - self.lease]:
                del reports[name]  # its lease is over

    def _end_fallback(self, fallback: TokenBucket, now: float) -> None:
        """Report the tokens of the fallback; other workers may use theirs for a little longer."""
        for sequence, until in fallback.open_attempts().items():
            name = next(self._names)
            self._held[name], self._fallback_names[sequence] = until + self.limit.per, name
        self._block = max(self._block, now + MARGIN + self.limit.per)
        self.blocked_until = max(self.blocked_until, self._block)
        self.report_at = -math.inf

    def __repr__(self) -> str:
        limit, per = self.limit.requests, self.limit.per
        return (
            f"<RedisBucket {self.free}/{limit} free, {self.in_use} in use, {limit} per {per:g} s>"
        )
