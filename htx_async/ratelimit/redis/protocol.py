"""
The token-bucket rule for many processes: a server holds the tokens and leases them.

The server runs `leases.lua` atomically, on its own clock. This module defines its requests and
replies.

HTX allows `requests` requests in any `per` seconds. The server records up to that many tokens
that are not free: those *leased* to a request, and those *returning*, each with the time at
which it becomes free.

- A grant is a lease. Its token becomes free once the attempt must be over and `per` has passed,
  so a process that dies returns its tokens by doing nothing.
- A response ends the lease. The process reports the age of the first byte by its own monotonic
  clock; the server subtracts the age from its own time and adds `per`. The time that the message
  spends in the network, or waits for the next exchange, only makes the token free later.
- A grant expires `GRANT_TTL` seconds after it was *requested*, by the monotonic clock. An attempt
  that starts earlier is over within the time that the lease covers; an attempt that resumes
  after a pause requests a new grant.

So whenever a token is granted again, either the first byte of its response arrived, or its
attempt was over, at least `per` seconds ago, and HTX had counted its request by then. Each token
is counted at most once in any window of `per` seconds, and `requests` tokens at most `requests`
times: the guarantee of `token_bucket`, over all processes.

Further assumptions: the server's clock is not set forward by hand, and loss of its memory is
detected. It is detected if the server started less than a lease ago, if another server has taken
over (each has an id), and if a process exchanged messages with it less than a lease ago and the
server does not know that process. Then the server grants no token until every lease that it may
have lost is over. A suspended machine stops its monotonic clock, so a request that was about to
be sent may be sent when the machine resumes.

Why processes need no notification of a used token: it becomes free `per` seconds after the first
byte of its response, which is at least nearly `per` after any waiting process learned that it is
leased. Waiting processes poll again no later than that. Only a token that returns unused is free
immediately; the server then notifies the waiting processes.

Order: within a process, first in, first out. Between waiting processes, each may hold an equal
share of the tokens before any of them gets more. If there are more processes than tokens, the
process that was served least recently goes first.
"""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, Protocol, TypeAlias

import attrs

from htx_async.ratelimit.token_bucket import Permit, RateLimit

GRANT_TTL = 1.0
"""Seconds for which a grant may be used, from the time of the request."""
MAX_LEASE = 1e9
"""Upper bound of a lease, and of an attempt, in seconds."""
PREFIX = "htx_async"
"""Prefix of all Redis keys."""

SCRIPT: bytes = pkgutil.get_data(__name__, "leases.lua") or b""
"""The Lua script that the server runs."""

UpdateKind: TypeAlias = Literal["used", "unused", "held", "blocked", "external"]


class Lease(Permit, frozen=True):
    """
    A permit that the server granted.

    Attributes:
        token: Name of the token on the server.
        void_at: When the permit expires, in monotonic seconds.
        covers: Latest end of an attempt that uses it, in monotonic seconds.
    """

    token: str
    void_at: float
    covers: float

    def is_valid(self, now: float, deadline: float) -> bool:
        """Return whether an attempt that is over at *deadline* may start *now*."""
        return now < self.void_at and min(deadline, MAX_LEASE) <= self.covers


@attrs.frozen
class LeaseUpdate:
    """
    An event to report to the server.

    Attributes:
        kind: `used`: the response began; `unused`: no request used the token; `held`: the token
            is still in use; `blocked`: HTX returned a 429; `external`: other clients of the user
            have consumed tokens.
        subject: The token, or for `external` a sequence number.
        at: When it began, or when it ends, in monotonic seconds.
    """

    kind: UpdateKind
    subject: str = ""
    at: float = 0.0

    def arguments(self, now: float) -> tuple[str, str, str]:
        """Return the arguments of the script: `used` has an age, all others a remaining time."""
        seconds = now - self.at if self.kind == "used" else self.at - now
        # Round so that the token becomes free later, never earlier.
        micros = _floor(seconds) if self.kind == "used" else _ceil(seconds)
        return self.kind, self.subject, str(micros)


@attrs.frozen
class ServerMemory:
    """
    State of the server's memory, from its last reply.

    Attributes:
        origin: Since when the server knows every grant, by its own clock.
        exchanged_at: When that reply was requested, in monotonic seconds.
    """

    origin: int = 0
    exchanged_at: float = -math.inf


@attrs.frozen
class BucketKey:
    """Identity of a bucket on the server: *user* is a hash, *endpoint* is method and path."""

    user: str
    endpoint: str
    limit: RateLimit

    def redis_key(self, name: str) -> str:
        """Return the Redis key of *name*; the braces keep one user's keys in one cluster slot."""
        return f"{PREFIX}:{{{self.user}}}:{self.endpoint.replace(' ', ':')}:{name}"


@attrs.frozen
class LeaseRequest:
    """
    One request to the server. Times are in seconds.

    Attributes:
        queue_id: Identifies the queue among the queues of all processes.
        wanted: Number of tokens.
        first: Number of the first token.
        at: When the request was made, by the monotonic clock.
        lease: How long the server keeps a grant without an update about it.
        longest: Longest lease that this queue has requested.
    """

    key: BucketKey
    queue_id: str
    wanted: int
    first: int
    at: float
    lease: float
    longest: float
    memory: ServerMemory = ServerMemory()
    updates: Sequence[LeaseUpdate] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Redis keys of the script."""
        return tuple(
            self.key.redis_key(name) for name in ("leased", "returning", "demand", "state")
        )

    def arguments(self, server: str, started: int, now: str = "") -> list[str | int]:
        """
        Return the arguments of the script.

        Args:
            server: Id of the server.
            started: When the server started, in microseconds of its own clock.
            now: The time in microseconds; empty: the server's own clock.
        """
        last = self.memory.exchanged_at
        since = -1 if last == -math.inf else _floor(self.at - last)
        fixed: list[str | int] = [
            self.queue_id,
            self.key.limit.requests,
            _ceil(self.key.limit.per),
            _ceil(self.lease),
            _ceil(self.longest),
            self.wanted,
            self.first,
            self.memory.origin,
            since,
            server,
            started,
            now,
        ]
        return fixed + [part for update in self.updates for part in update.arguments(self.at)]


@attrs.frozen
class LeaseReply:
    """
    The server's reply. Times are seconds from the moment at which the script ran.

    Attributes:
        granted: Number of tokens granted.
        free: Number of free tokens left.
        sequence: Sequence number of the last grant, over all processes.
        poll_in: When to request the tokens that were not granted; `None`: all were.
        blocked_for: How long a 429 blocks all grants; 0: not blocked.
        origin: Since when the server knows every grant, by its own clock.
    """

    granted: int
    free: int
    sequence: int
    poll_in: float | None
    blocked_for: float
    origin: int

    @classmethod
    def parse(cls, values: Sequence[int]) -> LeaseReply:
        """Return the reply for the *values* that the script returned."""
        granted, free, sequence, poll_in, blocked_for, origin = map(int, values)
        seconds = None if poll_in < 0 else poll_in / 1e6
        return cls(granted, free, sequence, seconds, blocked_for / 1e6, origin)


@attrs.frozen
class Unavailable:
    """
    Reason why an exchange failed.

    Attributes:
        reason: One sentence, without secrets.
        retryable: Whether it may recover by itself, as a lost connection does.
    """

    reason: str
    retryable: bool = True


class LeaseServer(Protocol):
    """The server that holds the tokens. Its methods raise nothing but cancellation."""

    async def exchange(self, request: LeaseRequest) -> LeaseReply | Unavailable:
        """Run the script; return within a few seconds."""
        ...

    async def wait_notification(self, key: str) -> bool:
        """Wait for a notification at *key*; return `False` if the server cannot send one."""
        ...


def user_key(user: str) -> str:
    """Return the hash that stands for *user* in Redis keys."""
    return sha256(f"{PREFIX}:user:{user}".encode()).hexdigest()[:32]


def _floor(seconds: float) -> int:
    return math.floor(min(seconds, MAX_LEASE) * 1e6)


def _ceil(seconds: float) -> int:
    return math.ceil(min(seconds, MAX_LEASE) * 1e6)
