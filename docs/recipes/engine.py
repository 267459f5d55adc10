"""
Poll the balances of all accounts, and react when an amount changes.

    pip install .  # in the directory of the checkout
    python docs/recipes/engine.py
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from htx_async import Account, AccountType, BalanceChange, HTXClient, HTXError

T = TypeVar("T")
FRACTION = 0.5  # of HTX's rate limit; the rest is for other programs


def react(account: Account, change: BalanceChange) -> None:
    amounts = f"{change.before:f} -> {change.after:f}"
    print(account.id, change.currency, change.type, amounts, flush=True)


async def retrying(call: Callable[[], Awaitable[T]]) -> T:
    """Retry a call until it succeeds; raise errors that are not retryable."""
    while True:
        try:
            return await call()
        except HTXError as error:
            if not error.retryable:
                raise
            print("retrying after", type(error).__name__, flush=True)
            await asyncio.sleep(error.retry_after or 1.0)


async def watch(htx: HTXClient, account: Account, interval: float) -> None:
    previous = await retrying(lambda: htx.accounts.balance(account))
    for row in previous.nonzero():
        print(account.id, account.type, row.currency, f"{row.total:f}", flush=True)
    while True:
        await asyncio.sleep(interval)
        balance = await retrying(lambda: htx.accounts.balance(account))
        for change in balance.changes(since=previous):
            react(account, change)
        previous = balance


async def run(htx: HTXClient) -> None:
    accounts = await retrying(htx.accounts.list)
    watched = [account for account in accounts if account.type != AccountType.OTC]
    limit = htx.limits()["GET /v1/account/accounts/{account-id}/balance"].limit
    interval = len(watched) * limit.per / (limit.requests * FRACTION)
    print(f"watching {len(watched)} accounts every {interval:g} s", flush=True)
    async with asyncio.TaskGroup() as group:
        for account in watched:
            group.create_task(watch(htx, account, interval))


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with HTXClient.from_env(timeout=5.0) as htx, asyncio.TaskGroup() as group:
        engine = group.create_task(run(htx))
        await stop.wait()
        engine.cancel()
    print("stopped", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
