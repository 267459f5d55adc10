"""
Keep the balances of all accounts fresh, and react when an amount has moved.

    pip install htx-async
    python engine.py
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from htx_async import Account, AccountType, BalanceChange, HTXClient, HTXError

T = TypeVar("T")
SHARE = 0.5  # of the requests that HTX allows; the rest is for other programs


def react(account: Account, change: BalanceChange) -> None:
    moved = f"{change.currency} {change.type} {change.before} -> {change.after}"
    print(account.id, moved, flush=True)


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await read()
        except HTXError as error:
            if not error.retryable:
                raise
            print("no news:", type(error).__name__, flush=True)
            await asyncio.sleep(0.2)


async def watch(htx: HTXClient, account: Account, pause: float) -> None:
    previous = await patiently(lambda: htx.accounts.balance(account))
    for row in previous.nonzero():
        print(account.id, account.type, row.currency, row.total, flush=True)
    while True:
        await asyncio.sleep(pause)
        balance = await patiently(lambda: htx.accounts.balance(account))
        for change in balance.changes(since=previous):
            react(account, change)
        previous = balance


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with HTXClient.from_env(timeout=5.0) as htx, asyncio.TaskGroup() as group:
        engine = group.create_task(run(htx))
        await stop.wait()
        engine.cancel()
    print("stopped", flush=True)


async def run(htx: HTXClient) -> None:
    listed = await patiently(htx.accounts.list)
    watched = [account for account in listed if account.type != AccountType.OTC]
    limit = htx.limits()["GET /v1/account/accounts/{account-id}/balance"].limit
    pause = len(watched) * limit.per / (limit.requests * SHARE)
    print("watching", len(watched), "accounts, each every", pause, "s", flush=True)
    async with asyncio.TaskGroup() as group:
        for account in watched:
            group.create_task(watch(htx, account, pause))


if __name__ == "__main__":
    asyncio.run(main())
