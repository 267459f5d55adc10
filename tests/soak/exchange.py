"""The exchange of the soak: a sandbox in a process of its own, that fails on purpose."""

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
"""How many times HTX's limits are raised, for the client and the sandbox alike."""
ACCOUNTS = 40
CHANCE = 0.15
"""The share of requests that meet a fault."""

ANSWERS: tuple[Fault, ...] = (
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
WIRE: tuple[Fault, ...] = (
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
class Told:
    """What the exchange counted."""

    requests: int
    refused: int


@contextmanager
def exchange(seed: int) -> Iterator[tuple[str, Connection]]:
    """Run the exchange, and give its address and a line to it: send anything, receive `Told`."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, seed), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        process.terminate()
        process.join()


def _run(line: Connection, seed: int) -> None:
    asyncio.run(_serve(line, seed))


async def _serve(line: Connection, seed: int) -> None:
    sandbox = Sandbox(accounts=ACCOUNTS, limits=LIMITS)
    async with sandbox.serve() as base_url:
        line.send(base_url)
        await _said(line)  # the client has read what is right: faults may begin
        sandbox.faults.randomly(CHANCE, ANSWERS + WIRE, seed=seed)
        await _said(line)
        line.send(Told(sandbox.requests, sandbox.rate_limited))
        await _said(line)


async def _said(line: Connection) -> None:
    """Wait for a message without holding up the loop."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(line.fileno(), there.set)
    while not line.poll():
        there.clear()
        await there.wait()
    loop.remove_reader(line.fileno())
    line.recv()
