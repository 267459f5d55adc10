"""Where clients live: loops of all kinds, lifespans, and how they end."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import uvloop
from fastapi import FastAPI

from htx_async import (
    NO_RETRY,
    UNLIMITED,
    AccountBalance,
    ConnectError,
    Credentials,
    HTXClient,
    NoResponseError,
)
from htx_async.sandbox import Sandbox

KEYS = Credentials("access-key", "secret-key")
CANCELLED = int(os.environ.get("HTX_CANCELLED", "1000"))
"""Calls that the longest test cancels: more of them, if you have the time."""


def sockets() -> int:
    """Return how many sockets this process has open."""
    names = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(path.readlink()))
        except FileNotFoundError:  # the one that lists them
            continue
    return sum(name.startswith("socket:") for name in names)


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if a socket, or a warning of something unclosed, is left."""
    gc.collect()
    before = sockets()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert sockets() == before


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that runs a task at once, up to its first wait."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
    return loop


loops = pytest.mark.parametrize(
    "loop",
    [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(uvloop.new_event_loop, id="uvloop"),
        pytest.param(
            eager_loop,
            id="eager",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12"),
        ),
    ],
)


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True])
@loops
def test_every_kind_of_loop(loop: Callable[[], asyncio.AbstractEventLoop], debug: bool) -> None:
    """A hundred reads, every second one cancelled on its way; then all connections are usable."""

    async def main() -> None:
        async with (
            Sandbox(limits=False).serve() as base_url,
            HTXClient(KEYS, base_url=base_url, rate_limiter=UNLIMITED, coalesce=False) as htx,
        ):
            tasks = [asyncio.create_task(htx.accounts.balance(1000001)) for _ in range(100)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(isinstance(outcome, AccountBalance) for outcome in outcomes) >= 50
            await asyncio.gather(*(htx.accounts.list() for _ in range(40)))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with nothing_left(), asyncio.Runner(loop_factory=loop, debug=debug) as runner:
        runner.run(main())


@pytest.mark.slow
def test_a_client_made_before_the_loop_starts() -> None:
    """It binds to the loop that first uses it."""
    htx = HTXClient(KEYS, base_url="http://127.0.0.1:1", retry=NO_RETRY)

    async def main() -> None:
        with pytest.raises(ConnectError):
            await htx.accounts.list()
        await htx.aclose()

    asyncio.run(main())


@pytest.mark.slow
def test_a_run_that_is_ended_from_outside_leaves_nothing() -> None:
    """Ctrl-C in the middle of reads: their tasks and sockets go with the loop."""

    async def main() -> None:
        async with (
            Sandbox(limits=False).serve() as base_url,
            HTXClient(KEYS, base_url=base_url, rate_limiter=UNLIMITED, coalesce=False) as htx,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(30):
                group.create_task(htx.accounts.balance(1000001))
            await asyncio.sleep(0.01)
            raise KeyboardInterrupt

    with nothing_left(), pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


@pytest.mark.slow
async def test_a_lifespan_of_fastapi() -> None:
    """One client for all handlers, made and closed by the application."""
    sandbox = Sandbox()
    clients: list[HTXClient] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        transport = httpx.ASGITransport(app=sandbox)
        async with HTXClient(KEYS, transport=transport) as app.state.htx:
            clients.append(app.state.htx)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/points")
    async def points() -> str:
        balance = await clients[0].points.balance()
        return str(balance.acct_balance)

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as browser,
    ):
        answers = await asyncio.gather(*(browser.get("/points") for _ in range(50)))
    assert {answer.json() for answer in answers} == {"148.94159266"}
    assert len(sandbox.arrivals) <= 3


@asynccontextmanager
async def server(
    answer: Callable[[asyncio.StreamWriter], asyncio.Future[None] | object],
) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """Serve each request with *answer*; give the address, and the connections as they come."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            result = answer(writer)
            if asyncio.iscoroutine(result):
                await result
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", writers


async def until(happened: Callable[[], bool]) -> None:
    """Let the loop run until something has happened."""
    async with asyncio.timeout(2.0):
        while not happened():  # noqa: ASYNC110 - nobody tells when a socket is closed
            await asyncio.sleep(0)


async def trickle(writer: asyncio.StreamWriter) -> None:
    """Send a body without end, a byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_server_that_trickles_is_left_in_time() -> None:
    """The call ends by its timeout, and so does what it had under way."""
    async with (
        server(trickle) as (base_url, connections),
        HTXClient(KEYS, base_url=base_url, timeout=0.2) as htx,
    ):
        with pytest.raises(TimeoutError):
            await htx.accounts.list()
        await until(connections[0].is_closing)


@pytest.mark.slow
async def test_an_abandoned_read_of_a_server_that_trickles_ends() -> None:
    """Nobody waits any more: its connection is closed when its timeout is over."""
    async with (
        server(trickle) as (base_url, connections),
        HTXClient(KEYS, base_url=base_url, timeout=0.3) as htx,
    ):
        read = asyncio.create_task(htx.accounts.list())
        await until(lambda: bool(connections))
        read.cancel()
        await until(connections[0].is_closing)
        assert not htx._coalescing._calls


@pytest.mark.slow
async def test_connections_that_the_server_closed_meanwhile() -> None:
    """An idle one that is gone is replaced; at worst the read is repeated."""

    def once(writer: asyncio.StreamWriter) -> None:
        body = b'{"status":"ok","data":[]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with server(once) as (base_url, connections), HTXClient(KEYS, base_url=base_url) as htx:
        for _ in range(10):
            await htx.accounts.list()
    assert len(connections) >= 10


async def test_a_transport_that_cancels_is_told() -> None:
    """Some libraries end a request by cancelling it: nobody is left waiting."""

    class Cancelling(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise asyncio.CancelledError(request.method)

    async with HTXClient(KEYS, transport=Cancelling()) as htx, asyncio.timeout(2.0):
        with pytest.raises((NoResponseError, asyncio.CancelledError)):
            await htx.accounts.list()


class Turnstile:
    """A server that answers at once, until it is told to answer only twenty at a time."""

    def __init__(self) -> None:
        self.wide = False
        self.waiting: list[asyncio.Event] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"status":"ok","data":[]}'
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await (self.turn() if self.wide else asyncio.sleep(0))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def turn(self) -> None:
        """Wait until twenty are here."""
        mine = asyncio.Event()
        self.waiting.append(mine)
        if len(self.waiting) == 20:
            for event in self.waiting:
                event.set()
            self.waiting.clear()
        await mine.wait()


@pytest.mark.slow
async def test_after_many_cancellations_all_connections_are_there() -> None:
    """Cancelled at random moments; then a hundred at once are served, twenty by twenty."""
    rng, turnstile = random.Random(3), Turnstile()  # noqa: S311 - no secret is made of it
    listening = await asyncio.start_server(turnstile, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with (
        listening,
        HTXClient(
            KEYS, base_url=base_url, rate_limiter=UNLIMITED, coalesce=False, timeout=20.0
        ) as htx,
    ):
        for _ in range(CANCELLED // 50):
            reads = [asyncio.create_task(htx.accounts.list()) for _ in range(50)]
            for read in reads:
                asyncio.get_running_loop().call_later(rng.random() ** 2 * 0.03, read.cancel)
            await asyncio.wait(reads)
        await until(lambda: not htx._coalescing._calls)
        turnstile.wide = True
        await asyncio.gather(*(htx.accounts.list() for _ in range(100)))
        assert not htx._coalescing._calls
