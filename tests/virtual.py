"""An event loop on virtual time: its clock jumps to the next timer instead of waiting."""

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
"""Unix time at which a virtual loop starts (2023-11-14T22:13:20Z)."""


class _JumpingSelector(selectors.BaseSelector):
    """A selector that never blocks: it advances its time by the timeout instead."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                # Only another thread can wake this loop now, e.g. an executor thread.
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
    """An asyncio event loop on virtual time, starting at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.time

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for threads in real time: a virtual timeout would expire immediately."""
        del timeout
        await super().shutdown_default_executor()


class VirtualClock(Clock):
    """The clock of the running `VirtualLoop`; its wall clock is *skew* seconds ahead."""

    def __init__(self, skew: float = 0.0) -> None:
        self.skew = skew

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> float:
        return DAY + self.skew + self.monotonic()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* on a new `VirtualLoop`."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
