"""The exchange of the soak: a sandbox in a process of its own that injects faults."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import attrs

from htx_async.sandbox import Fault, Sandbox, faults

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = 50
"""Factor by which HTX's limits are raised, for the client and the sandbox alike."""
ACCOUNTS = 40
CHANCE = 0.15
"""The share of requests with a fault."""

RESPONSES: tuple[Fault, ...] = (
    *faults.CATALOGUE.values(),
    faults.html(502),
    faults.html(200),
    faults.too_many(),
    faults.too_many(headers=False),
    faults.too_many(retry_after=0.05),
    faults.maintenance(),
    faults.redirect(),
    faults.field("data", None),
    faults.field("data", faults.MISSING),
    faults.field("data", "nonsense"),
)
CONNECTIONS: tuple[Fault, ...] = (
    faults.hang("head"),
    faults.hang("body"),
    faults.cut(),
    faults.reset(),
    faults.trickle(0.001),
    faults.wrong_length(),
    faults.gzip_garbage(),
    faults.answer_and_close(),
)


@attrs.frozen
class Counts:
    """Requests that reached the exchange, and those above a limit."""

    requests: int
    rate_limited: int


@contextmanager
def exchange(seed: int) -> Iterator[tuple[str, Connection]]:
    """Run the exchange; yield its URL and a line to it: send anything, receive `Counts`."""
    context = get_context("spawn")
    own, other = context.Pipe()
    process = context.Process(target=_run, args=(other, seed), daemon=True)
    process.start()
    try:
        yield own.recv(), own
    finally:
        process.terminate()
        process.join()


def _run(line: Connection, seed: int) -> None:
    asyncio.run(_serve(line, seed))


async def _serve(line: Connection, seed: int) -> None:
    sandbox = Sandbox(accounts=ACCOUNTS, limits=LIMITS)
    async with sandbox.serve() as base_url:
        line.send(base_url)
        await _message(line)  # the client has read what is right: faults may begin
        sandbox.faults.randomly(CHANCE, RESPONSES + CONNECTIONS, seed=seed)
        await _message(line)
        line.send(Counts(sandbox.requests, sandbox.rate_limited))
        await _message(line)


async def _message(line: Connection) -> None:
    """Wait for a message without blocking the loop."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(line.fileno(), readable.set)
    while not line.poll():
        readable.clear()
        await readable.wait()
    loop.remove_reader(line.fileno())
    line.recv()
