"""ccxt's own client against the sandbox: a second implementation of HTX's authentication."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import pytest

from htx_async.sandbox import Sandbox

pytest.importorskip("ccxt", reason="ccxt is not installed: see the nox session beside_ccxt")


def ccxt_at(base_url: str) -> Any:
    """Return ccxt's client for HTX, with the address of a sandbox and without markets."""
    module: Any = import_module("ccxt.async_support")
    exchange = module.htx({"apiKey": "access-key", "secret": "secret-key"})
    exchange.urls["hostnames"]["spot"] = urlsplit(base_url).netloc
    exchange.urls["api"]["spot"] = "http://{hostname}"
    exchange.markets, exchange.currencies_by_id = {}, {}
    return exchange


@pytest.mark.slow
async def test_ccxt_reads_accounts_balance_points_and_valuation() -> None:
    """It signs host and port."""
    sandbox = Sandbox()
    async with sandbox.serve() as base_url:
        exchange = ccxt_at(base_url)
        try:
            accounts = await exchange.fetch_accounts()
            balance = await exchange.fetch_balance()
            sandbox.set_balance("spot", "usdt", frozen="7")
            changed = await exchange.fetch_balance()
            points = await exchange.spotPrivateGetV2PointAccount()
            valuation = await exchange.spotPrivateGetV2AccountAssetValuation(
                {"accountType": "spot", "valuationCurrency": "USD"}
            )
        finally:
            await exchange.close()
    assert [(account["id"], account["type"]) for account in accounts][1] == ("1000001", "spot")
    assert len(accounts) == 6
    assert balance["USDT"] == {
        "free": 91.850043797676510303,
        "used": 5.160000000000000015,
        "total": 97.010043797676510318,
    }
    assert changed["USDT"]["used"] == 7
    assert points["data"]["acctBalance"] == "148.94159266"
    assert valuation["data"]["balance"] == "2259791.50"
    assert {(received.status, received.code) for received in sandbox.arrivals} == {(200, None)}
