"""
CPU and memory of live balances at 20,000 pushes a second, besides those of websockets alone.

A server in another process sends pushes of six currencies in two accounts, at the same pace to both
clients, one after the other. Two consumers never read: their buffers are conflated.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from decimal import Decimal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final, TypeAlias

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from htx_async import (
    Account,
    AccountBalance,
    AccountState,
    AccountType,
    BalanceEntry,
    BalanceType,
    Credentials,
    HistoryRecord,
)
from htx_async.auth.provider import CredentialStore
from htx_async.clock import Clock, ServerClock
from htx_async.stream.hub import StreamHub
from htx_async.stream.live import LiveBalances
from htx_async.validation import Origin
from tests.benchmarks.tables import Goal, Options, table

RATE: Final = 20_000
_SECONDS, _QUICK_SECONDS = 10.0, 2.0
_BATCH: Final = 200
_CURRENCIES: Final = ("usdt", "btc", "doge", "xrp", "ltc", "ada")
_ACCOUNTS: Final = tuple(
    Account(number, AccountType.SPOT, "", AccountState.WORKING) for number in (1, 2)
)
_PAUSE: Final = 6.0
_GOAL: Final = 15.0

Client: TypeAlias = Callable[[int, int], Coroutine[None, None, tuple[float, float]]]


def _push(number: int) -> str:
    """Return a push, as HTX writes it."""
    currency = _CURRENCIES[number % len(_CURRENCIES)]
    data = {
        "currency": currency,
        "accountId": 1 + number // len(_CURRENCIES) % 2,
        "balance": f"{number}.096849200715990336",
        "available": f"{number}.016849200715990336",
        "changeType": "order.match",
        "accountType": "trade",
        "seqNum": number,
        "changeTime": 1_764_754_899_212,
    }
    return json.dumps({"action": "push", "ch": "accounts.update#2", "data": data})


async def _serve(pipe: Connection, seconds: float) -> None:
    async def handle(connection: ServerConnection) -> None:
        async for text in connection:
            message = json.loads(text)
            reply = {"action": message["action"], "code": 200, "ch": message["ch"], "data": {}}
            await connection.send(json.dumps(reply))
            if message["action"] == "sub":
                break
        await asyncio.sleep(_PAUSE)  # the client reads its balances, and is synced
        start = time.monotonic()
        for number in range(1, int(RATE * seconds) + 1):
            await connection.send(_push(number))
            if number % _BATCH == 0:
                ahead = start + number / RATE - time.monotonic()
                await asyncio.sleep(max(ahead, 0))
        await connection.wait_closed()

    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        pipe.send(next(iter(server.sockets)).getsockname()[1])
        await asyncio.to_thread(pipe.recv)


def _run_server(pipe: Connection, seconds: float) -> None:
    asyncio.run(_serve(pipe, seconds))


class _Rest:
    """Balances that never change: what REST would return."""

    async def list(self) -> tuple[Account, ...]:
        """Return the accounts."""
        return _ACCOUNTS

    async def balance(self, account: Account | int | str) -> AccountBalance:
        """Return an empty balance."""
        assert isinstance(account, int)
        zero = Decimal(0)
        entries = tuple(
            BalanceEntry(currency, kind, zero, None, None, 0)
            for currency in _CURRENCIES
            for kind in (BalanceType.TRADE, BalanceType.FROZEN)
        )
        return AccountBalance(account, AccountType.SPOT, AccountState.WORKING, entries)

    async def history(self, account: int, *, start: datetime) -> AsyncIterator[HistoryRecord]:
        """Yield nothing."""
        del account, start
        records: tuple[HistoryRecord, ...] = ()
        for record in records:
            yield record


async def _alone(port: int, pushes: int) -> tuple[float, float]:
    """Return the CPU seconds of websockets alone, and the MiB that the process grew by."""
    async with connect(f"ws://127.0.0.1:{port}/ws/v2", compression=None) as connection:
        for message in ({"action": "req", "ch": "auth"}, {"action": "sub", "ch": "x"}):
            await connection.send(json.dumps(message))
            await connection.recv()
        memory, start = _peak(), time.process_time()
        for _ in range(pushes):
            await connection.recv()
        return time.process_time() - start, _peak() - memory


async def _live(port: int, pushes: int) -> tuple[float, float]:
    """Return the CPU seconds of a stream, and the MiB that the process grew by."""
    clock = Clock()
    store = CredentialStore(Credentials("access-key", "secret-key"), clock)
    hub = StreamHub(Origin("http", "127.0.0.1", port), clock, ServerClock(clock), store)
    live = LiveBalances(hub, _Rest(), 30.0, None, audit_interval=60.0, buffer=1000, fill=False)
    async with live:
        consumers = [live.changes(), live.events()]
        await asyncio.sleep(_PAUSE - 0.5)
        memory, start = _peak(), time.process_time()
        while not _shows(live, pushes):  # noqa: ASYNC110 - a consumer would cost CPU
            await asyncio.sleep(0.05)
        used = time.process_time() - start
        del consumers
    return used, _peak() - memory


def _shows(live: LiveBalances, number: int) -> bool:
    """Return whether the push of this number was received."""
    currency = _CURRENCIES[number % len(_CURRENCIES)]
    amount = Decimal(f"{number}.016849200715990336")
    return any(live[account.id][currency].trade == amount for account in _ACCOUNTS)


def _peak() -> float:
    """Return the largest size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(client: Client, seconds: float) -> tuple[float, float]:
    """Return microseconds of CPU per push, and MiB, with a server of its own."""
    pipe, other = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_run_server, args=(other, seconds))
    process.start()
    pushes = int(RATE * seconds)
    try:
        used, memory = asyncio.run(client(pipe.recv(), pushes))
    finally:
        pipe.send(None)
        process.join(5)
        process.kill()
    return used * 1e6 / pushes, memory


def run(options: Options) -> list[Goal]:
    """Measure both clients, and print a table."""
    seconds = _QUICK_SECONDS if options.quick else _SECONDS
    figures = {"websockets alone": _measure(_alone, seconds), "stream()": _measure(_live, seconds)}
    rows = [(name, f"{cpu:.1f}", f"{memory:.1f}") for name, (cpu, memory) in figures.items()]
    head = (f"{RATE:,} pushes a second for {seconds:g} s", "µs of CPU per push", "MiB of growth")
    sys.stdout.write(f"{table(head, rows)}\n")
    alone, live = (cpu for cpu, _ in figures.values())
    return [Goal("a push", "websockets alone", _GOAL, live - alone, "µs")]
