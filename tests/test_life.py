"""Client lifetime: event loops, FastAPI lifespans, closing, and resources left behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
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
from htx_async.testing import ScriptedTransport

KEYS = Credentials("access-key", "secret-key")
CANCELLED = int(os.environ.get("HTX_CANCELLED", "1000"))
"""Number of calls that the longest test cancels."""


def open_sockets() -> int:
    """Return the number of open sockets of this process."""
    names = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(path.readlink()))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return sum(name.startswith("socket:") for name in names)


@contextmanager
def assert_no_leaks() -> Iterator[None]:
    """Fail if the block leaves a socket open or causes a resource warning."""
    gc.collect()
    before = open_sockets()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert open_sockets() == before


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that starts tasks eagerly."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
    return loop


all_loops = pytest.mark.parametrize(
    "new_loop",
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
@all_loops
def test_client_works_on_every_event_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop], debug: bool
) -> None:
    """After 100 calls, half of them cancelled, all connections are usable."""

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

    with assert_no_leaks(), asyncio.Runner(loop_factory=new_loop, debug=debug) as runner:
        runner.run(main())


@pytest.mark.slow
def test_client_created_before_the_loop_starts() -> None:
    """The client binds to the loop that uses it first."""
    htx = HTXClient(KEYS, base_url="http://127.0.0.1:1", retry=NO_RETRY)

    async def main() -> None:
        with pytest.raises(ConnectError):
            await htx.accounts.list()
        await htx.aclose()

    asyncio.run(main())


@pytest.mark.slow
def test_keyboard_interrupt_leaves_no_tasks_or_sockets() -> None:
    """Ctrl-C during calls ends their tasks and closes their sockets with the loop."""

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

    with assert_no_leaks(), pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


@pytest.mark.slow
async def test_client_in_a_fastapi_lifespan() -> None:
    """The application creates and closes one client for all handlers."""
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
        responses = await asyncio.gather(*(browser.get("/points") for _ in range(50)))
    assert {response.json() for response in responses} == {"148.94159266"}
    assert len(sandbox.arrivals) <= 3


@asynccontextmanager
async def server(
    respond: Callable[[asyncio.StreamWriter], asyncio.Future[None] | object],
) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """Serve each request with *respond*; yield the address and the list of connections."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            result = respond(writer)
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


async def until(condition: Callable[[], bool]) -> None:
    """Run the loop until *condition* holds."""
    async with asyncio.timeout(2.0):
        while not condition():  # noqa: ASYNC110 - there is no event for a closed socket
            await asyncio.sleep(0)


async def trickle(writer: asyncio.StreamWriter) -> None:
    """Send an endless body one byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_timeout_ends_a_trickling_response() -> None:
    """The call ends at its timeout, and its connection is closed."""
    async with (
        server(trickle) as (base_url, connections),
        HTXClient(KEYS, base_url=base_url, timeout=0.2) as htx,
    ):
        with pytest.raises(TimeoutError):
            await htx.accounts.list()
        await until(connections[0].is_closing)


@pytest.mark.slow
async def test_timeout_closes_the_connection_of_a_cancelled_call() -> None:
    """The connection of a trickling response is closed at the timeout of the call."""
    async with (
        server(trickle) as (base_url, connections),
        HTXClient(KEYS, base_url=base_url, timeout=0.3) as htx,
    ):
        call = asyncio.create_task(htx.accounts.list())
        await until(lambda: bool(connections))
        call.cancel()
        await until(connections[0].is_closing)
        assert not htx._coalescing._calls


@pytest.mark.slow
async def test_idle_connection_closed_by_the_server_is_replaced() -> None:
    """At worst the call is retried."""

    def respond_once(writer: asyncio.StreamWriter) -> None:
        body = b'{"status":"ok","data":[]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with (
        server(respond_once) as (base_url, connections),
        HTXClient(KEYS, base_url=base_url) as htx,
    ):
        for _ in range(10):
            await htx.accounts.list()
    assert len(connections) >= 10


async def test_transport_raising_cancelled_error_is_reported() -> None:
    """Some libraries end a request with `CancelledError`: the caller must not wait forever."""
    transport = ScriptedTransport(itertools.repeat(asyncio.CancelledError()))
    async with HTXClient(KEYS, transport=transport) as htx, asyncio.timeout(2.0):
        with pytest.raises((NoResponseError, asyncio.CancelledError)):
            await htx.accounts.list()


class BatchServer:
    """A server that responds immediately or, if `batching`, to 20 requests at a time."""

    def __init__(self) -> None:
        self.batching = False
        self.waiting: list[asyncio.Event] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"status":"ok","data":[]}'
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await (self.wait_for_batch() if self.batching else asyncio.sleep(0))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def wait_for_batch(self) -> None:
        """Wait until 20 requests have arrived."""
        ready = asyncio.Event()
        self.waiting.append(ready)
        if len(self.waiting) == 20:
            for event in self.waiting:
                event.set()
            self.waiting.clear()
        await ready.wait()


@pytest.mark.slow
async def test_cancellations_leave_all_connections_usable() -> None:
    """After cancellations at random moments, 100 concurrent calls succeed in batches of 20."""
    rng, batch_server = random.Random(3), BatchServer()  # noqa: S311 - not used for secrets
    listening = await asyncio.start_server(batch_server, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with (
        listening,
        HTXClient(
            KEYS, base_url=base_url, rate_limiter=UNLIMITED, coalesce=False, timeout=20.0
        ) as htx,
    ):
        for _ in range(CANCELLED // 50):
            calls = [asyncio.create_task(htx.accounts.list()) for _ in range(50)]
            for call in calls:
                asyncio.get_running_loop().call_later(rng.random() ** 2 * 0.03, call.cancel)
            await asyncio.wait(calls)
        await until(lambda: not htx._coalescing._calls)
        batch_server.batching = True
        await asyncio.gather(*(htx.accounts.list() for _ in range(100)))
        assert not htx._coalescing._calls
