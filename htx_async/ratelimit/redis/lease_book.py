"""What one queue knows of the tokens that a server lends: pure bookkeeping."""

from __future__ import annotations

import math
import secrets

from htx_async.ratelimit.redis.protocol import (
    LONGEST,
    VALID,
    Ask,
    Lease,
    Memory,
    Note,
    Place,
    Reply,
)

MOST = 1000
"""Notes that are kept while the server is away; leases end by themselves."""


class Ledger:
    """
    What is out, what the server should be told, and what it said last.

    Attributes:
        out: The tickets of those who have a token, by its name.
        notes: What the server should know.
        number: The number of the last grant over all processes, as the server last said.
    """

    def __init__(self, place: Place) -> None:
        self.owner: str = secrets.token_hex(8)
        self.out: dict[str, int] = {}
        self.notes: list[Note] = []
        self.number: int = 0
        self._place = place
        self._first = 0
        self._longest = 0.0
        self._memory = Memory()

    def ask(self, now: float, wanted: int, until: float) -> Ask:
        """Ask for *wanted* tokens, good for attempts until *until*, and tell what is to be told."""
        per = self._place.limit.per
        # A grant may be used for a while, and callers with new timeouts may join meanwhile.
        lease = min(max(until - now, 0.0) + VALID + per, LONGEST)
        if wanted:
            self._longest = max(self._longest, lease)
        notes, self.notes = self.notes, []
        first, self._first = self._first, self._first + wanted
        return Ask(
            place=self._place,
            owner=self.owner,
            wanted=wanted,
            first=first,
            at=now,
            lease=lease,
            longest=max(self._longest, lease),
            memory=self._memory,
            notes=tuple(notes),
        )

    def took(self, ask: Ask, reply: Reply) -> list[Lease]:
        """Return the tokens that were granted."""
        self.number = reply.number
        self._memory = Memory(reply.origin, ask.at)
        covers = math.inf if ask.lease >= LONGEST else ask.at + ask.lease - ask.place.limit.per
        return [
            Lease(
                free=reply.free + reply.granted - 1 - index,
                number=reply.number - reply.granted + 1 + index,
                token=f"{self.owner}:{ask.first + index}",
                void_at=ask.at + VALID,
                covers=covers,
            )
            for index in range(reply.granted)
        ]

    def failed(self, ask: Ask, now: float) -> None:
        """Keep what the server was not told, as long as it can make a difference."""
        since = now - self._longest
        self.notes[:0] = [note for note in ask.notes if note.at > since or note.kind == "unused"]
        del self.notes[:-MOST]

    @property
    def endpoint(self) -> str:
        """Method and path."""
        return self._place.endpoint

    @property
    def bell(self) -> str:
        """The key at which the server rings for this queue."""
        return self._place.key(f"state:{self.owner}")
