"""Connection slots: how many requests of one client are in flight at a time."""

from __future__ import annotations

from typing import Protocol


class _Queue(Protocol):
    """A queue with callers that wait for a slot."""

    def arrival_of_first(self, slots: ConnectionSlots) -> int: ...

    def dispatch(self) -> None: ...


class ConnectionSlots:
    """
    Slots of one client, which is used in one event loop.

    A call acquires a slot together with its token (`TokenQueue`): signed requests must not wait for
    a connection, or their timestamps would grow old.

    Attributes:
        free: Number of free slots.
        starting: Number of calls that were granted a slot and have not run since. New calls must
            not overtake them.
        queues: Queues in which calls of this client wait.
    """

    __slots__ = ("free", "limit", "queues", "starting")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.free: int = limit
        self.starting: int = 0
        self.queues: set[_Queue] = set()

    @property
    def in_use(self) -> int:
        """Number of slots in use."""
        return self.limit - self.free

    def release(self) -> None:
        """Free a slot, for the call that waits longest and can have a token."""
        self.free += 1
        if not self.queues:  # the usual case, which must be fast
            return
        for queue in sorted(self.queues, key=lambda queue: queue.arrival_of_first(self)):
            queue.dispatch()
