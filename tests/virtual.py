"""An event loop whose time jumps to the next timer: tests that wait hours end at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from htx_async.clock import Clock

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")

DAY = 1_700_000_000.0
"""The time of day at which a virtual loop starts (2023-11-14T22:13:20Z)."""


class _JumpingSelector(selectors.BaseSelector):
    """Never blocks: the time that it was asked to wait is over at once."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                # Only another thread could wake this loop now (a worker for instance).
                return self._real.select(5)
            self.time += max(timeout, 0.0)
        return ready

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time, starting at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.time

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for threads in real time: in virtual time the seconds for it are over at once."""
        del timeout
        await super().shutdown_default_executor()


class VirtualClock(Clock):
    """The clock to a `VirtualLoop`; *skew* seconds ahead of the true time of day."""

    def __init__(self, skew: float = 0.0) -> None:
        self.skew = skew

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> float:
        return DAY + self.skew + self.monotonic()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* on a loop of its own with virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
