"""The shared connection, at its edges."""

from __future__ import annotations

import asyncio

from htx_async import NoResponseError
from htx_async.stream.shared import SharedConnection, _End
from tests.stream.exchange import make
from tests.virtual import VirtualClock


async def test_connection_without_a_stream_has_nothing_to_close(
    virtual_time: VirtualClock,
) -> None:
    """And an end that is found when there is no connection changes nothing."""
    setup = make(virtual_time)
    shared = SharedConnection(setup.hub.settings, setup.exchange, lambda _kind, _data: None)
    shared._end(_End(NoResponseError("late")))
    await shared.aclose()
    assert shared.error is None
    assert asyncio.all_tasks() == {asyncio.current_task()}
