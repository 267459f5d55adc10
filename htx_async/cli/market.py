"""A small scripted market for the sandbox of `--sandbox`, so that `watch` shows changes."""

from __future__ import annotations

from htx_async import Clock
from htx_async.sandbox import Sandbox

INTERVAL = 1.0
"""Seconds between two changes."""

_STEPS = (  # currency, available, in orders
    ("usdt", "71.850043797676510303", "25.160000000000000015"),  # a buy order
    ("usdt", "71.850043797676510303", "5.160000000000000015"),  # is filled
    ("poly", "227.928994082840236", "0"),
    ("poly", "147.928994082840236", "80"),  # a sell order
    ("poly", "147.928994082840236", "0"),  # is filled
    ("usdt", "91.850043797676510303", "5.160000000000000015"),
)
"""Balances of the spot account; the last ones are those that the sandbox starts with."""


async def run_market(sandbox: Sandbox, clock: Clock) -> None:
    """Change the spot balance every `INTERVAL` after the first request, until cancelled."""
    while not sandbox.requests:
        await clock.sleep(INTERVAL / 10)
    while True:
        for currency, trade, frozen in _STEPS:
            await clock.sleep(INTERVAL)
            sandbox.set_balance("spot", currency, trade=trade, frozen=frozen)
