"""
Cancellation at any moment: no connection is lost, and each caller gets its own response.

`python -m tests.transports.test_http_cancellation 10000` does so ten thousand times on each loop.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_pool import ConnectionPool
from tests.transports.http_bytes import chunked, response, with_length
from tests.transports.raw_server import (
    EVENT_LOOPS,
    HEADERS,
    NO_TIMEOUTS,
    LoopFactory,
    Peer,
    each_event_loop,
    open_pool,
    run,
    serve,
    until,
)

pytestmark = pytest.mark.slow
WIDTH = 8


async def echo(peer: Peer) -> None:
    """Answer each request with its path, in two parts or in chunks; sometimes close."""
    choice = random.Random(len(peer.requests))  # noqa: S311 - not for cryptography
    while True:
        path = (await peer.request()).split()[1]
        stream = response(b"Transfer-Encoding: chunked", body=chunked(path))
        if choice.random() < 0.5:
            stream = with_length(path, *choice.choice([(), (), (b"Connection: close",)]))
        cut = choice.randrange(len(stream))
        peer.writer.write(stream[:cut])
        for _ in range(choice.randrange(4)):
            await asyncio.sleep(0)
        peer.writer.write(stream[cut:])
        if b"Connection: close" in stream:
            return


async def call(pool: ConnectionPool, number: int) -> None:
    """Read one path, and check that the response is for it."""
    async with pool.slot(5.0):
        result = await pool.exchange("GET", b"/%d" % number, HEADERS, timeouts=NO_TIMEOUTS)
    assert result.body == b"/%d" % number


async def cancel_often(count: int, context: ssl.SSLContext | None, seed: int) -> None:
    """Cancel *count* exchanges at random iterations of the loop, then use every connection."""
    choice = random.Random(seed)  # noqa: S311 - not for cryptography
    cancelled = 0

    async def client(pool: ConnectionPool) -> None:
        nonlocal cancelled
        while cancelled < count:
            task = asyncio.create_task(call(pool, choice.randrange(10**9)))
            for _ in range(choice.randrange(40 if context is None else 80)):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError, ExchangeError):
                await task
            cancelled += task.cancelled()

    async with serve(echo, context=context) as server:
        async with open_pool(server.origin, max_connections=WIDTH) as pool:
            await asyncio.gather(*(client(pool) for _ in range(2 * WIDTH)))
            assert pool.open_connections <= WIDTH
            await asyncio.gather(*(call(pool, number) for number in range(4 * WIDTH)))
        assert pool.open_connections == 0
        assert (pool.slots.in_use, pool.slots._blocked) == (0, [])
        await until(lambda: all(peer.is_over for peer in server.peers))


def context_for_localhost(path: Path, environ: Callable[[str, str], object]) -> ssl.SSLContext:
    """Return the context of a server that the environment trusts from now on."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(path / "ca.pem")
    environ("SSL_CERT_FILE", str(path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@each_event_loop
@pytest.mark.parametrize("seed", range(2))
def test_cancelled_exchanges_leave_nothing(loop_factory: LoopFactory, seed: int) -> None:
    """Afterwards every connection serves again."""
    run(loop_factory, cancel_often(80, None, seed))


@each_event_loop
@pytest.mark.parametrize("seed", range(2))
def test_cancelled_exchanges_over_tls_leave_nothing(
    loop_factory: LoopFactory, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor while TLS is negotiated."""
    context = context_for_localhost(tmp_path, monkeypatch.setenv)
    run(loop_factory, cancel_often(25, context, seed))


def main(count: int) -> None:
    """Cancel *count* exchanges on each loop, plain and over TLS."""
    with tempfile.TemporaryDirectory() as directory:
        tls = context_for_localhost(Path(directory), os.environ.__setitem__)
        for loop_factory in EVENT_LOOPS.values():
            for context in (None, tls):
                run(loop_factory, cancel_often(count, context, 0))


if __name__ == "__main__":
    main(int(sys.argv[1]))
