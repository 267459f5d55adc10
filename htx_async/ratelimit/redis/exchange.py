"""
Messages between a worker and the bucket in Redis, and why all workers together keep the limit.

A worker is one event loop of one process. It names the tokens that it wants. The script
`exchange.lua` leases them, and knows each one as leased, until the lease ends, or as returning,
until `per` seconds after the first byte of its response.

Why no window exceeds the limit. HTX counts a request while its token is leased or returning, at
least `per` seconds before the script leases that token again:

1. *With a response.* HTX counts the request before the first byte of the response. The worker
   reports the age of that byte when it sends a request; the script executes it later. So the token
   returns no earlier than `per` after the first byte.
2. *Without a response*, or without a report, because the worker died, was paused or was cut off:
   an attempt starts at most `MARGIN` after the worker first named the token, which is before the
   script leased it, and takes at most `MAX_ATTEMPT_TIMEOUT`; later nothing is written. A lease is
   as long as both and `per`.
3. *Lost, repeated or late messages.* The worker repeats names and reports until a reply confirms
   them. A name that is leased is not leased again, and a report about a name that is not leased
   changes nothing; so the order of requests does not matter. The script drops the older request
   of a worker, and leases nothing new to a repeated one, or tokens that nobody expects would stay
   leased.
4. *Lost state.* A worker that creates a bucket gets no token for the length of a lease, after which
   no earlier lease is in use. A new bucket that nothing was lost with need not wait: a record in
   Redis reports that this server, by its `run_id`, has had no flush and no eviction since a bucket
   waited for the length of a lease. A server that was restarted or promoted has another `run_id`.
   The generation of a bucket shows a worker, and the script, that its bucket was deleted alone.
5. *Clock.* The time of the bucket must not advance faster than real time between any two requests.
   A worker states which time of the server it expects: that of the last reply, and what its
   monotonic clock has counted since. If the server's clock is ahead by more than `slack`, the
   script does nothing. If that was not due to a slow exchange, the time since the last request to
   the bucket does not count, and a worker without an earlier reply never counts more of it than
   `slack`. A server's clock that is behind was set back: `regained` is added to it from then on, so
   that other workers detect when it is set forward again, and the time of the bucket goes on from
   the last request.

Assumptions: no part of a request arrives after its connection is closed. Monotonic clocks do not
run fast. One server at a time accepts writes, and it is not set back to an earlier `run_id`. Nobody
deletes the key of a bucket alone, unless a worker that knows it sends a request before a new one.
The server's clock is not set forward by at most `slack`, i.e. 0.1 s and 1.5 round trips: by as much
a token may return too early. After it was set back, a worker that had a reply sends a request
before it is set forward.
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs
import msgspec

from htx_async.ratelimit.token_bucket import RateLimit

MAX_ATTEMPT_TIMEOUT: Final = 10.0
"""Maximum `attempt_timeout` in seconds, so that all leases of an endpoint have one length."""
MARGIN: Final = 1.0
"""Seconds between naming a token and the start of its attempt, at most."""
MICRO: Final = 1_000_000
"""Microseconds in a second."""


def micros(seconds: float) -> int:
    """Return *seconds* in microseconds."""
    return round(seconds * MICRO)


class Request(msgspec.Struct, array_like=True):
    """
    What a worker wants and reports. Durations and times are microseconds.

    Attributes:
        worker: Random id of the worker.
        sequence: Number of this request, among those of the worker.
        limit: Number of tokens.
        per: Time after which a used token returns.
        lease: Length of a lease.
        generation: Generation of the bucket in the last reply; empty if there is none.
        expected: Least time of the server, from the last reply; -1 if there is none.
        slack: How much later it may be.
        resync: Whether a later time is not the fault of a slow exchange.
        poll_tolerance: How late a poll of this worker may be.
        want: Names of the tokens that callers wait for.
        used: Names of tokens, and the ages of the first bytes of their responses.
        unused: Names of tokens that no request used.
        held: Names of tokens that are in use without a lease, and how long they count.
        block: How long no token may be leased, because HTX returned a 429; or 0.
        counted: Number of tokens that HTX has counted, of all that were ever leased; or -1.
        counted_for: How long HTX counts those that were not leased.
    """

    worker: str
    sequence: int
    limit: int
    per: int
    lease: int
    generation: str
    expected: int
    slack: int
    resync: bool
    poll_tolerance: int
    want: list[int]
    used: list[tuple[int, int]]
    unused: list[int]
    held: list[tuple[int, int]]
    block: int
    counted: int
    counted_for: int


class Reply(msgspec.Struct, array_like=True):
    """
    State of the bucket after a request. Durations and times are microseconds.

    Attributes:
        generation: Changes when the state of the bucket was lost.
        clock: Time of the server, as if it had never been set back.
        is_verified: Whether that time is trusted; if not, the script has done nothing.
        leased: Names of tokens that are leased from now on.
        leased_before: Names of tokens that were leased before; that reply was lost.
        free: Number of free tokens.
        issued: Number of tokens that the bucket has ever leased.
        poll: When to request the tokens again that are not available.
        blocked: How long no token is leased.
        elsewhere: Number of requests that HTX has counted and that had no token.
    """

    generation: str
    clock: int
    is_verified: bool
    leased: list[int]
    leased_before: list[int]
    free: int
    issued: int
    poll: int
    blocked: int
    elsewhere: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)


def encode(request: Request) -> bytes:
    """Return the argument of the script."""
    return _encoder.encode(request)


def decode(data: bytes) -> Reply:
    """Return the script's reply; raise `msgspec.MsgspecError` for anything else."""
    return _decoder.decode(data)


@attrs.frozen
class BucketKeys:
    """Keys in Redis of a bucket, and of the record that no bucket was lost."""

    bucket: str
    record: str

    @classmethod
    def of(cls, user: str, endpoint: str, limit: RateLimit) -> BucketKeys:
        """Return the keys for an endpoint of *user*, of whom Redis only stores a hash."""
        hashed = hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        rule = f"{limit.requests}/{limit.per:g}"
        return cls(f"htx_async:{hashed}:{endpoint}:{rule}", f"htx_async:record:{limit.per:g}")


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
