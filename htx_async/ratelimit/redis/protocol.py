"""
The rule of `bucket`, for many processes: a server holds the tokens and lends them out.

`leases.lua` is the rule, run by the server at once as a whole, on its own clock. This module
says what is asked of it, and what it answers.

HTX allows `limit` requests in `per` seconds. The server knows up to `limit` tokens that are not
free: those *out* with a request, and those at *rest*, each with the moment at which it is free.

- A grant is a lease. Its token is free again when the attempt must be over and `per` has passed;
  so a process that dies gives it back by doing nothing.
- An answer ends the lease. The process says how old the answer's beginning is by its own
  monotonic clock; the server takes this from its own time and adds `per`. What the message spends
  on its way, or waits to ride with another one, only makes the token free later.
- A grant is void `VALID` seconds after it was *asked* for, by the monotonic clock. An attempt
  that leaves before is over within what the lease covers, and one that is resumed after a pause
  asks anew.

So whenever a token is granted again, either its answer began, or its attempt was over, at least
`per` seconds ago; and HTX had counted its request by then. One token is counted at most once in
any window of `per` seconds, and `limit` tokens at most `limit` times: the law of `bucket`, over
all processes.

What is more to assume than there: the server's clock is not set forward by hand, and does not
lose its memory unnoticed. It is noticed where the server is younger than a lease, where another
one has taken over (each has an id), and where a process has traded less than a lease ago and the
server does not know it any more. Then no token is granted until all leases that may have been
forgotten are over. A machine that is suspended stops its monotonic clock with it; what was about
to be sent as it fell asleep may be sent when it wakes up.

Why nobody need be told when a token is settled: it is free `per` seconds after its answer began,
so at least nearly `per` after anybody who waits was told that it is out. Who waits is told when
to ask again, never later than that, and needs no bell. Only a token that comes back unused is free
at once: then the server rings for those who wait.

Who goes first: within a process, who came first. Between processes that wait, each may hold an
equal share of the tokens before any gets more; while there are more processes than tokens, who
was served least recently goes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256
from importlib import resources
from typing import Literal, Protocol, TypeAlias

import attrs

from htx_async.ratelimit.token_bucket import Grant, RateLimit

VALID = 1.0
"""Seconds for which a grant may be used, from when it was asked for."""
LONGEST = 1e9
"""Seconds beyond which no lease goes, and no attempt either."""
PREFIX = "htx_async"
"""What all keys begin with."""

RULE = (
    resources.files("htx_async.ratelimit.redis").joinpath("leases.lua").read_text(encoding="utf-8")
)
"""The rule, as the server runs it."""

NoteKind: TypeAlias = Literal["settled", "unused", "kept", "closed", "spent"]


class Lease(Grant, frozen=True):
    """
    A grant of a server.

    Attributes:
        token: Its name at the server.
        void_at: When it is good for sending no more (monotonic seconds).
        covers: Until when an attempt may last (monotonic seconds).
    """

    token: str
    void_at: float
    covers: float


@attrs.frozen
class Note:
    """
    Something that the server should know.

    Attributes:
        kind: A token's answer began; it was not used; it is still out; HTX refuses; HTX says
            that others have spent some.
        about: The token, or for `spent` a number of grants.
        at: When it began, or when it ends (monotonic seconds).
    """

    kind: NoteKind
    about: str = ""
    at: float = 0.0

    def arguments(self, now: float) -> tuple[str, str, str]:
        """Return it as the rule takes it: with an age, or with the time that is left."""
        seconds = now - self.at if self.kind == "settled" else self.at - now
        # Down and up: the token is free later, never earlier.
        micros = _floor(seconds) if self.kind == "settled" else _ceil(seconds)
        return self.kind, self.about, str(micros)


@attrs.frozen
class Memory:
    """What a process remembers of the server's memory: since when it reaches, and when it asked."""

    origin: int = 0
    asked: float = -math.inf


@attrs.frozen
class Place:
    """Which tokens: *user* is a hash, *endpoint* method and path."""

    user: str
    endpoint: str
    limit: RateLimit

    def key(self, name: str) -> str:
        """Return the key of *name*; in a cluster the braces hold those of a user together."""
        return f"{PREFIX}:{{{self.user}}}:{self.endpoint.replace(' ', ':')}:{name}"


@attrs.frozen
class Ask:
    """
    What one trade asks for, and tells. Times are seconds.

    Attributes:
        owner: Who asks: a name that no other queue of any process has.
        wanted: Tokens.
        first: The number of the first token.
        at: When it is asked, by the monotonic clock.
        lease: How long a grant is kept if nothing is heard of it.
        longest: The longest such lease of this queue until now.
    """

    place: Place
    owner: str
    wanted: int
    first: int
    at: float
    lease: float
    longest: float
    memory: Memory = Memory()
    notes: Sequence[Note] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the rule."""
        return tuple(self.place.key(name) for name in ("out", "rest", "want", "state"))

    def arguments(self, server: str, started: int, now: str = "") -> list[str | int]:
        """
        Return the rule's arguments.

        Args:
            server: The server's id.
            started: When it was started, in microseconds of its own clock.
            now: The time, in microseconds; empty: the server's own.
        """
        since = -1 if self.memory.asked == -math.inf else _floor(self.at - self.memory.asked)
        fixed: list[str | int] = [
            self.owner,
            self.place.limit.requests,
            _ceil(self.place.limit.per),
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
        return fixed + [part for note in self.notes for part in note.arguments(self.at)]


@attrs.frozen
class Reply:
    """
    What came of a trade. Times are seconds from the moment at which it was decided.

    Attributes:
        granted: Tokens that were granted.
        free: Tokens that are left.
        number: The number of the last grant, over all processes.
        due: When to ask again for what was not granted; `None`: all was.
        closed: When refusals end; 0: there are none.
        origin: Since when the server knows of every grant, by its own clock.
    """

    granted: int
    free: int
    number: int
    due: float | None
    closed: float
    origin: int

    @classmethod
    def of(cls, answer: Sequence[int]) -> Reply:
        """Return what the rule has answered."""
        granted, free, number, due, closed, origin = map(int, answer)
        seconds = None if due < 0 else due / 1e6
        return cls(granted, free, number, seconds, closed / 1e6, origin)


@attrs.frozen
class Away:
    """
    Why there is no trade.

    Attributes:
        why: One sentence, without secrets.
        passes: Whether it may pass by itself: no connection, rather than a wrong password.
    """

    why: str
    passes: bool = True


class Server(Protocol):
    """What holds the tokens. It raises nothing but what ends its task."""

    async def trade(self, ask: Ask) -> Reply | Away:
        """Run the rule; return within a few seconds."""
        ...

    async def bell(self, key: str) -> bool:
        """Return once the server rings at *key*, or cannot; tell if it rang."""
        ...


def user_key(user: str) -> str:
    """Return what stands for *user* in keys: it cannot be read back."""
    return sha256(f"{PREFIX}:user:{user}".encode()).hexdigest()[:32]


def _floor(seconds: float) -> int:
    return math.floor(min(seconds, LONGEST) * 1e6)


def _ceil(seconds: float) -> int:
    return math.ceil(min(seconds, LONGEST) * 1e6)
