"""Bookkeeping of one queue's leases; no I/O."""

from __future__ import annotations

import math
import secrets

from htx_async.ratelimit.redis.protocol import (
    GRANT_TTL,
    MAX_LEASE,
    BucketKey,
    Lease,
    LeaseReply,
    LeaseRequest,
    LeaseUpdate,
    ServerMemory,
)

MAX_UPDATES = 1000
"""Number of updates kept while the server is unavailable; leases end without them."""


class LeaseBook:
    """
    Leases in use, pending updates, and the state from the server's last reply.

    Attributes:
        in_use: Sequence numbers of the callers that hold a token, by token.
        updates: Updates that the server has not received yet.
        sequence: Sequence number of the last grant over all processes, from the last reply.
    """

    def __init__(self, key: BucketKey) -> None:
        self.queue_id: str = secrets.token_hex(8)
        self.in_use: dict[str, int] = {}
        self.updates: list[LeaseUpdate] = []
        self.sequence: int = 0
        self._key = key
        self._first = 0
        self._longest = 0.0
        self._memory = ServerMemory()

    def request(self, now: float, wanted: int, deadline: float) -> LeaseRequest:
        """Return a request for *wanted* tokens for attempts until *deadline*, with all updates."""
        per = self._key.limit.per
        # A grant may be used for a while, and callers with new timeouts may join meanwhile.
        lease = min(max(deadline - now, 0.0) + GRANT_TTL + per, MAX_LEASE)
        if wanted:
            self._longest = max(self._longest, lease)
        updates, self.updates = self.updates, []
        first, self._first = self._first, self._first + wanted
        return LeaseRequest(
            key=self._key,
            queue_id=self.queue_id,
            wanted=wanted,
            first=first,
            at=now,
            lease=lease,
            longest=max(self._longest, lease),
            memory=self._memory,
            updates=tuple(updates),
        )

    def on_reply(self, request: LeaseRequest, reply: LeaseReply) -> list[Lease]:
        """Record a reply and return the leases that it grants."""
        self.sequence = reply.sequence
        self._memory = ServerMemory(reply.origin, request.at)
        covers = request.at + request.lease - request.key.limit.per
        return [
            Lease(
                free_after=reply.free + reply.granted - 1 - index,
                sequence=reply.sequence - reply.granted + 1 + index,
                token=f"{self.queue_id}:{request.first + index}",
                void_at=request.at + GRANT_TTL,
                covers=math.inf if request.lease >= MAX_LEASE else covers,
            )
            for index in range(reply.granted)
        ]

    def on_failure(self, request: LeaseRequest, now: float) -> None:
        """Keep the updates that the server has not received, as long as they matter."""
        since = now - self._longest
        self.updates[:0] = [
            update for update in request.updates if update.at > since or update.kind == "unused"
        ]
        del self.updates[:-MAX_UPDATES]

    @property
    def endpoint(self) -> str:
        """Method and path."""
        return self._key.endpoint

    @property
    def notification_key(self) -> str:
        """Redis key at which the server notifies this queue."""
        return self._key.redis_key(f"state:{self.queue_id}")
