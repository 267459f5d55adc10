"""Attacks on streams: what a client does at the worst moment, and what HTX was not expected to."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from htx_async import (
    ClientClosedError,
    DeadlineExceededError,
    EventLoopError,
    HTXError,
    IPAddressError,
    LiveBalances,
    StreamEvent,
)
from htx_async.stream.buffer import EventBuffer
from tests.stream.exchange import MARGIN, SPOT, make, refusal
from tests.stream.test_live import drain
from tests.virtual import VirtualClock, run


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


async def test_refusal_while_a_gap_is_filled(virtual_time: VirtualClock) -> None:
    """It is delivered, and the read of the history ends without an error of its own."""
    setup = make(virtual_time)
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    async with setup.stream(fill=True) as live:
        events = live.events()
        setup.exchange.socket.cut()
        await asyncio.sleep(0.01)
        setup.exchange.move("usdt", "4", push=False)
        setup.exchange.rest_delay = 5.0
        await asyncio.sleep(9)
        assert live._filler is not None
        assert live._filler._task is not None
        setup.exchange.auth.append(refusal(2001, "invalid.action"))
        setup.exchange.socket.cut()
        await asyncio.sleep(20)
        kinds = [event.kind for event in await drain(events)]
        assert kinds[:3] == ["gap", "changed", "resynced"]
        assert kinds[-1] == "refused"
    await asyncio.sleep(0)
    assert not problems


async def test_gap_that_does_not_end_holds_back_no_more_than_the_buffer(
    virtual_time: VirtualClock,
) -> None:
    """REST is unreachable after a cut, and HTX pushes."""
    setup = make(virtual_time)
    async with setup.stream(fill=True, buffer=10) as live:
        setup.exchange.read_errors += [HTXError("x")] * 1000
        setup.exchange.socket.cut()
        await asyncio.sleep(2)
        for amount in range(500):
            setup.exchange.move("usdt", str(amount))
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert live._filler is not None
        assert len(live._filler._held) <= 20


async def test_message_of_an_unknown_kind_does_not_end_the_connection(
    virtual_time: VirtualClock,
) -> None:
    """It has no code, so it refuses nothing; REST is read, as it may have been a push."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        reads = len(setup.exchange.reads)
        for message in ({"action": "notice", "data": {}}, {}, {"ch": "x", "code": None}):
            setup.exchange.socket.say(message)
        await asyncio.sleep(1)
        assert live.synced
        assert len(setup.exchange.sockets) == 1
        assert len(setup.exchange.reads) > reads


async def test_task_that_is_cancelled_from_outside_ends_synced(virtual_time: VirtualClock) -> None:
    """Code that cancels all tasks of a loop: nothing is pushed any more."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        events = live.events()
        for task in others():
            task.cancel()
        await asyncio.sleep(1)
        assert live.status == "disconnected"
        assert [event.kind for event in await drain(events)] == ["gap"]
    assert not others()


async def test_messages_of_an_unknown_kind_do_not_flood_rest(virtual_time: VirtualClock) -> None:
    """REST is read at most twice a second."""
    setup = make(virtual_time, rest_delay=0.01)
    async with setup.stream() as live:
        reads = len(setup.exchange.reads)
        for _ in range(500):
            setup.exchange.socket.say("?")
            await asyncio.sleep(0.01)
        assert live.synced
        assert 5 <= len(setup.exchange.reads) - reads <= 12


async def test_failing_reads_are_the_error_of_entering(virtual_time: VirtualClock) -> None:
    """Not that it took too long."""
    setup = make(virtual_time)
    setup.exchange.read_errors += [IPAddressError("x", retryable=False)]
    with pytest.raises(IPAddressError):
        await setup.stream(timeout=5).__aenter__()
    setup.exchange.read_errors[:] = [HTXError("frozen")] * 100
    with pytest.raises(HTXError, match="frozen"):
        await setup.stream(timeout=5).__aenter__()


async def test_leaving_ends_the_read_of_the_history(virtual_time: VirtualClock) -> None:
    """Nothing of it is left, although the connection stays open for another stream."""
    setup = make(virtual_time)
    async with setup.stream():
        before = len(others())
        stream = await setup.stream(fill=True).__aenter__()
        setup.exchange.rest_delay = 5.0
        setup.exchange.socket.cut()
        await asyncio.sleep(0.01)
        setup.exchange.move("usdt", "4", push=False)
        await asyncio.sleep(9)
        assert stream._filler is not None
        assert stream._filler._task is not None
        await stream.aclose()
        assert len(others()) == before


async def test_evidence_is_bounded(virtual_time: VirtualClock) -> None:
    """A connection may last for months."""
    setup = make(virtual_time)
    async with setup.stream(audit_interval=1) as live:
        for amount in range(100):
            setup.exchange.move("usdt", str(amount))
            await asyncio.sleep(1)
        assert live._shared is not None
        witnesses = live._shared.session._numbers._witnesses
        assert {len(numbers) for numbers in witnesses.values()} == {3}


def test_another_event_loop_is_an_error_at_once() -> None:
    """The loop of the stream has ended, and everything in it."""

    async def enter() -> LiveBalances:
        return await make(VirtualClock()).stream().__aenter__()

    async def use() -> None:
        with pytest.raises(EventLoopError, match="another event loop"):
            await live.verified("spot", max_age=0)
        with pytest.raises(EventLoopError, match="another event loop"):
            await live.aclose()

    live = run(enter())
    assert live._shared is not None
    assert live._shared.session.phase == "disconnected"
    run(use())


async def test_signature_that_htx_repeats_in_any_encoding_is_hidden(
    virtual_time: VirtualClock,
) -> None:
    """As it is, as in URLs, as in JSON: also without the name of the parameter."""
    encodings: list[Callable[[str], str]] = [
        str,
        lambda text: quote(text, safe=""),
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: text.replace("/", "\\/"),
        lambda text: text.replace("+", " "),
    ]
    for encode in encodings:
        for _ in range(20):
            setup = make(virtual_time)
            stream = setup.stream()
            entering = asyncio.create_task(stream.__aenter__())
            setup.exchange.auth.append(None)
            await asyncio.sleep(0.15)
            signature = setup.exchange.socket.sent[0]["params"]["signature"]
            setup.exchange.socket.say(refusal(2001, f"bad {encode(signature)}"))
            with pytest.raises(HTXError) as caught:
                await entering
            parts = [part for part in re.split(r"\W+", signature) if len(part) > 3]
            assert not any(part in str(caught.value) for part in parts)
            await asyncio.sleep(1)


async def test_verified_does_not_flood_rest_that_fails(virtual_time: VirtualClock) -> None:
    """It waits for the reads that are due, which become rarer."""
    setup = make(virtual_time)
    async with setup.stream(timeout=6.0) as live:
        reads = len(setup.exchange.reads)
        setup.exchange.read_errors += [HTXError("frozen")] * 1000
        with pytest.raises(DeadlineExceededError):
            await live.verified("spot", max_age=0)
        assert 3 <= len(setup.exchange.reads) - reads <= 5
        setup.exchange.read_errors.clear()
        assert (await live.verified("spot", max_age=0))["usdt"].trade == 1


async def test_push_with_more_free_than_there_is(virtual_time: VirtualClock) -> None:
    """It is malformed: it does not count, and its number neither."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        reads = len(setup.exchange.reads)
        push = setup.exchange.push(1, "usdt", "other", balance="1", available="5", seqNum=9)
        setup.exchange.socket.say(push)
        await asyncio.sleep(1)
        assert live["spot"]["usdt"].trade == 1
        assert live["spot"]["usdt"].frozen == 0
        assert len(setup.exchange.reads) > reads
        await asyncio.sleep(60)
        assert live.synced


async def test_large_buffer_is_emptied_in_linear_time() -> None:
    """It took 9 s when each item was searched for from the start."""
    event = StreamEvent(kind="synced")
    buffer = EventBuffer[StreamEvent](100_000, lambda each: each, lambda: None)
    for _ in range(100_000):
        buffer.put(event)
    started = time.process_time()
    for _ in range(100_000):
        await anext(buffer)
    assert time.process_time() - started < 2
