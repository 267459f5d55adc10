"""Connection slots: the limit of requests in flight of a client, or of a pool."""

from __future__ import annotations

import heapq
import itertools
from typing import Protocol, TypeAlias

_numbers = itertools.count()
_Entry: TypeAlias = "tuple[int, int, _Queue, ConnectionSlots]"


class _Queue(Protocol):
    """A queue with callers that wait for a slot."""

    def slot_freed(self, slots: ConnectionSlots, arrival: int) -> None: ...


class ConnectionSlots:
    """
    Slots of one client, or of a connection pool, in one event loop.

    A call acquires a slot together with its token (`TokenQueue`): signed requests must not wait for
    a connection, or their timestamps would grow old. Clients that share a connection pool share its
    slots (`share`), so the pool itself never waits.

    Attributes:
        in_use: Number of slots in use.
        starting: Number of calls that have acquired a slot and have not run since. New calls must
            not overtake them.
    """

    __slots__ = ("_blocked", "_pool", "in_use", "limit", "starting")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.in_use: int = 0
        self.starting: int = 0
        # A heap of queues that need a slot, by the arrival of their callers; the clients of a pool
        # have one.
        self._blocked: list[_Entry] = []
        self._pool: ConnectionSlots | None = None

    def share(self, pool: ConnectionSlots) -> None:
        """Occupy a slot of *pool*, too, with every slot; call it before the first one."""
        self._pool, self._blocked = pool, pool._blocked

    @property
    def free(self) -> int:
        """Number of free slots."""
        free = self.limit - self.in_use
        return free if self._pool is None else min(free, self._pool.free)

    def acquire(self) -> None:
        """Occupy a slot: there is a free one."""
        self.in_use += 1
        if self._pool is not None:
            self._pool.in_use += 1

    def call_when_free(self, queue: _Queue, arrival: int) -> None:
        """Let *queue* know when there may be a free slot; lower *arrival*s come first."""
        heapq.heappush(self._blocked, (arrival, next(_numbers), queue, self))

    def release(self) -> None:
        """Free a slot, for the call that waits longest and can have a token."""
        self.in_use -= 1
        shared = self
        if self._pool is not None:
            shared = self._pool
            shared.in_use -= 1
        full: list[_Entry] = []  # those of clients that have no free slot of their own
        while self._blocked and shared.free:
            entry = heapq.heappop(self._blocked)
            arrival, _, queue, slots = entry
            if slots.free:
                queue.slot_freed(slots, arrival)
            else:
                full.append(entry)
        for entry in full:
            heapq.heappush(self._blocked, entry)
