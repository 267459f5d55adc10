"""
Follow the balances of all accounts live, and decide by a balance that is proven.

    pip install ".[stream]"  # in the directory of the checkout
    python docs/recipes/engine.py
"""

import asyncio
import signal

from htx_async import (
    BalanceChange,
    DeadlineExceededError,
    HTXClient,
    HTXError,
    LiveBalances,
)

MAX_AGE = 0.5  # seconds: how old the proof may be before an order


def react(change: BalanceChange) -> None:
    amounts = f"{change.before:f} -> {change.after:f} {change.cause}"
    print(change.account_id, change.currency, change.type, amounts, flush=True)


async def decide(live: LiveBalances, change: BalanceChange) -> None:
    """Decide whether to place an order, by a balance that REST confirms."""
    try:
        balance = await live.verified(change.account_id, max_age=MAX_AGE)
    except DeadlineExceededError:
        print("no order: the balance is not proven", flush=True)
        return
    free = balance[change.currency].trade
    print(f"an order may use {free:f} {change.currency}", flush=True)


async def follow(live: LiveBalances) -> None:
    events = live.events()
    for account in live.accounts:
        for row in live[account].balance().nonzero():
            print(account.id, account.type, row.currency, f"{row.total:f}", flush=True)
    print(f"following {len(live.accounts)} accounts", flush=True)
    async for event in events:
        if event.change is not None:
            react(event.change)
            await decide(live, event.change)
        elif event.error is not None and event.kind == "refused":
            raise event.error
        else:
            print(event.kind, event.reason or "", flush=True)


async def run(htx: HTXClient) -> None:
    """Open the stream, until that succeeds; then it reconnects by itself."""
    while True:
        try:
            async with htx.accounts.stream() as live:
                return await follow(live)
        except HTXError as error:
            if not error.retryable:
                raise
            print("retrying after", type(error).__name__, flush=True)
            await asyncio.sleep(error.retry_after or 1.0)


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
