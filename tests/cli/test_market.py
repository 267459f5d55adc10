"""The market that moves the balances of `--sandbox`."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from htx_async import Credentials, HTXClient
from htx_async.cli import market, session
from htx_async.cli.market import INTERVAL, run_market
from htx_async.cli.session import ConnectionOptions
from htx_async.cli.watch import run
from htx_async.sandbox import Sandbox
from tests.virtual import VirtualClock


async def test_market_moves_in_a_cycle_after_the_first_request(virtual_time: VirtualClock) -> None:
    """So the first balance that a command prints is always the same."""
    sandbox = Sandbox(clock=virtual_time)
    users = sandbox.users
    moving = asyncio.create_task(run_market(sandbox, virtual_time))
    transport = httpx.ASGITransport(app=sandbox)
    keys = Credentials("access-key", "secret-key")
    async with HTXClient(keys, transport=transport, clock=virtual_time) as htx:
        await virtual_time.sleep(10 * INTERVAL)
        assert sandbox.users is users
        first = await htx.accounts.balance("spot")
        await virtual_time.sleep(INTERVAL / 2)
        changed: list[str] = []
        previous = first
        for _ in range(6):
            await virtual_time.sleep(INTERVAL)
            balance = await htx.accounts.balance("spot")
            changed.append(" ".join(change.currency for change in balance.changes(previous)))
            previous = balance
    moving.cancel()
    assert changed == ["usdt usdt", "usdt", "poly", "poly poly", "poly", "usdt"]
    assert balance.changes(since=first) == ()


@pytest.mark.slow
async def test_watch_of_the_sandbox_prints_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(market, "INTERVAL", 0.05)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), session.open_client(ConnectionOptions(sandbox=True)) as htx:
            await run.run(htx, "spot", lines=True)
    assert " order.place\n" in capsys.readouterr().out
    assert asyncio.all_tasks() == {asyncio.current_task()}
