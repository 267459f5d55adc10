"""A small scripted market for the sandbox of `--sandbox`, so that `watch` shows changes."""

from __future__ import annotations

from htx_async import Clock
from htx_async.sandbox import Sandbox

INTERVAL = 1.0
"""Seconds between two changes."""

_STEPS = (  # currency, available, in orders, HTX's change type
    ("usdt", "71.850043797676510303", "25.160000000000000015", "order.place"),
    ("usdt", "71.850043797676510303", "5.160000000000000015", "order.match"),
    ("poly", "227.928994082840236", "0", "order.match"),
    ("poly", "147.928994082840236", "80", "order.place"),
    ("poly", "147.928994082840236", "0", "order.match"),
    ("usdt", "91.850043797676510303", "5.160000000000000015", "order.match"),
)
"""Balances of the spot account; the last ones are those that the sandbox starts with."""


async def run_market(sandbox: Sandbox, clock: Clock) -> None:
    """Change the spot balance every `INTERVAL` after the first request, until cancelled."""
    while not sandbox.requests:
        await clock.sleep(INTERVAL / 10)
    while True:
        for currency, trade, frozen, cause in _STEPS:
            await clock.sleep(INTERVAL)
            sandbox.move("spot", currency, trade=trade, frozen=frozen, cause=cause)
