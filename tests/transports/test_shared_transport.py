"""Clients that share a transport: a token and a connection slot are acquired together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import httpx
import pytest

from htx_async import NO_RETRY, Credentials, HTTPTransport, HTXClient, RateLimit, RateLimiter
from tests.transports.http_bytes import with_length
from tests.transports.raw_server import Peer, Server, run, serve
from tests.virtual import VirtualClock, VirtualLoop

pytestmark = pytest.mark.slow
LIMIT = RateLimit(3, per=60.0)
SECONDS = 2.0
"""Time that the server takes for a request."""


@attrs.frozen
class Setting:
    """
    Clients of one server.

    Attributes:
        shared: Clients that share a transport with one connection.
        other: A client with connections of its own.
        web: An `httpx.AsyncClient` with the shared transport.
        numbers: The numbers of the requests, in the order of their arrival.
    """

    server: Server
    transport: HTTPTransport
    shared: list[HTXClient]
    other: HTXClient
    web: httpx.AsyncClient

    numbers: list[int]

    def tokens(self, client: HTXClient) -> tuple[int, int]:
        """Return how many tokens of the user are in use, and how many calls wait for one."""
        queue = client._rate_limiter._queues["GET /v1/x"]
        return queue.bucket.in_use, queue.queued

    def check_nothing_is_left(self) -> None:
        """Assert that there is neither a waiter nor a slot in use."""
        for slots in [
            self.transport.pool(self.server.origin).slots,
            *(client._adapter.slots for client in (*self.shared, self.other)),
        ]:
            assert (slots.in_use, slots.starting, slots._blocked) == (0, 0, [])


async def stop(calls: list[asyncio.Task[object]]) -> None:
    """Cancel *calls*; one that is in flight has time to finish."""
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await asyncio.sleep(SECONDS + 0.1)


@asynccontextmanager
async def open_clients(
    *, same_user: bool, max_connections: int = 1, limits: tuple[int, int] = (20, 20)
) -> AsyncIterator[Setting]:
    """
    Serve two clients that share a transport, and others.

    Args:
        same_user: Whether the clients share a rate limiter, too.
        max_connections: That of the transport.
        limits: Those of the clients.
    """
    clock, limiter = VirtualClock(), RateLimiter()
    numbers: list[int] = []

    async def slow(peer: Peer) -> None:
        while True:
            number = re.search(rb"[?&]n=(\d+)", await peer.request())
            assert number is not None
            numbers.append(int(number[1]))
            await asyncio.sleep(SECONDS)
            peer.writer.write(with_length(b'{"status":"ok","data":1}'))

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(slow))
        transport = HTTPTransport(max_connections=max_connections)
        await stack.enter_async_context(transport)
        transport.pool(server.origin, clock)

        async def client(
            user: RateLimiter, transport: HTTPTransport | None, limit: int = 20
        ) -> HTXClient:
            return await stack.enter_async_context(
                HTXClient(
                    Credentials("key", "secret"),
                    base_url=str(server.origin),
                    rate_limiter=user,
                    transport=transport,
                    max_connections=limit,
                    clock=clock,
                    retry=NO_RETRY,
                )
            )

        users = [limiter, limiter if same_user else RateLimiter()]
        shared = [
            await client(user, transport, limit) for user, limit in zip(users, limits, strict=True)
        ]
        yield Setting(
            server,
            transport,
            shared,
            await client(limiter, None),
            httpx.AsyncClient(transport=transport, timeout=60.0),
            numbers,
        )


async def get(client: HTXClient, number: int) -> None:
    """Call an endpoint; calls with different numbers are not coalesced."""
    await client.get("/v1/x", params={"n": number}, limit=LIMIT)


async def start(setting: Setting) -> list[asyncio.Task[object]]:
    """Start six calls of the clients that share a transport, in turn."""
    first, second = setting.shared
    calls: list[Coroutine[None, None, object]] = []
    for number in range(0, 6, 3):
        url = f"{setting.server.origin}/v1/x?n={number + 2}"
        calls += [get(first, number), get(second, number + 1), setting.web.get(url)]
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(call))
        await asyncio.sleep(0.001)
    return tasks


@pytest.mark.parametrize("same_user", [True, False])
def test_call_that_waits_for_a_shared_connection_holds_no_token(*, same_user: bool) -> None:
    """Calls of another client of the user are served meanwhile."""

    async def main() -> None:
        async with open_clients(same_user=same_user) as setting:
            calls = await start(setting)
            await asyncio.sleep(SECONDS / 2)
            first, second = (setting.tokens(client) for client in setting.shared)
            assert (first, second) == ((1, 3), (1, 3)) if same_user else ((1, 1), (0, 2))
            async with asyncio.timeout(SECONDS + 0.1):
                await asyncio.gather(get(setting.other, 10), get(setting.other, 11))
            assert {10, 11} < set(setting.numbers)
            await stop(calls)
            setting.check_nothing_is_left()

    run(VirtualLoop, main())


def test_callers_of_a_shared_transport_are_served_in_order() -> None:
    """Clients of several users, and httpx; a caller that leaves delays nobody."""

    async def main() -> None:
        async with open_clients(same_user=False) as setting:
            calls = await start(setting)
            await asyncio.sleep(SECONDS / 2)
            calls[2].cancel()
            calls[4].cancel()
            await asyncio.wait(calls)
            assert setting.numbers == [0, 1, 3, 5]
            assert VirtualClock().monotonic() == pytest.approx(4 * SECONDS, abs=0.1)
            assert len(setting.server.peers) == 1
            setting.check_nothing_is_left()

    run(VirtualLoop, main())


@pytest.mark.parametrize("same_user", [True, False])
@pytest.mark.parametrize("steps", range(16))
def test_cancelled_callers_of_a_shared_transport_leave_nothing(
    steps: int, *, same_user: bool
) -> None:
    """Wherever they are, also at the moment at which they are granted a slot."""

    async def main() -> None:
        async with open_clients(same_user=same_user) as setting:
            calls = await start(setting)
            await asyncio.sleep(SECONDS - 0.006)  # the first response is sent
            for _ in range(steps):
                await asyncio.sleep(0)
            await stop(calls)
            setting.check_nothing_is_left()
            await asyncio.wait_for(get(setting.shared[1], 20), SECONDS + 0.1)

    run(VirtualLoop, main())


def test_limit_of_a_client_applies_to_its_calls_only() -> None:
    """The others that share its transport use the remaining connections."""

    async def main() -> None:
        async with open_clients(same_user=False, max_connections=2, limits=(1, 20)) as setting:
            first, second = setting.shared
            calls = [asyncio.create_task(get(first, number)) for number in range(2)]
            calls += [asyncio.create_task(get(second, number)) for number in range(2, 4)]
            await asyncio.sleep(SECONDS / 2)
            assert setting.numbers == [0, 2]
            await asyncio.wait(calls)
            assert setting.numbers == [0, 2, 1, 3]
            setting.check_nothing_is_left()

    run(VirtualLoop, main())
