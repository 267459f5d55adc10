"""Attacks on streams: what a client does at the worst moment, and what HTX was not expected to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from htx_async import ClientClosedError
from tests.stream.exchange import MARGIN, SPOT, make
from tests.virtual import VirtualClock


def others() -> set[asyncio.Task[Any]]:
    """Return the tasks besides the current one."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def test_stream_that_enters_while_the_client_closes_raises(
    virtual_time: VirtualClock,
) -> None:
    """The list of accounts may still arrive: nothing is connected after it."""
    setup = make(virtual_time)
    entering = asyncio.create_task(setup.stream().__aenter__())
    await asyncio.sleep(0.01)
    await setup.hub.aclose()
    started = virtual_time.monotonic()
    with pytest.raises(ClientClosedError):
        await entering
    assert virtual_time.monotonic() - started < 1
    assert not setup.exchange.sockets
    assert not others()


async def test_second_cancellation_still_closes_the_socket(virtual_time: VirtualClock) -> None:
    """Leaving is cancelled, too."""
    for step in range(8):
        setup = make(virtual_time)

        async def run(setup: Any = setup) -> None:
            async with setup.stream():
                await asyncio.sleep(1000)

        task = asyncio.create_task(run())
        await asyncio.sleep(1)
        task.cancel()
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await setup.hub.aclose()
        assert not setup.exchange.socket.is_open, step
        assert not others()


async def test_entering_twice_at_once_raises(virtual_time: VirtualClock) -> None:
    setup = make(virtual_time)
    stream = setup.stream()
    results = await asyncio.gather(stream.__aenter__(), stream.__aenter__(), return_exceptions=True)
    assert results[0] is stream
    assert isinstance(results[1], ClientClosedError)
    assert stream.synced
    await stream.aclose()
    assert not others()


async def test_stream_that_is_left_while_it_enters_is_not_followed(
    virtual_time: VirtualClock,
) -> None:
    """Another stream shares its connection."""
    setup = make(virtual_time, accounts=(SPOT, MARGIN))
    async with setup.stream("spot") as live:
        for delay in (0.01, 0.06):
            stream = setup.stream("margin")
            entering = asyncio.create_task(stream.__aenter__())
            await asyncio.sleep(delay)
            await stream.aclose()
            with pytest.raises(ClientClosedError):
                await entering
            assert live._shared is not None
            assert set(live._shared.session.accounts) == {SPOT.id}
            assert len(live._shared.session._followers) == 1
